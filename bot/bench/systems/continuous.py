"""transformers' continuous batching: the manager behind `generate_batch`, fed as a server is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from bot.bench.errors import BenchFailed
from bot.bench.measure import PeakMemory
from bot.bench.systems.base import Ask, Ended, Item, Setup, Tokens
from bot.bench.systems.room import room_for
from bot.bench.systems.transformers_model import TransformersModel
from bot.bench.trace import Trace

_PAGE = 256  # tokens; the library's default


class ContinuousBatching:
    """The manager with its defaults, except for the cache: all conversations at full length.

    (Its own choice is 60 % of the machine's memory, which several systems can't take at once.)
    """

    def __init__(self, setup: Setup) -> None:
        self.memory = PeakMemory()
        self._setup = setup
        self._manager: Any = None
        self._asked = 0

    async def start(self) -> dict[str, str]:
        """Load the model; the manager comes with the room it needs."""
        # The manager's thread is its own and PyTorch's number of threads a thread's own: the
        # worker process sets OMP_NUM_THREADS, which counts for all of them.
        self._model = await asyncio.to_thread(TransformersModel, self._setup)
        return {}

    async def prepare(self, traces: Sequence[Trace]) -> None:
        """A manager with a cache for this workload."""
        await self.stop()
        room = room_for(traces, self._model.tokenizer)
        pages = room.conversations * (math.ceil(room.context / _PAGE) + 1)
        self._manager = self._model.model.init_continuous_batching(
            generation_config=GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0),
            continuous_batching_config=ContinuousBatchingConfig(
                page_size=_PAGE,
                num_blocks=pages,
                max_requests_per_batch=room.conversations,
                auto_switch_to_flash=torch.cuda.is_available(),
            ),
        )
        self._manager.start()

    async def stream(self, ask: Ask) -> AsyncIterator[Item]:
        """Tokens as its result handler gets them."""
        ids = self._model.prompt(ask.messages).ids
        self._asked += 1
        name = f"{ask.conversation}-{self._asked}"
        results: asyncio.Queue[Any] = asyncio.Queue()
        self._manager.register_result_handler(name, results.put_nowait)
        added = self._manager.add_request(
            list(ids), request_id=name, max_new_tokens=ask.new_tokens, streaming=True
        )
        if added is None:
            raise BenchFailed("the continuous batching manager takes no requests any more")
        given = 0
        while given < ask.new_tokens:
            result = await results.get()
            if result.error is not None:
                raise BenchFailed(f"a request failed: {result.error.splitlines()[0]}")
            fresh = tuple(result.generated_tokens[given:])
            given += len(fresh)
            if fresh:
                yield Tokens(fresh, len(fresh))
            elif result.is_finished():
                break
        # Gemma 3 has sliding layers, whose blocks this library can't share: nothing is reused.
        yield Ended(len(ids), 0)

    async def stop(self) -> None:
        """Stop the manager's thread."""
        manager, self._manager = self._manager, None
        if manager is not None:
            await asyncio.to_thread(manager.stop, block=True, timeout=60, hard_stop=True)
            await asyncio.to_thread(manager.destroy)
