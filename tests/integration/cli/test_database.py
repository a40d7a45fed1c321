"""`parley db upgrade|current|backup`."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.cli import database
from bot.config import Settings
from bot.storage import migrate
from bot.storage.database import Database
from bot.storage.errors import DatabaseError


@pytest.fixture
def settings(url: str) -> Settings:
    return Settings(database_url=url)


async def test_upgrade_and_current(settings: Settings) -> None:
    assert (await database.current(settings)).startswith("empty (latest: ")
    assert (await database.upgrade(settings)).endswith(f": empty -> {migrate.head()}")
    assert (await database.upgrade(settings)).endswith(f"is already at {migrate.head()}")
    assert await database.current(settings) == f"{migrate.head()} (latest)"


async def test_backup(settings: Settings, tmp_path: Path) -> None:
    await database.upgrade(settings)
    target = tmp_path / "copy.db"
    if not settings.database_url.startswith("sqlite"):
        with pytest.raises(DatabaseError, match="pg_dump"):
            await database.backup(settings, target)
        return
    assert str(target) in await database.backup(settings, target)
    copy = Database(f"sqlite+aiosqlite:///{target}")
    assert await copy.current() == migrate.head()
    await copy.close()
