"""The connection to SQLite or PostgreSQL: engine, transactions, schema upgrade, backup."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, MissingGreenlet, SQLAlchemyError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import AsyncAdaptedQueuePool

from bot.storage import migrate
from bot.storage.backup import copy_sqlite
from bot.storage.errors import SETTING, DatabaseError

#: Seconds a writer waits for another process (a backup, `parley persona import`) to finish.
BUSY_TIMEOUT_S = 10.0
_WAL_AGAIN_S = 0.02

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
_BEGIN = "parley_begin"


class Database:
    """One database and its connection pool.

    `url`: `sqlite+aiosqlite:///data/parley.db` or `postgresql+asyncpg://user:password@host/name`.
    The folder of an SQLite file is made if it is not there, for the owner's eyes only.

    Raises:
        DatabaseError: the URL is wrong, its driver is missing, or the folder cannot be made.
    """

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        if self._file is not None:
            _create_private(self._file)
        self._engine = _create_engine(self._url, in_memory=self.is_sqlite and self._file is None)
        self._write_engine = self._engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        self._readers = async_sessionmaker(self._engine, expire_on_commit=False)
        self._writers = async_sessionmaker(self._write_engine, expire_on_commit=False)
        # SQLite has one writer at a time. Waiting here is fair; SQLite itself polls, and a writer
        # that is unlucky for too long fails.
        self._turnstile = asyncio.Lock() if self.is_sqlite else nullcontext()

    def __repr__(self) -> str:
        return f"Database({self.display_url!r})"

    @property
    def display_url(self) -> str:
        """The URL without its password."""
        return self._url.render_as_string(hide_password=True)

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for queries that have no method here."""
        return self._engine

    @property
    def write_engine(self) -> AsyncEngine:
        """The same engine, with write transactions from the start."""
        return self._write_engine

    @property
    def _file(self) -> Path | None:
        """SQLite's file, None for PostgreSQL and for a database in memory."""
        name = self._url.database
        if not self.is_sqlite or not name or name == ":memory:" or name.startswith("file:"):
            return None
        return Path(name)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session in a read-only transaction, which neither waits for a writer nor blocks one.
        On SQLite it sees one moment."""
        async with self._readers.begin() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session in a transaction: committed at the end, rolled back by an exception.

        On SQLite writers queue here, and what a transaction has read stays true until it commits.
        """
        async with self._turnstile, self._writers.begin() as session:
            yield session

    async def upgrade(self, revision: str = "head") -> None:
        """Upgrade the schema, completely or not at all. Safe when several processes start
        at once.

        Raises:
            DatabaseError: unreachable, not a database, or upgraded by a newer Parley.
        """
        with _said_in_one_line(self.display_url):
            async with self.migrating() as connection:
                await connection.run_sync(migrate.upgrade, revision)

    async def downgrade(self, revision: str) -> None:
        """Downgrade the schema to `revision` ("base": empty). Loses data."""
        with _said_in_one_line(self.display_url):
            async with self.migrating() as connection:
                await connection.run_sync(migrate.downgrade, revision)

    async def current(self) -> str | None:
        """The schema's revision, None for an empty database.

        Raises:
            DatabaseError: unreachable or not a database.
        """
        with _said_in_one_line(self.display_url):
            async with self._engine.connect() as connection:
                return await connection.run_sync(migrate.current)

    async def require_current(self) -> None:
        """For PostgreSQL at start, where `parley db upgrade` is the operator's to run.

        Raises:
            DatabaseError: the schema is not the one of this Parley.
        """
        current, head = await self.current(), migrate.head()
        if current != head:
            raise DatabaseError(
                f"the database is at revision {current or 'none'}, but Parley needs {head}: "
                "run `parley db upgrade`"
            )

    async def backup(self, path: Path) -> None:
        """Copy an SQLite database, while it is in use, to the new file `path`.

        Raises:
            DatabaseError: not SQLite, `path` exists already, or it cannot be written.
        """
        if self._file is None:
            raise DatabaseError(
                f"{SETTING} is not a SQLite file: use pg_dump to back up PostgreSQL"
            )
        await asyncio.to_thread(copy_sqlite, self._file, path)

    async def scrub(self) -> None:
        """After a deletion: remove what was deleted from SQLite's write-ahead log as well.

        Best effort: while somebody reads, the log stays until the next time.
        """
        if self._file is None:
            return
        async with self._engine.connect() as connection:
            driver = await _driver_connection(connection)
            await driver.execute("PRAGMA busy_timeout = 100")
            try:
                await driver.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                await driver.execute(f"PRAGMA busy_timeout = {_milliseconds(BUSY_TIMEOUT_S)}")

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        await self._engine.dispose()

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction for DDL.

        SQLite changes a table by making it anew and dropping the old one, which would take along
        every row that refers to it: foreign keys are off meanwhile and checked at the end.
        """
        async with self._turnstile, self._write_engine.connect() as connection:
            if not self.is_sqlite:
                async with connection.begin():
                    yield connection
                return
            driver = await _driver_connection(connection)
            await driver.execute("PRAGMA foreign_keys = OFF")
            try:
                async with connection.begin():
                    yield connection
                    await connection.run_sync(_check_foreign_keys)
            finally:
                await driver.execute("PRAGMA foreign_keys = ON")


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        # The text may hold a password, so it isn't repeated.
        raise DatabaseError(
            f"{SETTING} is not a database URL: use one such as sqlite+aiosqlite:///data/parley.db"
        ) from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise DatabaseError(
            f"{SETTING} uses the driver {parsed.drivername!r}: use sqlite+aiosqlite or "
            "postgresql+asyncpg"
        )
    return parsed.set(drivername=driver)


def _create_private(file: Path) -> None:
    """Create the file and its folder, readable only by the owner: it holds conversations."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise DatabaseError(
            f"can't open {file} ({error.strerror}): set {SETTING} to a writable file"
        ) from error


def _create_engine(url: URL, *, in_memory: bool) -> AsyncEngine:
    options: dict[str, Any]
    if url.get_backend_name() == "sqlite":
        # The driver must not begin transactions itself: see `_on_begin`.
        options = {"connect_args": {"isolation_level": None, "timeout": BUSY_TIMEOUT_S}}
        if in_memory:  # each connection would be a database of its own
            options |= {"poolclass": AsyncAdaptedQueuePool, "pool_size": 1, "max_overflow": 0}
    else:
        options = {"pool_pre_ping": True}
    try:
        engine = create_async_engine(url, **options)
    except ModuleNotFoundError as error:
        raise DatabaseError(
            f'{SETTING} needs the package {error.name}: pip install "parley-bot[postgres]"'
        ) from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine.sync_engine, "connect", _on_connect)
        event.listen(engine.sync_engine, "begin", _on_begin)
        event.listen(engine.sync_engine, "invalidate", _on_invalidate)
    return engine


def _on_connect(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    _use_wal(connection, cursor)
    for pragma in (
        f"busy_timeout = {_milliseconds(BUSY_TIMEOUT_S)}",
        "synchronous = FULL",  # an accepted message survives a power cut
        "foreign_keys = ON",
        "secure_delete = ON",  # what is deleted is overwritten
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _use_wal(connection: Any, cursor: Any) -> None:
    """Switch to the write-ahead log. When several processes open a new file at once, SQLite fails
    at once here, whatever its busy timeout is."""
    latest = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > latest:
                raise
            connection.run_async(lambda _: asyncio.sleep(_WAL_AGAIN_S))


def _on_begin(connection: Connection) -> None:
    """Take SQLite's lock at the start of a write transaction. One that reads first and writes
    later would fail ("database is locked") if somebody else wrote in between."""
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))


def _on_invalidate(connection: Any, _record: object, _error: object) -> None:
    """A connection is thrown away because a call of it was cancelled. Closing it does not end its
    transaction while a result of it is referred to somewhere, in a traceback for instance: nobody
    could write until then."""
    # A second cancellation changes nothing: the call is queued already.
    with suppress(sqlite3.Error, MissingGreenlet, asyncio.CancelledError):
        connection.rollback()


def _check_foreign_keys(connection: Connection) -> None:
    broken = connection.execute(text("PRAGMA foreign_key_check")).first()
    if broken is not None:
        raise DatabaseError(f"the migration left table {broken[0]} with dangling references")


async def _driver_connection(connection: AsyncConnection) -> Any:
    """The driver's connection, for statements outside a transaction."""
    return (await connection.get_raw_connection()).driver_connection


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


@contextmanager
def _said_in_one_line(display_url: str) -> Iterator[None]:
    """Turn a driver's exception into ours."""
    try:
        yield
    except DBAPIError as error:
        reason = _first_line(error.orig)
        raise DatabaseError(f"can't use {display_url} ({SETTING}): {reason}") from error
    except (OSError, SQLAlchemyError) as error:
        raise DatabaseError(f"can't use {display_url} ({SETTING}): {_first_line(error)}") from error


def _first_line(error: BaseException | None) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
