"""One process of Parley inside the tests' event loop, to be ended as SIGKILL would."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Process:
    """Runs coroutines; every task that they start, or a task of theirs, belongs to it.

    A task inherits the context of what started it, and so do callbacks and the handlers of a
    server that is started here.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it inside the process and wait for its result."""
        return await self.spawn(work)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run it inside the process."""
        loop = asyncio.get_running_loop()
        if loop.get_task_factory() is None:
            loop.set_task_factory(_make_task)
        context = contextvars.copy_context()
        context.run(_process.set, self)
        return asyncio.create_task(work, context=context)

    async def kill(self) -> None:
        """End all of its tasks. Cleanup code gets no further than to its first await, so that it
        says nothing to the platform or the database."""
        while tasks := {task for task in self._tasks if not task.done()}:
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0)


def _make_task(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, T],
    *,
    context: contextvars.Context | None = None,
) -> asyncio.Task[T]:
    task = asyncio.Task(work, loop=loop, context=context)
    process = context.get(_process) if context is not None else _process.get()
    if process is not None:
        process._tasks.add(task)
        task.add_done_callback(process._tasks.discard)
    return task
