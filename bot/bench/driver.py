"""Plays a trace on one system and records when each token reached the client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bot.bench.errors import BenchFailed
from bot.bench.measure import Reply
from bot.bench.pictures import draw_picture
from bot.bench.systems.base import ReplyEnd, ReplyRequest, System, Tokens
from bot.bench.trace import Conversation, Trace, Turn
from bot.engine.api import Message, Part, Text


async def play_trace(system: System, trace: Trace, *, limit_s: float = 1800) -> list[Reply]:
    """Play all conversations at once, one task each; times are from this loop's clock.

    Args:
        limit_s: how long the run may take.

    Raises:
        BenchFailed: a reply has the wrong length, or the run took too long.
    """
    run = _Run(system)
    tasks = [
        asyncio.create_task(run.play_conversation(number, conversation), name=conversation.name)
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
    """State shared by a run's conversations: the clock and the token count."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._start = time.perf_counter()
        self._tokens = 0
        self._waiting: list[tuple[int, asyncio.Event]] = []

    async def play_conversation(self, number: int, conversation: Conversation) -> list[Reply]:
        """Play all turns of a conversation; the history holds the system's own replies."""
        await asyncio.sleep(conversation.starts_s)
        await self._wait_for_tokens(conversation.after_tokens)
        history = [Message("system", (Text(conversation.persona),))]
        replies = []
        for place, turn in enumerate(conversation.turns, start=1):
            await asyncio.sleep(turn.pause_s)
            history.append(Message("user", _message_parts(turn)))
            ask = ReplyRequest(
                tuple(history), turn.new_tokens, conversation.owner, conversation.name, number
            )
            reply = Reply(conversation.name, conversation.group, place, self._now())
            ids = await self._read_reply(ask, reply)
            if len(reply.token_times) != turn.new_tokens:
                raise BenchFailed(
                    f"a reply has {len(reply.token_times)} tokens, "
                    f"but {turn.new_tokens} were requested"
                )
            history.append(Message("assistant", (Text("", tuple(ids)),)))
            replies.append(reply)
        return replies

    async def _read_reply(self, ask: ReplyRequest, reply: Reply) -> list[int]:
        ids: list[int] = []
        async for item in self._system.stream(ask):
            if isinstance(item, Tokens):
                reply.token_times += [self._now()] * item.count
                ids += item.ids
                self._add_tokens(item.count)
            elif isinstance(item, ReplyEnd):
                reply.prompt_tokens = item.prompt_tokens
                reply.cached_tokens = item.cached_tokens
        return ids

    def _now(self) -> float:
        return time.perf_counter() - self._start

    def _add_tokens(self, tokens: int) -> None:
        self._tokens += tokens
        for threshold, event in self._waiting:
            if self._tokens >= threshold:
                event.set()

    async def _wait_for_tokens(self, tokens: int) -> None:
        """Wait until the whole run has produced this many tokens."""
        if tokens > self._tokens:
            event = asyncio.Event()
            self._waiting.append((tokens, event))
            await event.wait()


def _message_parts(turn: Turn) -> tuple[Part, ...]:
    text: Sequence[Part] = (Text(turn.text),)
    return (draw_picture(turn.picture), *text) if turn.picture is not None else tuple(text)
