"""How Alembic runs Parley's migrations: on the connection it is given, or on its own.

`Database.upgrade` hands its connection over. Run by Alembic's command line (to write a new
migration: `alembic revision --autogenerate -m "..."`) it opens `PARLEY_DATABASE_URL` itself.
"""

from __future__ import annotations

import asyncio
import os

from alembic import context
from sqlalchemy import Connection

from bot.storage.database import Database
from bot.storage.schema import metadata


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,  # SQLite alters a table by copying it
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_on_its_own() -> None:
    database = Database(os.environ.get("PARLEY_DATABASE_URL", "sqlite+aiosqlite:///data/parley.db"))
    try:
        async with database.migrating() as connection:
            await connection.run_sync(migrate)
    finally:
        await database.close()


if context.is_offline_mode():
    raise SystemExit("Parley's migrations need a database: leave out --sql")
if (connection := context.config.attributes.get("connection")) is not None:
    migrate(connection)
else:
    asyncio.run(migrate_on_its_own())
