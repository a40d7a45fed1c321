"""What `parley db ...` does. Each function returns the line to print."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bot.config import Settings
from bot.storage import migrate
from bot.storage.database import Database


async def upgrade(settings: Settings) -> str:
    """Upgrade the schema to this version of Parley. Raises DatabaseError."""
    async with _opened(settings) as database:
        old_revision = await database.current()
        await database.upgrade()
        revision = await database.current()
        if revision == old_revision:
            return f"{database.display_url} is already at {revision}"
        return f"{database.display_url}: {old_revision or 'empty'} -> {revision}"


async def current(settings: Settings) -> str:
    """The revision of the schema. Raises DatabaseError."""
    async with _opened(settings) as database:
        revision, head = await database.current(), migrate.head()
        if revision == head:
            return f"{revision} (latest)"
        return f"{revision or 'empty'} (latest: {head}; run `parley db upgrade`)"


async def backup(settings: Settings, target: Path) -> str:
    """Back up a SQLite database, even while it is in use. Raises DatabaseError."""
    async with _opened(settings) as database:
        await database.backup(target)
        return f"{database.display_url} backed up to {target}"


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings.effective_database_url)
    try:
        yield database
    finally:
        await database.close()
