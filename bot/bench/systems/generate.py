"""transformers' `generate()`: one request after another, or everybody who waits in one batch."""

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
from bot.bench.systems.base import Ask, Ended, Item, Setup, Tokens
from bot.bench.systems.transformers_model import TransformersModel
from bot.bench.trace import Trace
from bot.engine.prompt import Prompt

_GATHER_S = 0.01  # requests made at the same moment share a batch


@dataclass(eq=False, slots=True)
class _Job:
    prompt: Prompt
    new_tokens: int
    queue: asyncio.Queue[int | Exception] = field(default_factory=asyncio.Queue)


class Generate:
    """A queue in front of `generate()`, first come, first served.

    Args:
        at_once: rows of a batch at most; 1 is what most bots do. A batch is static: whoever comes
            while it runs waits for its longest reply.
    """

    def __init__(self, setup: Setup, *, at_once: int) -> None:
        self.memory = PeakMemory()
        self._setup = setup
        self._at_once = at_once
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generate")
        self._server: asyncio.Task[None] | None = None

    async def start(self) -> dict[str, str]:
        """Load on the thread that will run it: PyTorch's number of threads is the thread's own."""
        loop = asyncio.get_running_loop()
        self._model = await loop.run_in_executor(self._thread, TransformersModel, self._setup)
        self._server = asyncio.create_task(self._serve(), name="generate")
        return {}

    async def prepare(self, traces: Sequence[Trace]) -> None:
        """Nothing: every call of `generate()` makes its own cache."""

    async def stream(self, ask: Ask) -> AsyncIterator[Item]:
        """Tokens as the streamer gives them."""
        job = _Job(self._model.prompt(ask.messages), ask.new_tokens)
        self._jobs.append(job)
        self._arrived.set()
        for _ in range(ask.new_tokens):
            token = await job.queue.get()
            if isinstance(token, Exception):
                raise token
            yield Tokens((token,), 1)
        yield Ended(len(job.prompt.ids))

    async def stop(self) -> None:
        """End the queue; a batch under way ends first."""
        if self._server is not None:
            self._server.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._server
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            if self._at_once > 1:
                await asyncio.sleep(_GATHER_S)
            batch = [self._jobs.popleft() for _ in range(min(self._at_once, len(self._jobs)))]
            if not self._jobs:
                self._arrived.clear()
            try:
                await loop.run_in_executor(self._thread, self._generate, batch, loop)
            except Exception as error:
                for job in batch:
                    job.queue.put_nowait(error)

    def _generate(self, batch: Sequence[_Job], loop: asyncio.AbstractEventLoop) -> None:
        self._model.model.generate(
            **self._model.inputs([job.prompt for job in batch]),
            do_sample=False,
            top_k=None,
            top_p=None,
            eos_token_id=None,
            pad_token_id=0,
            max_new_tokens=max(job.new_tokens for job in batch),
            streamer=_Streamer(batch, loop),
        )


class _Streamer(BaseStreamer):  # type: ignore[misc]  # transformers is untyped
    """Hands each step's tokens to their queues; the first `put` is the prompt."""

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
        # Rows that have enough are padding by now; nobody reads their queue any more.
        for job, token in zip(self._batch, tokens, strict=True):
            job.queue.put_nowait(token)
