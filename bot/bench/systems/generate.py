"""transformers' `generate()`: one request at a time, or all waiting requests in one batch."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from transformers.generation.streamers import BaseStreamer

from bot.bench.measure import PeakMemory
from bot.bench.systems.base import Item, ReplyEnd, ReplyRequest, Setup, Tokens
from bot.bench.systems.transformers_model import TransformersModel
from bot.bench.trace import Trace
from bot.engine.prompt import Prompt

_BATCH_WINDOW_S = 0.01  # requests that arrive within this time share a batch


@dataclass(eq=False, slots=True)
class _Job:
    prompt: Prompt
    new_tokens: int
    queue: asyncio.Queue[int | Exception] = field(default_factory=asyncio.Queue)


class Generate:
    """A first-come, first-served queue in front of `generate()`.

    Args:
        max_batch: the most rows in a batch; most bots use 1. A batch is static: requests that
            arrive while it runs wait for its longest reply.
    """

    def __init__(self, setup: Setup, *, max_batch: int) -> None:
        self.memory = PeakMemory()
        self._setup = setup
        self._max_batch = max_batch
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generate")
        self._server: asyncio.Task[None] | None = None

    async def start(self) -> dict[str, str]:
        """Load on the thread that will run the model: PyTorch's thread count applies per thread."""
        loop = asyncio.get_running_loop()
        self._model = await loop.run_in_executor(self._thread, TransformersModel, self._setup)
        self._server = asyncio.create_task(self._serve_jobs(), name="generate")
        return {}

    async def prepare(self, traces: Sequence[Trace]) -> None:
        """Do nothing: every call of `generate()` allocates its own cache."""

    async def stream(self, ask: ReplyRequest) -> AsyncIterator[Item]:
        """Yield tokens as the streamer delivers them."""
        job = _Job(self._model.build_prompt(ask.messages), ask.new_tokens)
        self._jobs.append(job)
        self._arrived.set()
        for _ in range(ask.new_tokens):
            token = await job.queue.get()
            if isinstance(token, Exception):
                raise token
            yield Tokens((token,), 1)
        yield ReplyEnd(len(job.prompt.ids))

    async def stop(self) -> None:
        """Stop serving; a running batch finishes first."""
        if self._server is not None:
            self._server.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._server
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _serve_jobs(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            if self._max_batch > 1:
                await asyncio.sleep(_BATCH_WINDOW_S)
            batch = [self._jobs.popleft() for _ in range(min(self._max_batch, len(self._jobs)))]
            if not self._jobs:
                self._arrived.clear()
            try:
                await loop.run_in_executor(self._thread, self._generate_batch, batch, loop)
            except Exception as error:
                for job in batch:
                    job.queue.put_nowait(error)

    def _generate_batch(self, batch: Sequence[_Job], loop: asyncio.AbstractEventLoop) -> None:
        self._model.model.generate(
            **self._model.model_inputs([job.prompt for job in batch]),
            do_sample=False,
            top_k=None,
            top_p=None,
            eos_token_id=None,
            pad_token_id=0,
            max_new_tokens=max(job.new_tokens for job in batch),
            streamer=_Streamer(batch, loop),
        )


class _Streamer(BaseStreamer):  # type: ignore[misc]  # transformers is untyped
    """Puts each step's tokens into their queues; the first `put` is the prompt."""

    def __init__(self, batch: Sequence[_Job], loop: asyncio.AbstractEventLoop) -> None:
        self._batch = batch
        self._loop = loop
        self._seen_prompt = False

    def put(self, value: Any) -> None:
        if self._seen_prompt:
            self._loop.call_soon_threadsafe(self._deliver, value.reshape(-1).tolist())
        self._seen_prompt = True

    def end(self) -> None:
        """Nothing to close."""

    def _deliver(self, tokens: list[int]) -> None:
        # Rows that already have all their tokens get extra ones, which nobody reads.
        for job, token in zip(self._batch, tokens, strict=True):
            job.queue.put_nowait(token)
