"""One reply under way: what the loop's side and the worker's side share."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock

import torch

from bot.engine.api import (
    Delta,
    EngineError,
    Finish,
    FinishReason,
    SamplingParams,
    StreamItem,
    Usage,
)
from bot.engine.model.sampling import Sampler
from bot.engine.prompt import Prompt
from bot.engine.schedule.scheduler import Sequence
from bot.engine.text.detokenizer import IncrementalDetokenizer

Outcome = StreamItem | Exception


@dataclass(slots=True, eq=False)
class Request:
    """A reply asked for on `loop`; after `submit` only the worker's thread changes it."""

    prompt: Prompt
    params: SamplingParams
    owner: str
    conversation: str
    text: IncrementalDetokenizer
    sampler: Sampler
    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[Outcome]
    share: float = 1.0  # twice as much is served twice as soon, where people wait
    pixels: dict[str, torch.Tensor] = field(default_factory=dict)  # by digest, not yet seen
    features: dict[str, torch.Tensor] = field(default_factory=dict)
    sequence: Sequence | None = None
    asked: float = field(default_factory=time.perf_counter)
    started: float | None = None
    first_token: float | None = None
    ahead: int | None = None  # the last place in the line that was told
    done: bool = False

    def take(self, token_id: int) -> Delta | None:
        """The sequence has one token more; what can be given out of it."""
        assert self.sequence is not None
        self.sequence.token_ids.append(token_id)
        return self.text.push_token(token_id)

    def finish(self, reason: FinishReason) -> Finish:
        """The stream's last item."""
        now = time.perf_counter()
        sequence = self.sequence
        return Finish(
            reason,
            Usage(
                prompt_tokens=len(self.prompt.ids),
                cached_tokens=sequence.num_cached_tokens if sequence else 0,
                generated_tokens=sequence.num_generated_tokens if sequence else 0,
                queue_s=(self.started or now) - self.asked,
                ttft_s=(self.first_token or now) - self.asked,
                total_s=now - self.asked,
            ),
        )


class Outbox:
    """What a step gives to streams, handed to their event loops in one call each."""

    def __init__(self) -> None:
        self._items: list[tuple[Request, Outcome]] = []

    def put(self, request: Request, item: Outcome | None) -> None:
        """Add one item (None: nothing)."""
        if item is not None:
            self._items.append((request, item))

    def send(self) -> list[Request]:
        """Hand everything over.

        Returns:
            The requests whose loop is gone.
        """
        items, self._items = self._items, []
        lost: list[Request] = []
        for loop in {request.loop for request, _ in items}:
            mine = [(request, item) for request, item in items if request.loop is loop]
            try:
                loop.call_soon_threadsafe(_deliver, mine)
            except RuntimeError:  # the loop is closed
                lost += [request for request, _ in mine]
        return lost


def _deliver(items: Iterable[tuple[Request, Outcome]]) -> None:
    for request, item in items:
        request.queue.put_nowait(item)


def refuse(requests: Iterable[Request], error: EngineError) -> None:
    """End requests that no worker has any more."""
    outbox = Outbox()
    for request in requests:
        request.done = True
        outbox.put(request, error)
    outbox.send()


class Rate:
    """Tokens per second over the last `window_s` seconds; written and read by any thread."""

    def __init__(self, window_s: float = 2.0) -> None:
        self._window = window_s
        self._counts: deque[tuple[float, int]] = deque()
        self._lock = Lock()

    def add(self, count: int) -> None:
        """So many tokens came now."""
        with self._lock:
            self._counts.append((time.monotonic(), count))
            self._trim()

    def value(self) -> float:
        """Tokens per second."""
        with self._lock:
            self._trim()
            return sum(count for _, count in self._counts) / self._window

    def _trim(self) -> None:
        old = time.monotonic() - self._window
        while self._counts and self._counts[0][0] < old:
            self._counts.popleft()
