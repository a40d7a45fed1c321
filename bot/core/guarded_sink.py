"""Wraps a platform's reply sink: a time limit, logging, and failures that don't cost the reply."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from bot.core.ports import FinishedReply, KnowsPosted, ReplySink, ReplyTarget, TurnStore
from bot.core.records import Turn

logger = logging.getLogger(__name__)

T = TypeVar("T")


class SinkFailed(Exception):
    """The platform failed a call; the cause is chained."""


class GuardedSink:
    """A platform's sink as the core uses it.

    A failed `waiting`, `write` or `restart` is logged and the reply goes on unseen, since `finish`
    brings all of the text: a hiccup of the platform must not cost the answer. Only `finish` and
    `withdraw` raise.
    """

    def __init__(self, sink: ReplySink, turn: Turn, store: TurnStore, timeout_s: float) -> None:
        self._sink = sink
        self._turn_id = turn.id
        self._posted = turn.posted
        self._store = store
        self._timeout_s = timeout_s
        self._quiet = False

    @classmethod
    async def open(
        cls, target: ReplyTarget, turn: Turn, store: TurnStore, timeout_s: float
    ) -> GuardedSink:
        """Begin a reply on its platform.

        Raises:
            SinkFailed: the platform is down or too slow.
        """
        sink = await _within(target.open_reply(turn), timeout_s)
        guarded = cls(sink, turn, store, timeout_s)
        await guarded._note_posted()
        return guarded

    @property
    def posted(self) -> tuple[str, ...]:
        """The platform's ids of the reply's messages, as far as the sink has said."""
        return self._posted

    async def waiting(self, ahead: int) -> None:
        await self._show(self._sink.waiting, ahead)

    async def write(self, delta: str) -> None:
        await self._show(self._sink.write, delta)

    async def restart(self) -> None:
        await self._show(self._sink.restart)

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        """`ReplySink.finish`.

        Raises:
            SinkFailed: the platform is down or too slow.
        """
        return await _within(self._sink.finish(reply), self._timeout_s)

    async def withdraw(self) -> None:
        """`ReplySink.withdraw`.

        Raises:
            SinkFailed: the platform is down or too slow.
        """
        await _within(self._sink.withdraw(), self._timeout_s)

    async def _show(self, call: Callable[..., Awaitable[Any]], *args: object) -> None:
        if self._quiet:
            return
        try:
            await _within(call(*args), self._timeout_s)
        except SinkFailed:
            self._quiet = True
            logger.warning("turn %d: its platform fails", self._turn_id, exc_info=True)
        await self._note_posted()

    async def _note_posted(self) -> None:
        """Store where the reply is posted, so that a crash can't leave it there twice."""
        if not isinstance(self._sink, KnowsPosted) or self._sink.posted == self._posted:
            return
        self._posted = self._sink.posted
        try:
            await self._store.set_posted(self._turn_id, self._posted)
        except Exception:
            logger.exception("turn %d: where it is posted was not stored", self._turn_id)


async def _within(call: Awaitable[T], timeout_s: float) -> T:
    try:
        async with asyncio.timeout(timeout_s):
            return await call
    except Exception as error:
        raise SinkFailed(f"{type(error).__name__} in a reply sink") from error
