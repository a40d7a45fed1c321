"""The migrations go from nothing to the models' schema and back, on both databases."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.schema import CreateTable

from bot.storage import migrate
from bot.storage.database import Database
from bot.storage.errors import DatabaseError
from bot.storage.schema import metadata


async def tables(database: Database) -> set[str]:
    async with database.engine.connect() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    return set(names) - {"alembic_version"}


async def differences(database: Database) -> list[Any]:
    def compare(connection: Connection) -> list[Any]:
        return compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True}), metadata
        )

    async with database.engine.connect() as connection:
        return await connection.run_sync(compare)


async def test_empty_to_head_to_base_to_head(empty_database: Database) -> None:
    assert await empty_database.current() is None
    await empty_database.upgrade()
    assert await empty_database.current() == migrate.head()
    assert await tables(empty_database) == set(metadata.tables)
    await empty_database.downgrade("base")
    assert await empty_database.current() is None
    assert await tables(empty_database) == set()
    await empty_database.upgrade()
    assert await tables(empty_database) == set(metadata.tables)


async def test_one_step_at_a_time(empty_database: Database) -> None:
    script = ScriptDirectory(str(migrate.migrations_folder()))
    revisions = [revision.revision for revision in script.walk_revisions()]
    for revision in reversed(revisions):
        await empty_database.upgrade(revision)
        assert await empty_database.current() == revision
    for revision in [*revisions[1:], "base"]:
        await empty_database.downgrade(revision)
    assert await tables(empty_database) == set()


async def test_the_migrated_schema_is_that_of_the_models(database: Database) -> None:
    assert await differences(database) == []


async def test_a_difference_would_be_seen(database: Database) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE turns ADD COLUMN mood TEXT"))
        await connection.execute(text("DROP INDEX ix_claims_at"))
    assert len(await differences(database)) == 2


async def test_checks_and_cascades_are_those_of_the_models(database: Database) -> None:
    """What `compare_metadata` does not look at."""

    def constraints(connection: Connection) -> dict[str, Any]:
        inspector = inspect(connection)
        return {
            table: (
                {check["name"] for check in inspector.get_check_constraints(table)},
                {
                    (key["name"], key["options"].get("ondelete"))
                    for key in inspector.get_foreign_keys(table)
                },
                inspector.get_pk_constraint(table)["name"],
            )
            for table in metadata.tables
        }

    async with database.engine.connect() as connection:
        migrated = await connection.run_sync(constraints)
    await database.downgrade("base")
    async with database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        created = await connection.run_sync(constraints)
    assert migrated == created


async def test_the_sqlite_tables_are_word_for_word_those_of_the_models(
    database: Database,
) -> None:
    if not database.is_sqlite:
        pytest.skip("only SQLite keeps the words")
    async with database.engine.connect() as connection:
        found = await connection.execute(
            text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        )
        migrated = {name: _parts(sql) for name, sql in found if name in metadata.tables}
    expected = {
        name: _parts(str(CreateTable(table).compile(dialect=database.engine.dialect)))
        for name, table in metadata.tables.items()
    }
    assert migrated == expected


def _parts(sql: str) -> list[str]:
    """The lines of a CREATE TABLE in any order, blanks evened out, the name as it is (SQLite
    quotes that of a table that was renamed)."""
    sql = re.sub(r'^CREATE TABLE "(\w+)"', r"CREATE TABLE \1", sql)
    return sorted(re.sub(r"\s+", " ", line).strip(" ,") for line in sql.strip().splitlines())


async def test_processes_that_start_at_once_migrate_once(url: str) -> None:
    databases = [Database(url) for _ in range(4)]
    try:
        await asyncio.gather(*(database.upgrade() for database in databases))
        assert await databases[0].current() == migrate.head()
    finally:
        for database in databases:
            await database.close()


async def test_upgrading_twice_changes_nothing(database: Database) -> None:
    await database.upgrade()
    await database.require_current()


async def test_an_old_schema_is_told(empty_database: Database) -> None:
    with pytest.raises(DatabaseError, match=r"revision none, .* run `parley db upgrade`"):
        await empty_database.require_current()


async def test_a_newer_schema_is_told_and_left_alone(database: Database) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match=r"revision 9999.*newer"):
        await database.upgrade()
    assert await database.current() == "9999"
    assert await tables(database) == set(metadata.tables)


async def test_a_migration_that_fails_changes_nothing(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        original = migrate.upgrade
        patch.setattr(
            "bot.storage.database.migrate.upgrade",
            lambda connection, revision: _then_fail(original, connection, revision),
        )
        with pytest.raises(DatabaseError, match="no_such_table"):
            await empty_database.upgrade()
    assert await tables(empty_database) == set()
    await empty_database.upgrade()
    assert await empty_database.current() == migrate.head()


def _then_fail(upgrade: Any, connection: Connection, revision: str) -> None:
    upgrade(connection, revision)
    connection.execute(text("SELECT * FROM no_such_table"))


async def test_foreign_keys_are_on_after_a_migration(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("always on in PostgreSQL")
    for _ in range(3):
        async with database.read() as session:
            assert await session.scalar(text("PRAGMA foreign_keys")) == 1


async def test_a_migration_that_leaves_dangling_references_is_refused(
    database: Database,
) -> None:
    if not database.is_sqlite:
        pytest.skip("always on in PostgreSQL")
    with pytest.raises(DatabaseError, match="table channels with dangling references"):
        async with database.migrating() as connection:
            await connection.execute(
                text(
                    "INSERT INTO channels (workspace_id, external_id, created_at) "
                    "VALUES (77, 'c', '2026-01-01')"
                )
            )
    async with database.read() as session:
        assert await session.scalar(text("SELECT count(*) FROM channels")) == 0
