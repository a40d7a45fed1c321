"""`bot.engine.api.Engine` that says what a test tells it, when the test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from bot.engine.api import (
    Delta,
    EngineInfo,
    Finish,
    FinishReason,
    Image,
    Message,
    Queued,
    SamplingParams,
    Snapshot,
    StreamItem,
    Text,
    Usage,
)
from tests.support.waiting import until


@dataclass
class Request:
    """One call of `stream`, driven by the test."""

    messages: Sequence[Message]
    sampling: SamplingParams
    owner: str
    conversation: str
    share: float = 1.0
    closed: bool = False
    written: int = 0
    items: asyncio.Queue[StreamItem | Exception] = field(default_factory=asyncio.Queue)

    @property
    def asked(self) -> str:
        """The text of the last message."""
        return prompt_text(self.messages[-1:])

    def queued(self, ahead: int) -> None:
        self.items.put_nowait(Queued(ahead))

    def write(self, text: str) -> None:
        self.written += 1
        self.items.put_nowait(Delta(text, (self.written,)))

    def finish(self, reason: FinishReason = "stop") -> None:
        usage = Usage(10, 4, self.written, 0.1, 0.2, 0.3)
        self.items.put_nowait(Finish(reason, usage))

    def fail(self, error: Exception) -> None:
        self.items.put_nowait(error)


class ScriptedEngine:
    """Counts tokens by words. `refuse_with` is raised by the next streams instead of starting."""

    def __init__(
        self, *, sees_images: bool = False, max_context: int = 400, image_tokens: int = 5
    ) -> None:
        self.info = EngineInfo(
            "scripted", sees_images, max_context, image_tokens if sees_images else 0, "cpu", "none"
        )
        self.requests: list[Request] = []
        self.refuse_with: Exception | None = None
        self.auto: str | None = None  # answer at once with this text

    async def start(self) -> None: ...

    async def stop(self) -> None:
        for request in self.requests:
            request.finish("cancelled")

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return count_words(messages, self.info.image_tokens)

    async def stream(
        self,
        messages: Sequence[Message],
        sampling: SamplingParams,
        *,
        owner: str,
        conversation: str,
        share: float = 1.0,
    ) -> AsyncIterator[StreamItem]:
        if self.refuse_with is not None:
            raise self.refuse_with
        request = Request(messages, sampling, owner, conversation, share)
        self.requests.append(request)
        if self.auto is not None:
            request.write(self.auto)
            request.finish()
        try:
            while True:
                item = await request.items.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, Finish):
                    return
        finally:
            request.closed = True

    async def request(self, number: int) -> Request:
        """The request of this number (from 0), as soon as it is made."""
        await until(lambda: len(self.requests) > number)
        return self.requests[number]

    def snapshot(self) -> Snapshot:
        return Snapshot((), 0, 0.0, 0, 0)


def count_words(messages: Sequence[Message], image_tokens: int = 5) -> int:
    return sum(
        image_tokens if isinstance(part, Image) else len(part.text.split())
        for message in messages
        for part in message.parts
    )


def prompt_text(messages: Sequence[Message]) -> str:
    """Messages as one readable text, a picture as <name of its digest>."""
    return "\n".join(
        "".join(part.text if isinstance(part, Text) else f"<{part.digest}>" for part in m.parts)
        for m in messages
    )
