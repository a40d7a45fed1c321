"""Runs Alembic's migrations on an open connection. Synchronous; for `AsyncConnection.run_sync`."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

import bot
from bot.storage.errors import DatabaseError

#: PostgreSQL's advisory lock for migrations; any unused number.
_LOCK = 0x9A71E7


def migrations_folder() -> Path:
    """The migrations folder, beside the package `bot` in a checkout, an image and a wheel.

    Raises:
        DatabaseError: the installation is incomplete.
    """
    folder = Path(bot.__file__).resolve().parents[1] / "migrations"
    if not (folder / "env.py").is_file():
        raise DatabaseError(
            f"the migrations are missing ({folder}): reinstall Parley, or copy the folder "
            "`migrations` next to `bot`"
        )
    return folder


def head() -> str:
    """The newest revision of this installation. Raises DatabaseError if there is none."""
    revision = ScriptDirectory(str(migrations_folder())).get_current_head()
    if revision is None:
        raise DatabaseError(f"no migrations in {migrations_folder()}: reinstall Parley")
    return revision


def current(connection: Connection) -> str | None:
    """The database's revision, None if it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Upgrade the schema to `revision`, in the open transaction of `connection`.

    Raises:
        DatabaseError: a newer Parley has been here.
    """
    config = _config(connection)
    _wait_for_others(connection)
    at = current(connection)
    if at is not None and not _knows(config, at):
        raise DatabaseError(
            f"the database is at revision {at}, which this version of Parley doesn't know: "
            "run the newer version that upgraded it, or restore a backup"
        )
    command.upgrade(config, revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Downgrade the schema to `revision` ("base": empty)."""
    _wait_for_others(connection)
    command.downgrade(_config(connection), revision)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _knows(config: Config, revision: str) -> bool:
    try:
        return ScriptDirectory.from_config(config).get_revision(revision) is not None
    except CommandError:
        return False


def _wait_for_others(connection: Connection) -> None:
    """Let one process migrate at a time. On SQLite BEGIN IMMEDIATE does that already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
