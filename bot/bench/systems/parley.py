"""Parley's own engine, used through its public API as the service uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from bot.bench.measure import PeakMemory
from bot.bench.systems.base import Item, ReplyEnd, ReplyRequest, Setup, Tokens
from bot.bench.trace import Trace
from bot.engine.api import Delta, Finish, SamplingParams
from bot.engine.batcher import LocalEngine


class Parley:
    """The engine with the operator's settings, except that end-of-turn tokens are ignored."""

    def __init__(self, setup: Setup) -> None:
        self.memory = PeakMemory()
        self._engine = LocalEngine(
            replace(setup.engine, ignore_eos=True, threads=setup.threads, progress=None)
        )

    async def start(self) -> dict[str, str]:
        """Load the model."""
        await self._engine.start()
        info = self._engine.info
        return {"dtype": info.dtype, "device": info.device}

    async def prepare(self, traces: Sequence[Trace]) -> None:
        """Do nothing: the engine runs as configured."""

    async def stream(self, ask: ReplyRequest) -> AsyncIterator[Item]:
        """Yield each delta's tokens."""
        sampling = SamplingParams(temperature=0, max_new_tokens=ask.new_tokens)
        async for item in self._engine.stream(
            ask.messages, sampling, owner=ask.owner, conversation=ask.conversation
        ):
            if isinstance(item, Delta):
                yield Tokens(item.token_ids, len(item.token_ids))
            elif isinstance(item, Finish):
                yield ReplyEnd(item.usage.prompt_tokens, item.usage.cached_tokens)

    async def stop(self) -> None:
        """Free the model."""
        await self._engine.stop()
