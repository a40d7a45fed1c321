"""What `parley db ...` does; each returns the line to print."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bot.config import Settings
from bot.storage import migrate
from bot.storage.database import Database


async def upgrade(settings: Settings) -> str:
    """Bring the schema to this version's. Raises DatabaseError."""
    async with _opened(settings) as database:
        before = await database.current()
        await database.upgrade()
        after = await database.current()
        if before == after:
            return f"{database.display_url} is at {after} already"
        return f"{database.display_url}: {before or 'empty'} -> {after}"


async def current(settings: Settings) -> str:
    """Say which revision the schema is at. Raises DatabaseError."""
    async with _opened(settings) as database:
        at, head = await database.current(), migrate.head()
        if at == head:
            return f"{at} (newest)"
        return f"{at or 'empty'} (newest: {head}; run `parley db upgrade`)"


async def backup(settings: Settings, target: Path) -> str:
    """Copy an SQLite database while it is in use. Raises DatabaseError."""
    async with _opened(settings) as database:
        await database.backup(target)
        return f"{database.display_url} is copied to {target}"


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings.effective_database_url)
    try:
        yield database
    finally:
        await database.close()
