"""transformers' continuous batching: the manager behind `generate_batch`, used like a server."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from bot.bench.errors import BenchFailed
from bot.bench.measure import PeakMemory
from bot.bench.systems.base import Item, ReplyEnd, ReplyRequest, Setup, Tokens
from bot.bench.systems.capacity import capacity_for
from bot.bench.systems.transformers_model import TransformersModel
from bot.bench.trace import Trace

_PAGE_TOKENS = 256  # tokens; the library's default


class ContinuousBatching:
    """The manager with its defaults, except for a cache that holds all conversations.

    The default cache is 60 % of the machine's memory, which doesn't leave room for other systems.
    """

    def __init__(self, setup: Setup) -> None:
        self.memory = PeakMemory()
        self._setup = setup
        self._manager: Any = None
        self._num_requests = 0

    async def start(self) -> dict[str, str]:
        """Load the model; `prepare` creates the manager."""
        # PyTorch's thread count applies per thread and the manager runs its own thread, so the
        # limit comes from OMP_NUM_THREADS, which the worker process sets.
        self._model = await asyncio.to_thread(TransformersModel, self._setup)
        return {}

    async def prepare(self, traces: Sequence[Trace]) -> None:
        """Create a manager with a cache for this workload."""
        await self.stop()
        capacity = capacity_for(traces, self._model.tokenizer)
        pages = capacity.conversations * (math.ceil(capacity.context_tokens / _PAGE_TOKENS) + 1)
        self._manager = self._model.model.init_continuous_batching(
            generation_config=GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0),
            continuous_batching_config=ContinuousBatchingConfig(
                page_size=_PAGE_TOKENS,
                num_blocks=pages,
                max_requests_per_batch=capacity.conversations,
                auto_switch_to_flash=torch.cuda.is_available(),
            ),
        )
        self._manager.start()

    async def stream(self, ask: ReplyRequest) -> AsyncIterator[Item]:
        """Yield tokens as the manager's result handler receives them."""
        ids = self._model.build_prompt(ask.messages).ids
        self._num_requests += 1
        name = f"{ask.conversation}-{self._num_requests}"
        results: asyncio.Queue[Any] = asyncio.Queue()
        self._manager.register_result_handler(name, results.put_nowait)
        added = self._manager.add_request(
            list(ids), request_id=name, max_new_tokens=ask.new_tokens, streaming=True
        )
        if added is None:
            raise BenchFailed("the continuous batching manager no longer accepts requests")
        num_received = 0
        while num_received < ask.new_tokens:
            result = await results.get()
            if result.error is not None:
                raise BenchFailed(f"a request failed: {result.error.splitlines()[0]}")
            new_ids = tuple(result.generated_tokens[num_received:])
            num_received += len(new_ids)
            if new_ids:
                yield Tokens(new_ids, len(new_ids))
            elif result.is_finished():
                break
        # The library can't share blocks of sliding layers, so with Gemma 3 nothing is cached.
        yield ReplyEnd(len(ids), 0)

    async def stop(self) -> None:
        manager, self._manager = self._manager, None
        if manager is not None:
            await asyncio.to_thread(manager.stop, block=True, timeout=60, hard_stop=True)
            await asyncio.to_thread(manager.destroy)
