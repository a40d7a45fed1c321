"""Every test of the store runs on both databases: real SQLite files and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.storage.database import Database
from bot.storage.store import SqlStore


@pytest.fixture
async def empty_database(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    yield database
    await database.close()


@pytest.fixture
async def database(empty_database: Database) -> Database:
    """A database with the newest schema."""
    await empty_database.upgrade()
    return empty_database


@pytest.fixture
def store(database: Database) -> SqlStore:
    return SqlStore(database)
