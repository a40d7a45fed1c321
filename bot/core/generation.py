"""Reads one reply from the engine at the engine's pace, however slow the consumer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from bot.engine.api import Delta, Finish, Queued, StreamItem


class Generation:
    """One stream of the engine, read by its own task.

    What arrives while the reader is busy (a platform's edit takes a second) is handed over as
    one piece. Cancelling loses nothing that was generated: `text` and `token_ids` stay.
    """

    def __init__(self, stream: AsyncIterator[StreamItem]) -> None:
        self.token_ids: list[int] = []
        self.finish: Finish | None = None
        self.ttft_s: float | None = None
        self._text: list[str] = []
        self._unread: list[str] = []
        self._ahead: int | None = None
        self._news = asyncio.Event()
        self._started = time.monotonic()
        self._task = asyncio.create_task(self._read(stream), name="reply-generation")
        self._task.add_done_callback(lambda _: self._news.set())

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def elapsed_s(self) -> float:
        """Since the request was made."""
        return time.monotonic() - self._started

    def cancel(self) -> None:
        """Stop generating, which ends `changes`."""
        self._task.cancel()

    async def close(self) -> None:
        """Cancel and wait until the engine has been told."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def changes(self) -> AsyncIterator[Queued | str]:
        """New text, or a new place in the queue. Ends when the reply ends or is cancelled.

        Raises:
            what the engine raises.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            ended = self._task.done()
            if self._unread:
                piece = "".join(self._unread)
                self._unread.clear()
                self._ahead = None
                yield piece
            elif self._ahead is not None:
                place, self._ahead = Queued(self._ahead), None
                yield place
            if ended:
                break
        if not self._task.cancelled():
            self._task.result()

    async def _read(self, stream: AsyncIterator[StreamItem]) -> None:
        async for item in stream:
            if isinstance(item, Delta):
                self.ttft_s = self.ttft_s or self.elapsed_s
                self._text.append(item.text)
                self.token_ids += item.token_ids
                if item.text:
                    self._unread.append(item.text)
            elif isinstance(item, Queued):
                self._ahead = item.ahead
            else:
                self.finish = item
            self._news.set()
