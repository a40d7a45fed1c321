"""`parley persona ...` and `parley forget`, without the command line around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bot.cli import personas as commands
from bot.config import Settings
from bot.core import persona_library
from bot.core.events import Author, MessageReceived, ThreadKey
from bot.core.personas import PersonaError
from bot.core.records import LibraryPersona, SamplingOverrides
from bot.storage.database import Database
from bot.storage.errors import DatabaseError
from bot.storage.store import SqlStore
from tests.support import databases

SCOPE = "discord/guild/general"
KEY = ThreadKey("discord", "guild", "general")
COLD = SamplingOverrides(temperature=0.1)


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    settings = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path / 'parley.db'}")
    database = Database(settings.database_url)
    await databases.migrate(database)
    await database.close()
    return settings


async def test_set_show_and_list(settings: Settings) -> None:
    assert "PARLEY_SYSTEM_PROMPT" in await commands.list_all(settings)
    assert SCOPE in await commands.set_persona(settings, SCOPE, "Be kind.", COLD)
    shown = await commands.show(settings, f"{SCOPE}/thread")
    assert shown.startswith(
        "Be kind.\n[discord/guild/general] [temperature 0.1] [set by the operator on "
    )
    assert await commands.list_all(settings) == f"{SCOPE}: Be kind. (temperature 0.1)"
    assert "[PARLEY_SYSTEM_PROMPT]" in await commands.show(settings, "slack/team")


@pytest.mark.parametrize("scope", ["", "discord", "discord/", "/guild", "discord//general"])
async def test_what_is_no_scope(settings: Settings, scope: str) -> None:
    with pytest.raises(PersonaError, match="is not a scope"):
        await commands.show(settings, scope)


async def test_a_database_without_a_schema(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(DatabaseError, match="parley db upgrade"):
        await commands.list_all(settings)


async def test_export_and_import_elsewhere(settings: Settings, tmp_path: Path) -> None:
    await commands.set_persona(settings, SCOPE, "Be kind.\n“Really”.", COLD)
    database = Database(settings.database_url)
    dog = LibraryPersona("dog", "Woof.", SamplingOverrides(top_k=1))
    await persona_library.add(SqlStore(database), KEY, dog, commands.OPERATOR)
    await database.close()
    file = tmp_path / "personas.json"
    assert await commands.export(settings, file) == (
        f"exported to {file}: personas 1, library personas 1"
    )
    with pytest.raises(FileExistsError):
        await commands.export(settings, file)
    assert json.loads(await commands.export(settings, None)) == json.loads(file.read_text())
    listed = await commands.list_all(settings)

    elsewhere = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path / 'other.db'}")
    other = Database(elsewhere.database_url)
    await databases.migrate(other)
    assert (await commands.import_file(elsewhere, file)).endswith(" 2 changed, 0 unchanged")
    assert await commands.list_all(elsewhere) == listed
    assert (await commands.import_file(elsewhere, file)).endswith(" 0 changed, 2 unchanged")
    actions = [entry.action for entry in await SqlStore(other).audit(KEY, 9)]
    assert actions == ["persona-library add", "persona import"]
    await other.close()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        ([], "not a file that `parley persona export` wrote"),
        ({"format": 2}, "not a file that `parley persona export` wrote"),
        ({"format": 1, "personas": 3}, "'personas' must be a list"),
        ({"format": 1, "personas": ["x"]}, "each entry needs 'scope'"),
        ({"format": 1, "personas": [{"scope": "x", "text": "x"}]}, "is not a scope"),
        (
            {"format": 1, "personas": [{"scope": SCOPE, "text": ""}]},
            "Write the persona's",
        ),
        (
            {"format": 1, "personas": [{"scope": SCOPE, "text": "x", "sampling": {"top_p": 9}}]},
            "top_p",
        ),
        ({"format": 1, "library": [{"workspace": "a/b", "text": "x"}]}, "1 to 40 characters"),
        (
            {"format": 1, "library": [{"workspace": SCOPE, "text": "x", "name": "x"}]},
            "belongs to a whole workspace",
        ),
    ],
)
async def test_a_wrong_file_changes_nothing(
    settings: Settings, tmp_path: Path, content: Any, told: str
) -> None:
    if isinstance(content, dict) and isinstance(content.get("personas", []), list):
        good = {"scope": SCOPE, "text": "Be kind."}
        content = {**content, "personas": [good, *content.get("personas", [])]}
    file = tmp_path / "personas.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(PersonaError, match=told) as error:
        await commands.import_file(settings, file)
    assert "\n" not in str(error.value)
    assert SCOPE not in await commands.list_all(settings)


async def test_forget(settings: Settings) -> None:
    database = Database(settings.database_url)
    store = SqlStore(database)
    for number, user in enumerate(("u1", "u2")):
        key = KEY.in_thread(user)
        assert await store.accept(key, MessageReceived(key, f"m{number}", Author(user, user), "x"))
    assert await commands.forget(settings, SCOPE, "u1") == (f"turns by u1 deleted in {SCOPE}: 1")
    assert [turn.key.thread for turn in await store.unfinished()] == ["u2"]
    assert (await commands.forget(settings, "discord/guild", None)).endswith(": 1")
    assert await store.unfinished() == []
    assert len(await store.audit(KEY, 9)) == 2
    await database.close()
