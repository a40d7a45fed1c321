"""A real PostgreSQL for tests: a throw-away cluster on a unix socket, gone afterwards."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

USER = "parley"


@dataclass
class Cluster:
    """A running server; `create` makes a database in it."""

    socket_folder: Path
    template: str | None = None  # the name of a database with the current schema
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, name: str) -> str:
        return f"postgresql+asyncpg://{USER}@/{name}?host={self.socket_folder}"

    async def create(self, template: str = "template1") -> str:
        """The URL of a new database, a copy of `template`."""
        name = f"test_{next(self._numbers)}"
        await self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    async def recreate(self, url: str, template: str) -> None:
        """Replace a database that nobody is connected to by a copy of `template`."""
        await self.drop(url)
        await self._run(f"CREATE DATABASE {name_of(url)} TEMPLATE {template}")

    async def drop(self, url: str) -> None:
        await self._run(f"DROP DATABASE {name_of(url)} WITH (FORCE)")

    async def _run(self, statement: str) -> None:
        connection = await asyncpg.connect(
            host=str(self.socket_folder), user=USER, database="postgres"
        )
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def name_of(url: str) -> str:
    """The name of the database at this URL."""
    return url.split("?")[0].rsplit("/", 1)[1]


def binaries() -> Path | None:
    """The folder of the newest PostgreSQL server installed, None if there is none."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name)
    )
    return found[-1] if found else None


@contextmanager
def cluster(programs: Path) -> Iterator[Cluster]:
    """Start a server and stop it. PostgreSQL refuses to run as root: then nobody runs it."""
    as_user = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="parley-pg-"))  # a short path: sockets allow 107 bytes
    if as_user:
        shutil.chown(folder, **as_user)
    data = folder / "data"
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
            **as_user,
        )
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, "-h", "", "-F"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            **as_user,
        )
        try:
            _wait_until_ready(programs, folder, server)
            yield Cluster(folder)
        finally:
            server.terminate()
            server.wait(timeout=30)
    finally:
        shutil.rmtree(folder)


def _wait_until_ready(programs: Path, folder: Path, server: subprocess.Popen[bytes]) -> None:
    for _ in range(150):
        if server.poll() is not None:
            raise RuntimeError(f"postgres ended with {server.returncode}")
        ready = subprocess.run(
            [programs / "pg_isready", "-h", folder, "-U", USER, "-t", "1"], capture_output=True
        )
        if ready.returncode == 0:
            return
        time.sleep(0.1)
    raise RuntimeError("postgres does not answer")
