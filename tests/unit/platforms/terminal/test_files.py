"""Files named in the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.platforms.terminal import texts
from bot.platforms.terminal.files import UnusableFile, open_attachment


async def test_an_attachment_has_name_type_size_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "my cat.png").write_bytes(b"12345")
    attachment = open_attachment(f"{tmp_path}/my cat.png")
    assert (attachment.name, attachment.content_type, attachment.size) == (
        "my cat.png",
        "image/png",
        5,
    )
    assert await attachment.load() == b"12345"


@pytest.mark.parametrize("quoted", ["'{}/my cat.png'", '"{}/my cat.png"', "{}/my\\ cat.png"])
def test_quotes_and_escapes_of_a_dropped_file_are_undone(tmp_path: Path, quoted: str) -> None:
    (tmp_path / "my cat.png").write_bytes(b"x")
    assert open_attachment(quoted.format(tmp_path)).name == "my cat.png"


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "notes.txt").write_text("x")
    assert open_attachment("~/notes.txt").name == "notes.txt"


@pytest.mark.parametrize("typed", ["", "nowhere.png", "/dev/zero", "a\0b", "~no-such-user/x", "'"])
def test_what_can_not_be_attached_is_one_line(typed: str) -> None:
    with pytest.raises(UnusableFile) as error:
        open_attachment(typed)
    assert "\n" not in str(error.value)


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="is a folder"):
        open_attachment(str(tmp_path))
    assert texts.is_folder(tmp_path).startswith(str(tmp_path))
