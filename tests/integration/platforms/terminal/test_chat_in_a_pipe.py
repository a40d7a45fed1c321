"""`parley chat` in a pipe: a real process, real pipes, real service and database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pictures import encoded, plain

ROOT = Path(__file__).parents[4]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    return [sys.executable, "-m", "tests.support.terminal_chat", str(tmp_path / "chat.db")]


def talk(
    command: list[str], text: str | bytes, *options: str
) -> subprocess.CompletedProcess[bytes]:
    data = text if isinstance(text, bytes) else text.encode()
    return subprocess.run(
        [*command, *options], input=data, capture_output=True, timeout=60, cwd=ROOT
    )


def test_one_question_one_answer_and_nothing_else(command: list[str]) -> None:
    done = talk(command, "hi there\n")
    assert done.stdout == b"hi there\n"
    assert done.stderr == b""
    assert done.returncode == 0


def test_each_line_in_order_also_the_last_without_its_end(command: list[str]) -> None:
    done = talk(command, "one\n\n  two  \r\nthree")
    assert done.stdout == b"one\ntwo\nthree\n"
    assert done.returncode == 0


def test_from_a_file(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "questions.txt").write_text("one\ntwo\n")
    with (tmp_path / "questions.txt").open() as questions:
        done = subprocess.run(command, stdin=questions, capture_output=True, timeout=60, cwd=ROOT)
    assert done.stdout == b"one\ntwo\n"


def test_nothing_asked(command: list[str]) -> None:
    done = talk(command, "")
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 0)


def test_a_failed_reply_is_one_line_and_exit_code_1(command: list[str]) -> None:
    done = talk(command, "fail\nand on\n")
    assert done.stdout == b"and on\n"
    (line,) = done.stderr.decode().splitlines()[-1:]
    assert "reference" in line
    assert b"secret internals" not in done.stdout
    assert done.returncode == 1


def test_no_control_codes_come_out(command: list[str]) -> None:
    done = talk(command, "escape\n")
    assert done.stdout == b"]0;owned[31mred1m\n"


def test_commands_and_the_persona(command: list[str]) -> None:
    done = talk(command, "/persona set You are a pirate.\nyour persona?\n/persona show\n")
    set_, pirate, *shown = done.stdout.decode().splitlines()
    assert "Saved." in set_
    assert pirate == "You are a pirate."
    assert shown[0] == "> You are a pirate."
    assert done.returncode == 0


@pytest.mark.parametrize("line", ["/persona sett x", "/sotp", "/persona set", "/image"])
def test_a_mistyped_command_is_told_and_exit_code_1(command: list[str], line: str) -> None:
    done = talk(command, f"{line}\n")
    assert done.stdout == b""
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode == 1


def test_a_path_is_no_command(command: list[str]) -> None:
    assert talk(command, "/usr/bin is what?\n").stdout == b"/usr/bin is what?\n"


def test_help_lists_everything(command: list[str]) -> None:
    words = talk(command, "/help\n").stdout.decode()
    for name in ("/persona set", "/reset", "/stop", "/image", "/quit"):
        assert name in words


def test_quit_leaves_the_rest_unanswered(command: list[str]) -> None:
    done = talk(command, "one\n/quit\ntwo\n")
    assert (done.stdout, done.returncode) == (b"one\n", 0)


def test_a_picture_goes_with_the_next_message_only(command: list[str], tmp_path: Path) -> None:
    picture = tmp_path / "my cat.png"
    picture.write_bytes(encoded(plain()))
    done = talk(
        command, f"/image {picture}\nhow many pictures?\nand now, pictures?\n/reset\npictures\n"
    )
    answers = done.stdout.decode().splitlines()
    assert answers[0] == "1 of them"
    assert answers[-1] == "0 of them"
    assert "my cat.png" in done.stderr.decode()
    assert done.returncode == 0


def test_quoted_and_escaped_paths(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "my cat.png").write_bytes(encoded(plain()))
    escaped = str(tmp_path / "my cat.png").replace(" ", "\\ ")
    done = talk(command, f"/image '{tmp_path}/my cat.png'\n/image {escaped}\npictures\n")
    assert done.stdout == b"2 of them\n"


@pytest.mark.parametrize(
    "path", ["nowhere.png", ".", "/dev/zero", "a\0b", "~no-such-user/x.png", "'"]
)
def test_a_path_that_does_not_work_is_one_line(command: list[str], path: str) -> None:
    done = talk(command, f"/image {path}\nhi\n")
    assert done.stdout == b"hi\n"
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode == 1


def test_a_file_that_can_not_be_read_is_named_under_the_reply(
    command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "x.png").write_bytes(b"PK\x03\x04" + bytes(60))
    done = talk(command, f"/image {tmp_path}/x.png\nwhat is it?\n")
    assert b"what is it?" in done.stdout
    assert "x.png: a ZIP archive or Office document, which I can't read" in done.stderr.decode()


def test_a_text_file_is_read(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    done = talk(command, f"/image {tmp_path}/notes.txt\nwhat is it?\n")
    assert b"File notes.txt:\n```\nhello\n```\nwhat is it?" in done.stdout


def test_the_conversation_goes_on_until_new(command: list[str]) -> None:
    assert talk(command, "a\nb\n").returncode == 0
    assert talk(command, "turns\n").stdout == b"2 before\n"
    assert talk(command, "turns\n", "--new").stdout.splitlines()[-1] == b"0 before"


def test_any_bytes_are_answered(command: list[str]) -> None:
    done = talk(command, b"caf\xe9 \xf0\x9f\x98\x80\n\xff\xfe\n")
    assert done.stdout.decode() == "caf\ufffd \U0001f600\n\ufffd\ufffd\n"
    assert done.returncode == 0


def test_a_terminal_that_knows_ascii_only(command: list[str]) -> None:
    done = subprocess.run(
        command,
        input="na\u00efve".encode(),
        capture_output=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.stdout, done.returncode) == (b"na?ve\n", 0)


def test_a_reader_that_goes_away(command: list[str]) -> None:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"one\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"one\n"
    process.stdout.close()
    process.stdin.write(b"two\nthree\n" * 10)
    process.stdin.close()
    assert process.wait(30) == 1
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


def test_ctrl_c_ends_it_while_it_waits_for_a_line(command: list[str]) -> None:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"one\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"one\n"
    process.send_signal(signal.SIGINT)
    process.wait(30)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert b"Fatal" not in errors
