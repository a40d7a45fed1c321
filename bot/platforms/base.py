"""What the composition root expects of a platform's adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from aiohttp import web

from bot.config import Settings
from bot.core.ports import ReplySink
from bot.core.records import Turn


class PlatformError(Exception):
    """A platform can't be served; the text is one line that names the setting and the fix."""


class Adapter(Protocol):
    """A platform. It hands what happens there to the service; the core answers through it."""

    platform: str  # as in `ThreadKey.platform`

    @property
    def is_connected(self) -> bool:
        """Whether events reach it now."""
        ...

    async def start(self) -> None:
        """Connect; returns once events come. An outage is waited out.

        Raises:
            PlatformError: it can't be served as it is set up.
        """
        ...

    async def watch(self) -> None:
        """Wait until it fails for good. Raises PlatformError then."""
        ...

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        ...

    async def open_reply(self, turn: Turn) -> ReplySink:
        """See `bot.core.ports.ReplyTarget`."""
        ...


@runtime_checkable
class HasRoutes(Protocol):
    """An optional ability of an adapter: its platform comes to Parley's web server."""

    def add_routes(self, routes: web.Application) -> None:
        """Add them; called once, before `start`."""
        ...


@runtime_checkable
class CanPause(Protocol):
    """An optional ability of an adapter: to hear nothing more, while running replies end."""

    async def pause(self) -> None:
        """Take nothing more in. The platform keeps it for the next process. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `parley doctor`. `fix`: what to do about it, where it is not `ok`."""

    what: str
    ok: bool
    detail: str = ""
    fix: str = ""

    def __str__(self) -> str:
        text = f"{'ok  ' if self.ok else 'FAIL'} {self.what}"
        if self.detail:
            text += f": {self.detail}"
        return text if self.ok or not self.fix else f"{text}; fix: {self.fix}"


#: A platform's part of `parley doctor`: `check` in the package's `checks.py`.
Checker: TypeAlias = Callable[[Settings], AsyncIterator[Finding]]
