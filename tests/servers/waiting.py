"""Waits for what another process does, without taking the processor from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any


async def until(condition: Callable[[], object], timeout_s: float = 80.0, what: str = "") -> Any:
    """Look every 20 ms until the condition holds; what it gave.

    Raises:
        TimeoutError: it never did; says `what` was waited for.
    """
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(what or "it never came")
        await asyncio.sleep(0.02)
    return found
