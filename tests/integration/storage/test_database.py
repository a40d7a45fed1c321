"""Opening, failing to open, transactions, backup, and what a deletion leaves in the file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from bot.core.events import Author, MessageReceived, ThreadKey
from bot.core.records import NormalizedImage, TurnState
from bot.storage.database import Database
from bot.storage.errors import DatabaseError
from bot.storage.playground import PlaygroundStore
from bot.storage.store import SqlStore

NOW = datetime.now(UTC)
KEY = ThreadKey("discord", "guild", "general", "t")
SECRET = "correct horse battery staple"
CLAIM = "INSERT INTO claims VALUES ('p', 'w', 'c', 'm', '2026-01-01 00:00:00+00')"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "folder" / "parley.db"


@pytest.fixture
async def sqlite(file: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{file}")
    await database.upgrade()
    yield database
    await database.close()


async def write_down(database: Database, id: str, words: str = "hi") -> int:
    store = SqlStore(database)
    work = await store.accept(KEY, MessageReceived(KEY, id, Author("u", "Ana"), words))
    assert work is not None
    return work.turn_id


class TestOpening:
    async def test_the_folder_is_made_for_the_owner_alone(
        self, sqlite: Database, file: Path
    ) -> None:
        await write_down(sqlite, "m1")
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        for path in file.parent.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name

    async def test_a_new_file_that_somebody_else_opens_too_is_waited_for(self, file: Path) -> None:
        """Another process is about to make its first tables: SQLite itself would not wait."""
        database = Database(f"sqlite+aiosqlite:///{file}")
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            asking = asyncio.create_task(database.current())
            done, _ = await asyncio.wait((asking,), timeout=0.2)
            assert not done
            other.execute("ROLLBACK")
        try:
            assert await asking is None
        finally:
            await database.close()

    async def test_what_is_deleted_is_overwritten_whatever_sqlite_was_built_for(
        self, file: Path
    ) -> None:
        """Some distributions switch it on by themselves: here it is off until Parley connects."""
        database = Database(f"sqlite+aiosqlite:///{file}")

        def built_without(connection: Any, _record: object) -> None:
            connection.execute("PRAGMA secure_delete = OFF")

        event.listen(database.engine.sync_engine, "connect", built_without, insert=True)
        async with database.read() as session:
            assert await session.scalar(text("PRAGMA secure_delete")) == 1
        await database.close()

    @pytest.mark.parametrize(
        ("pragma", "value"),
        [
            ("journal_mode", "wal"),
            ("foreign_keys", 1),
            ("busy_timeout", 10_000),
            ("secure_delete", 1),
            ("synchronous", 2),
        ],
    )
    async def test_pragmas_hold_on_every_connection(
        self, sqlite: Database, pragma: str, value: object
    ) -> None:
        async def read() -> object:
            async with sqlite.read() as session:
                found = await session.scalar(text(f"PRAGMA {pragma}"))
                await asyncio.sleep(0.05)  # so that all of them are open at once
                return found

        assert await asyncio.gather(*(read() for _ in range(5))) == [value] * 5

    async def test_a_relative_file_in_this_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        database = Database("sqlite:///parley.db")
        await database.upgrade()
        await database.close()
        assert (tmp_path / "parley.db").stat().st_size > 0

    async def test_in_memory(self) -> None:
        database = Database("sqlite+aiosqlite://")
        await database.upgrade()
        await asyncio.gather(*(write_down(database, f"m{n}") for n in range(5)))
        async with database.read() as session:
            assert await session.scalar(text("SELECT count(*) FROM messages")) == 5
        await database.close()

    async def test_close_twice(self, sqlite: Database) -> None:
        await sqlite.close()
        await sqlite.close()


class TestNotOpening:
    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("nonsense", "is not a database URL"),
            ("", "is not a database URL"),
            ("mysql://u:hunter2@h/db", "uses the driver 'mysql'"),
            ("postgresql+psycopg2://u:hunter2@h/db", "uses the driver 'postgresql[+]psycopg2'"),
        ],
    )
    def test_a_wrong_url_is_told_in_one_line(self, url: str, words: str) -> None:
        with pytest.raises(DatabaseError, match=words) as caught:
            Database(url)
        assert "PARLEY_DATABASE_URL" in str(caught.value)
        assert "hunter2" not in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(DatabaseError, match=r"can't open .*PARLEY_DATABASE_URL"):
            Database(f"sqlite+aiosqlite:///{tmp_path}/file/parley.db")

    def test_a_folder_instead_of_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(DatabaseError, match="Is a directory"):
            Database(f"sqlite+aiosqlite:///{tmp_path}")

    async def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        (tmp_path / "x.db").write_text("Dear diary, " * 1000)
        database = Database(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}")
        with pytest.raises(DatabaseError, match="file is not a database"):
            await database.upgrade()
        await database.close()

    async def test_nobody_listens(self, tmp_path: Path) -> None:
        database = Database(f"postgresql://u:hunter2@/db?host={tmp_path}")
        assert "hunter2" not in repr(database)
        for attempt in (database.upgrade, database.current, database.require_current):
            with pytest.raises(DatabaseError, match="can't use postgresql") as caught:
                await attempt()
            assert "hunter2" not in str(caught.value)
            assert "\n" not in str(caught.value)
        await database.close()

    def test_a_missing_driver_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "asyncpg", None)
        with pytest.raises(DatabaseError, match=r'pip install "parley-bot\[postgres\]"'):
            Database("postgresql://h/db")


class TestTransactions:
    async def test_an_exception_rolls_back(self, database: Database) -> None:
        async def write_and_fail() -> None:
            async with database.write() as session:
                await session.execute(text(CLAIM))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await write_and_fail()
        async with database.read() as session:
            assert await session.scalar(text("SELECT count(*) FROM claims")) == 0

    async def test_a_reader_does_not_wait_for_a_writer(self, database: Database) -> None:
        async with database.write() as session:
            await session.execute(text(CLAIM))
            async with asyncio.timeout(2), database.read() as reader:
                assert await reader.scalar(text("SELECT count(*) FROM claims")) == 0

    async def test_cancelled_writers_leave_no_lock_behind(self, database: Database) -> None:
        async def write() -> None:
            async with database.write() as session:
                await session.execute(text("DELETE FROM claims"))
                await asyncio.sleep(0.01)

        for delay in (0, 0.001, 0.003, 0.008):
            tasks = [asyncio.create_task(write()) for _ in range(8)]
            await asyncio.sleep(delay)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(5):
            await write()

    async def test_a_writer_cancelled_in_mid_statement_leaves_no_lock_behind(
        self, sqlite: Database
    ) -> None:
        """Not even while its exception, and so a result of the driver's, is kept."""
        slow = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500000) "
            "INSERT INTO claims SELECT 'p', 'w', 'c', max(i), '2026-01-01' FROM n RETURNING *"
        )
        began = asyncio.Event()

        async def write() -> None:
            async with sqlite.write() as session:
                await session.execute(text("DELETE FROM claims"))
                began.set()
                await session.execute(text(slow))

        kept = asyncio.create_task(write())
        await began.wait()
        await asyncio.sleep(0.01)
        kept.cancel()
        await asyncio.wait((kept,))
        assert kept.cancelled()
        async with asyncio.timeout(5), sqlite.write() as session:
            await session.execute(text(CLAIM))
        async with sqlite.read() as session:
            assert await session.scalar(text("SELECT count(*) FROM claims")) == 1

    async def test_a_loop_that_is_not_blocked(self, sqlite: Database) -> None:
        """Another process holds SQLite's lock for a while: the loop goes on meanwhile."""
        with closing(sqlite3.connect(sqlite.engine.url.database or "")) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(write_down(sqlite, "m1"))
            loop = asyncio.get_running_loop()
            longest = 0.0
            for _ in range(20):
                before = loop.time()
                await asyncio.sleep(0.01)
                longest = max(longest, loop.time() - before)
            assert not waiting.done()
            other.rollback()
            await waiting
        assert longest < 0.2


class TestDeletion:
    async def test_nothing_deleted_is_left_in_the_files(self, sqlite: Database, file: Path) -> None:
        store = SqlStore(sqlite)
        pixels = b"not really pixels" * 2000
        for n in range(3):
            work = await store.accept(
                KEY, MessageReceived(KEY, f"m{n}", Author("u", "Ana"), f"{SECRET} {n}")
            )
            assert work is not None
            await store.save_reply(work.turn_id, TurnState.DELIVERED, text=f"I heard: {SECRET}")
        async with sqlite.write() as session:
            await session.execute(
                text(
                    "INSERT INTO attachments (message_id, name, declared_type, size) "
                    "VALUES (1, 'a.png', 'image/png', 1)"
                )
            )
        await store.set_attachment(1, NormalizedImage(pixels, "d" * 64, 1, 1), None)
        assert SECRET.encode() in contents(file)
        assert pixels[:100] in contents(file)

        await store.delete_message(KEY, "m0")
        await store.reset(KEY, NOW)

        assert SECRET.encode() not in contents(file)
        assert pixels[:100] not in contents(file)

    async def test_nothing_of_a_forgotten_person_is_left_in_the_files(
        self, sqlite: Database, file: Path
    ) -> None:
        await write_down(sqlite, "m0", SECRET)
        assert SECRET.encode() in contents(file)
        assert await SqlStore(sqlite).forget(ThreadKey("discord", "guild"), "u", at=NOW) == 1
        assert SECRET.encode() not in contents(file)

    async def test_nothing_too_old_is_left_in_the_files(self, sqlite: Database, file: Path) -> None:
        turn = await write_down(sqlite, "m0", SECRET)
        store = SqlStore(sqlite)
        await store.save_reply(turn, TurnState.DELIVERED, text=SECRET, finish_reason="stop")
        assert await store.delete_turns(KEY, datetime.now(UTC) + timedelta(days=1)) == 1
        assert SECRET.encode() not in contents(file)

    async def test_nothing_of_a_removed_post_is_left_in_the_files(
        self, sqlite: Database, file: Path
    ) -> None:
        playground = PlaygroundStore(sqlite)
        channel = await playground.add_channel("general")
        root = await playground.add_post(channel.id, None, "ana", SECRET)
        reply = await playground.add_post(channel.id, root.id, "bob", f"Re: {SECRET}")
        assert SECRET.encode() in contents(file)
        assert await playground.remove_post(root.id) == []
        assert await playground.remove_post(reply.id) == [reply.id, root.id]
        assert SECRET.encode() not in contents(file)

    async def test_scrubbing_does_not_wait_for_a_reader(self, sqlite: Database) -> None:
        await write_down(sqlite, "m1")
        async with sqlite.read() as session:
            await session.execute(text("SELECT * FROM messages"))
            async with asyncio.timeout(2):
                assert await SqlStore(sqlite).reset(KEY, NOW) == 1
        async with sqlite.read() as session:
            assert await session.scalar(text("PRAGMA busy_timeout")) == 10_000


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def spoil(file: Path) -> None:
    for path in file.parent.iterdir():
        path.unlink()
    file.write_bytes(os.urandom(10_000))


def contents(file: Path) -> bytes:
    return b"".join(path.read_bytes() for path in file.parent.iterdir())


class TestBackup:
    async def test_a_copy_while_it_is_in_use(self, sqlite: Database, tmp_path: Path) -> None:
        await write_down(sqlite, "m0", SECRET)
        target = tmp_path / "backup.db"
        async with sqlite.write() as session:
            await session.execute(text("DELETE FROM messages"))
            await sqlite.backup(target)  # sees what is committed
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert names(tmp_path) == ["backup.db", "deep"]
        restored = Database(f"sqlite+aiosqlite:///{target}")
        (turn,) = await SqlStore(restored).unfinished()
        assert turn.messages[0].text == SECRET
        await restored.require_current()
        await restored.close()

    async def test_an_existing_file_is_not_overwritten(
        self, sqlite: Database, tmp_path: Path
    ) -> None:
        target = tmp_path / "precious"
        target.write_text("mine")
        with pytest.raises(DatabaseError, match="already exists"):
            await sqlite.backup(target)
        assert target.read_text() == "mine"

    async def test_a_folder_that_is_not_there(self, sqlite: Database, tmp_path: Path) -> None:
        with pytest.raises(DatabaseError, match=r"can't write .*No such file"):
            await sqlite.backup(tmp_path / "no" / "backup.db")

    async def test_a_failed_backup_leaves_nothing(
        self, sqlite: Database, file: Path, tmp_path: Path
    ) -> None:
        await sqlite.close()
        spoil(file)
        with pytest.raises(DatabaseError, match="can't copy"):
            await sqlite.backup(tmp_path / "backup.db")
        assert names(tmp_path) == ["deep"]

    async def test_postgresql_is_sent_to_its_own_tool(self, database: Database) -> None:
        if database.is_sqlite:
            pytest.skip("backed up above")
        with pytest.raises(DatabaseError, match="pg_dump"):
            await database.backup(Path("x"))
