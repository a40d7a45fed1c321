"""Copies an SQLite database while it is in use. Blocking; run it in a thread."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from bot.storage.errors import DatabaseError


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy `source` as it is at one moment into the new file `target`, readable by its owner.

    Writers go on meanwhile. The copy is checked and then appears under its name at once, whole.

    Raises:
        DatabaseError: `target` exists, cannot be written, or `source` is damaged.
    """
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))  # reserves the name
        try:
            with tempfile.TemporaryDirectory(prefix=".parley-backup-", dir=target.parent) as folder:
                unfinished = Path(folder) / target.name
                _copy(source, unfinished)
                unfinished.chmod(0o600)
                unfinished.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    except FileExistsError as error:
        raise DatabaseError(f"{target} already exists: name a new file") from error
    except OSError as error:
        raise DatabaseError(f"can't write {target}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise DatabaseError(f"can't copy {source}: {error}") from error


def _copy(source: Path, target: Path) -> None:
    with (
        closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as original,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        original.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # a single file, without -wal and -shm
        (verdict,) = copy.execute("PRAGMA quick_check").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"the copy is damaged: {verdict}")
