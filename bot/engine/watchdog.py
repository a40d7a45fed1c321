"""Notices a step that hangs.

A thread can't be killed, so it is abandoned and another one takes over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from types import TracebackType


class Abandoned(BaseException):
    """This thread hung and was replaced: it must end without touching anything."""


class Guard:
    """Marks where the engine's thread may hang: `with guard:` around every call of the model.

    The thread can be abandoned only inside such a block, and then leaves it only by raising
    `Abandoned`. Its bookkeeping happens outside, so another thread can take it over.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._entered_at: float | None = None
        self._is_abandoned = False

    def abandon_after(self, limit_s: float) -> bool:
        """Abandon the thread if it has been inside for `limit_s` seconds; whether it was."""
        with self._lock:
            if self._entered_at is None or time.monotonic() - self._entered_at < limit_s:
                return False
            self._is_abandoned = True
            return True

    def __enter__(self) -> None:
        with self._lock:
            self._entered_at = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._entered_at = None
            if self._is_abandoned:
                raise Abandoned from error


class Watchdog:
    """Calls `check` several times within `limit_s` seconds, on a thread of its own."""

    def __init__(self, limit_s: float, check: Callable[[], None]) -> None:
        self._interval_s = min(max(limit_s / 8, 0.02), 5.0)
        self._check = check
        self._stopped = Event()
        self._thread = Thread(target=self._run_checks, name="parley-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more checks."""
        self._stopped.set()

    def _run_checks(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self._check()
