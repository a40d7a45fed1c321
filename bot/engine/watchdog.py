"""Notices a step that hangs. A thread can't be killed, so it is given up and another goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from types import TracebackType


class Abandoned(BaseException):
    """This thread hung and was replaced: it ends without touching anything."""


class Guard:
    """Marks where the engine's thread may hang: `with guard:` around every call of the model.

    It is given up only in there, and leaves it only by `Abandoned`. So its bookkeeping, which is
    done outside, can be taken over.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._since: float | None = None
        self._given_up = False

    def give_up(self, limit_s: float) -> bool:
        """Give the thread up if it has been in the model for that long."""
        with self._lock:
            if self._since is None or time.monotonic() - self._since < limit_s:
                return False
            self._given_up = True
            return True

    def __enter__(self) -> None:
        with self._lock:
            self._since = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._since = None
            if self._given_up:
                raise Abandoned from error


class Watchdog:
    """Calls `check` a few times within `limit_s` seconds, on a thread of its own."""

    def __init__(self, limit_s: float, check: Callable[[], None]) -> None:
        self._every_s = min(max(limit_s / 8, 0.02), 5.0)
        self._check = check
        self._over = Event()
        self._thread = Thread(target=self._watch, name="parley-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more checks."""
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            self._check()
