"""Every test of the store runs on both databases: real SQLite files and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.storage.database import Database
from bot.storage.store import SqlStore
from tests.support import databases


@pytest.fixture
async def empty_database(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    yield database
    await database.close()


@pytest.fixture
async def database(url: str, empty_database: Database, request: pytest.FixtureRequest) -> Database:
    """A database with the newest schema."""
    if empty_database.is_sqlite:
        await databases.migrate(empty_database)
    else:
        await databases.migrate_postgres(url, request.getfixturevalue("postgres_cluster"))
    return empty_database


@pytest.fixture
def store(database: Database) -> SqlStore:
    return SqlStore(database)
