"""A pool of worker processes that read files; a process that hangs or dies is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bot
from bot.media import frames

_START_S = 60.0  # for a new process to import what it needs
_ALARM_GRACE_S = 5.0  # a worker that wasn't killed in time ends itself after this
_JOBS = 500  # then a process is replaced, to bound leaks in decoders


class WorkerDied(Exception):
    """The process ended while it worked on this job."""


class WorkerTookTooLong(Exception):
    """The process was killed because this job took too long."""


class PoolClosed(Exception):
    """The pool accepts no more jobs."""


class WorkerPool:
    """Up to `size` processes, started on demand.

    Args:
        size: how many files are read at once.
        memory: bytes of address space that one process may use.
        timeout_s: seconds one file may take, not counting the wait for a free process.
        command: run instead of the real worker, with memory and seconds as arguments.
    """

    def __init__(
        self,
        size: int,
        *,
        memory: int,
        timeout_s: float,
        command: Sequence[str] | None = None,
    ) -> None:
        self._command = [
            *(command or (sys.executable, "-P", "-m", "bot.media.worker")),
            str(memory),
            str(timeout_s + _ALARM_GRACE_S),
        ]
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(size)
        self._idle: list[_Worker] = []
        self._alive: set[_Worker] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def run(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Send a frame to a process and return its answer.

        Raises:
            WorkerDied, WorkerTookTooLong: this job's process has ended; the pool still works.
            PoolClosed: `close` was called, before or meanwhile.
        """
        async with self._slots:
            worker = self._idle_worker()
            if worker is not None:
                # The previous file may have broken this process, so retry in a new one.
                with contextlib.suppress(WorkerDied):
                    return await self._job(worker, head, body)
            return await self._job(await self._new_worker(), head, body)

    async def close(self) -> None:
        """Kill all processes, even busy ones, and wait until they have ended. Idempotent."""
        self._closed = True
        self._idle.clear()
        for worker in list(self._alive):
            self._discard(worker)
        while self._ending:
            await asyncio.gather(*self._ending, return_exceptions=True)

    async def _job(
        self, worker: _Worker, head: dict[str, Any], body: bytes
    ) -> tuple[dict[str, Any], bytes]:
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await worker.ask(head, body)
        except BaseException as error:
            self._discard(worker)
            if self._closed and isinstance(error, Exception):
                raise PoolClosed from None
            if isinstance(error, TimeoutError):
                raise WorkerTookTooLong from None
            raise
        if worker.jobs < _JOBS and not self._closed:
            self._idle.append(worker)
        else:
            self._discard(worker)
        return answer

    def _idle_worker(self) -> _Worker | None:
        """An idle process that is still alive."""
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            self._discard(worker)
        return None

    async def _new_worker(self) -> _Worker:
        if self._closed:
            raise PoolClosed
        worker = _Worker(await self._start())
        self._alive.add(worker)
        try:
            async with asyncio.timeout(_START_S):
                await worker.answer()  # the ready message
        except BaseException as error:
            self._discard(worker)
            if self._closed and isinstance(error, Exception):
                raise PoolClosed from None
            raise
        return worker

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,  # Ctrl-C must not reach the workers; `close` ends them
        )

    def _discard(self, worker: _Worker) -> None:
        """Kill a process at once and wait for its end in the background."""
        if worker not in self._alive:
            return
        self._alive.discard(worker)
        worker.kill()
        task = asyncio.create_task(worker.wait_ended(), name="a media worker ends")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class _Worker:
    """One process and the pipes to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._in, self._out = process.stdin, process.stdout
        self.jobs = 0

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Raises WorkerDied."""
        self.jobs += 1
        try:
            self._in.write(frames.pack(head, body))
            self._in.write(body)
            await self._in.drain()
        except ConnectionError as error:
            raise WorkerDied from error
        return await self.answer()

    async def answer(self) -> tuple[dict[str, Any], bytes]:
        """The process's next frame. Raises WorkerDied."""
        try:
            head, body = frames.lengths(await self._out.readexactly(frames.PREFIX))
            return (
                frames.unpack_head(await self._out.readexactly(head)),
                await self._out.readexactly(body),
            )
        except (asyncio.IncompleteReadError, ConnectionError, frames.BadFrame) as error:
            raise WorkerDied from error

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._in.close()

    async def wait_ended(self) -> None:
        await self._process.wait()
        with contextlib.suppress(ConnectionError):
            await self._in.wait_closed()


def _environment() -> dict[str, str]:
    """The part of our environment that a worker needs, so that hostile files can't reach tokens."""
    root = str(Path(bot.__file__).resolve().parents[1])
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        # Each malloc arena reserves 64 MiB of the worker's limited address space.
        "MALLOC_ARENA_MAX": "2",
    }
