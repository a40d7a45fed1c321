"""The systems under test: Parley and its peers, each in a process of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Protocol

from bot.bench.measure import RunResult
from bot.bench.workloads import Request


class System(Protocol):
    """Something that answers a workload. Lives in a worker process; all methods block."""

    def load(self, folder: str) -> None:
        """Load the model in `folder`."""
        ...

    def run(self, requests: Sequence[Request]) -> RunResult:
        """Answer all requests at their times and say when each token came."""
        ...


class Parley:
    """Parley's own engine, driven through its public contract."""

    def load(self, folder: str) -> None:
        """Load, with the end of turn ignored so that every reply has its full length."""
        from bot.engine.batcher import LocalEngine
        from bot.engine.loading import LocalEngineConfig

        self._loop = asyncio.new_event_loop()
        self._engine = LocalEngine(LocalEngineConfig(model=folder, ignore_eos=True))
        self._loop.run_until_complete(self._engine.start())

    def run(self, requests: Sequence[Request]) -> RunResult:
        """One task a request."""
        return self._loop.run_until_complete(self._run(requests))

    async def _run(self, requests: Sequence[Request]) -> RunResult:
        start = time.perf_counter()
        replies = await asyncio.gather(*(self._ask(request, start) for request in requests))
        return RunResult(
            arrivals=[request.at_s for request in requests],
            token_times=[times for times, _, _ in replies],
            prompt_tokens=sum(prompt for _, prompt, _ in replies),
            cached_tokens=sum(cached for _, _, cached in replies),
        )

    async def _ask(self, request: Request, start: float) -> tuple[list[float], int, int]:
        from bot.engine.api import Delta, Finish, Message, SamplingParams, Text

        await asyncio.sleep(max(0.0, start + request.at_s - time.perf_counter()))
        messages = [
            Message("system", (Text(request.system),)),
            Message("user", (Text(request.text),)),
        ]
        sampling = SamplingParams(temperature=0, max_new_tokens=request.new_tokens)
        times: list[float] = []
        prompt = cached = 0
        async for item in self._engine.stream(
            messages, sampling, owner=request.owner, conversation=request.conversation
        ):
            now = time.perf_counter() - start
            if isinstance(item, Delta):
                times += [now] * len(item.token_ids)
            elif isinstance(item, Finish):
                prompt, cached = item.usage.prompt_tokens, item.usage.cached_tokens
        return times, prompt, cached


class _TokenClock:
    """A transformers streamer that notes when each step's tokens came (the first put is the
    prompt)."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._seen_prompt = False
        self.times: list[float] = []

    def put(self, _: Any) -> None:
        if self._seen_prompt:
            self.times.append(time.perf_counter() - self._start)
        self._seen_prompt = True

    def end(self) -> None:
        """Nothing to close."""


class GenerateStatic:
    """transformers' `generate()` on one padded batch of everyone."""

    batch_size: int | None = None  # None: everyone at once

    def load(self, folder: str) -> None:
        """Load in bfloat16, as Parley does."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()

    def run(self, requests: Sequence[Request]) -> RunResult:
        """Batches one after another, in the order of arrival."""
        size = self.batch_size or len(requests)
        start = time.perf_counter()
        token_times: list[list[float]] = []
        prompt_tokens = 0
        for first in range(0, len(requests), size):
            batch = requests[first : first + size]
            inputs = self._tokenizer.apply_chat_template(
                [
                    [
                        {"role": "system", "content": [{"type": "text", "text": r.system}]},
                        {"role": "user", "content": [{"type": "text", "text": r.text}]},
                    ]
                    for r in batch
                ],
                add_generation_prompt=True,
                tokenize=True,
                padding=True,
                return_dict=True,
                return_tensors="pt",
            )
            clock = _TokenClock(start)
            new = batch[0].new_tokens
            self._model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                do_sample=False,
                top_k=None,
                top_p=None,
                max_new_tokens=new,
                min_new_tokens=new,
                streamer=_broadcast(clock),
            )
            prompt_tokens += int(inputs["attention_mask"].sum())
            token_times += [clock.times[:new] for _ in batch]
        return RunResult(
            arrivals=[request.at_s for request in requests],
            token_times=token_times,
            prompt_tokens=prompt_tokens,
        )


def _broadcast(clock: _TokenClock) -> Any:
    """The clock as transformers' BaseStreamer, which `generate` accepts for whole batches."""
    from transformers.generation.streamers import BaseStreamer

    class Streamer(BaseStreamer):  # type: ignore[misc]  # transformers is untyped
        def put(self, value: Any) -> None:
            clock.put(value)

        def end(self) -> None:
            clock.end()

    return Streamer()


class Generate(GenerateStatic):
    """transformers' `generate()`, one request after another: what most bots do."""

    batch_size = 1


SYSTEMS: dict[str, type[System]] = {
    "parley": Parley,
    "generate": Generate,
    "generate-static": GenerateStatic,
}
