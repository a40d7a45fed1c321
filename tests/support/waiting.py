"""Waits for what other tasks do, without sleeping for a fixed time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Let the loop run until the condition holds. Raises TimeoutError if it never does."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0)


async def settle(turns: int = 50) -> None:
    """Let everything that can run now run, to see that something does *not* happen."""
    for _ in range(turns):
        await asyncio.sleep(0)
