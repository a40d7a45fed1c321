"""Databases with the current schema, copied from a template: migrating one takes longer than most
tests."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from bot.storage.database import Database
from tests.support import postgres

_templates: dict[str, Path] = {}


async def migrate(database: Database) -> None:
    """What `database.upgrade()` makes of a new SQLite file; an existing one is upgraded."""
    file = database._file
    if file is None or (file.exists() and file.stat().st_size > 0):
        await database.upgrade()
    else:
        shutil.copyfile(await _sqlite_template(), file)  # into the private file that is there


async def migrate_postgres(url: str, cluster: postgres.Cluster) -> None:
    """What `Database(url).upgrade()` makes of a new database that nobody is connected to."""
    if cluster.template is None:
        template = await cluster.create()
        database = Database(template)
        await database.upgrade()
        await database.close()
        cluster.template = postgres.name_of(template)
    await cluster.recreate(url, cluster.template)


async def _sqlite_template() -> Path:
    if "sqlite" not in _templates:
        folder = Path(tempfile.mkdtemp(prefix="parley-template-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        database = Database(f"sqlite+aiosqlite:///{folder / 'template.db'}")
        await database.upgrade()
        await database.close()
        _templates["sqlite"] = folder / "template.db"
    return _templates["sqlite"]
