"""Plays a trace against one system and notes when each token reached the reader."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bot.bench.errors import BenchFailed
from bot.bench.measure import Reply
from bot.bench.pictures import picture
from bot.bench.systems.base import Ask, Ended, System, Tokens
from bot.bench.trace import Conversation, Trace, Turn
from bot.engine.api import Message, Part, Text


async def play(system: System, trace: Trace, *, limit_s: float = 1800) -> list[Reply]:
    """One task a conversation; all on this loop's clock.

    Args:
        limit_s: a system that is not done by then has failed.

    Raises:
        BenchFailed: a reply has the wrong length, or time is up.
    """
    run = _Run(system)
    tasks = [
        asyncio.create_task(run.converse(number, conversation), name=conversation.name)
        for number, conversation in enumerate(trace.conversations)
    ]
    try:
        async with asyncio.timeout(limit_s):
            replies = await asyncio.gather(*tasks)
    except TimeoutError:
        raise BenchFailed(f"a run took more than {limit_s:.0f} s") from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [reply for some in replies for reply in some]


class _Run:
    """What the conversations of one run share: the clock and the count of tokens."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._start = time.perf_counter()
        self._tokens = 0
        self._waiting: list[tuple[int, asyncio.Event]] = []

    async def converse(self, number: int, conversation: Conversation) -> list[Reply]:
        """All turns of one conversation, each with the system's own replies as its history."""
        await asyncio.sleep(conversation.starts_s)
        await self._reached(conversation.after_tokens)
        history = [Message("system", (Text(conversation.persona),))]
        replies = []
        for place, turn in enumerate(conversation.turns, start=1):
            await asyncio.sleep(turn.pause_s)
            history.append(Message("user", _parts(turn)))
            ask = Ask(
                tuple(history), turn.new_tokens, conversation.owner, conversation.name, number
            )
            reply = Reply(conversation.name, conversation.group, place, self._now())
            ids = await self._listen(ask, reply)
            if len(reply.token_times) != turn.new_tokens:
                raise BenchFailed(
                    f"a reply has {len(reply.token_times)} tokens, "
                    f"but {turn.new_tokens} were requested"
                )
            history.append(Message("assistant", (Text("", tuple(ids)),)))
            replies.append(reply)
        return replies

    async def _listen(self, ask: Ask, reply: Reply) -> list[int]:
        ids: list[int] = []
        async for item in self._system.stream(ask):
            if isinstance(item, Tokens):
                reply.token_times += [self._now()] * item.count
                ids += item.ids
                self._count(item.count)
            elif isinstance(item, Ended):
                reply.prompt_tokens = item.prompt_tokens
                reply.cached_tokens = item.cached_tokens
        return ids

    def _now(self) -> float:
        return time.perf_counter() - self._start

    def _count(self, tokens: int) -> None:
        self._tokens += tokens
        for wanted, event in self._waiting:
            if self._tokens >= wanted:
                event.set()

    async def _reached(self, tokens: int) -> None:
        """Wait until the run has produced so many."""
        if tokens > self._tokens:
            event = asyncio.Event()
            self._waiting.append((tokens, event))
            await event.wait()


def _parts(turn: Turn) -> tuple[Part, ...]:
    text: Sequence[Part] = (Text(turn.text),)
    return (picture(turn.picture), *text) if turn.picture is not None else tuple(text)
