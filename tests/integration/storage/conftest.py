"""Every test of the store runs on both databases: real SQLite files and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bot.storage.database import Database
from bot.storage.store import SqlStore
from tests.support import postgres


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[postgres.Cluster]:
    programs = postgres.binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed")
    with postgres.cluster(programs) as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'data' / 'parley.db'}"
        return
    cluster: postgres.Cluster = request.getfixturevalue("postgres_cluster")
    created = await cluster.create()
    yield created
    await cluster.drop(created)


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
