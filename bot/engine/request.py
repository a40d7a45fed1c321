"""One reply under way: what the event loop's side and the worker's thread share."""

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
    """A reply requested on `loop`. After `Worker.submit`, only the worker's thread changes it.

    Attributes:
        share: see `api.Engine.stream`.
        pixels: pixel values by picture digest, of pictures not encoded yet.
        features: soft-token embeddings by picture digest.
        sequence: set once the worker has accepted the request.
        queue_position: the last position in the queue that the reader was told.
        done: it has ended, or nobody reads it anymore.
    """

    prompt: Prompt
    params: SamplingParams
    owner: str
    conversation: str
    text: IncrementalDetokenizer
    sampler: Sampler
    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[Outcome]
    share: float = 1.0
    pixels: dict[str, torch.Tensor] = field(default_factory=dict)
    features: dict[str, torch.Tensor] = field(default_factory=dict)
    sequence: Sequence | None = None
    created_at: float = field(default_factory=time.perf_counter)
    started_at: float | None = None
    first_token_at: float | None = None
    queue_position: int | None = None
    done: bool = False

    def append_token(self, token_id: int) -> Delta | None:
        """Add a generated token; returns the text that can be sent now."""
        assert self.sequence is not None
        self.sequence.token_ids.append(token_id)
        return self.text.push_token(token_id)

    def build_finish(self, reason: FinishReason) -> Finish:
        """The stream's last item, with the usage up to now."""
        now = time.perf_counter()
        sequence = self.sequence
        return Finish(
            reason,
            Usage(
                prompt_tokens=len(self.prompt.ids),
                cached_tokens=sequence.num_cached_tokens if sequence else 0,
                generated_tokens=sequence.num_generated_tokens if sequence else 0,
                queue_s=(self.started_at or now) - self.created_at,
                ttft_s=(self.first_token_at or now) - self.created_at,
                total_s=now - self.created_at,
            ),
        )


class Outbox:
    """Collects a step's stream items and hands them to each event loop in one call."""

    def __init__(self) -> None:
        self._items: list[tuple[Request, Outcome]] = []

    def add_item(self, request: Request, item: Outcome | None) -> None:
        """Add one item; None is ignored."""
        if item is not None:
            self._items.append((request, item))

    def send_items(self) -> list[Request]:
        """Hand everything over.

        Returns:
            The requests whose event loop is closed.
        """
        items, self._items = self._items, []
        unreachable: list[Request] = []
        for loop in {request.loop for request, _ in items}:
            batch = [(request, item) for request, item in items if request.loop is loop]
            try:
                loop.call_soon_threadsafe(_enqueue_items, batch)
            except RuntimeError:  # the loop is closed
                unreachable += [request for request, _ in batch]
        return unreachable


def _enqueue_items(items: Iterable[tuple[Request, Outcome]]) -> None:
    for request, item in items:
        request.queue.put_nowait(item)


def fail_requests(requests: Iterable[Request], error: EngineError) -> None:
    """End requests that no worker will serve."""
    outbox = Outbox()
    for request in requests:
        request.done = True
        outbox.add_item(request, error)
    outbox.send_items()


class TokenRate:
    """Tokens per second over the last `window_s` seconds. Any thread may read and write it."""

    def __init__(self, window_s: float = 2.0) -> None:
        self._window_s = window_s
        self._counts: deque[tuple[float, int]] = deque()
        self._lock = Lock()

    def add_tokens(self, count: int) -> None:
        with self._lock:
            self._counts.append((time.monotonic(), count))
            self._drop_old_counts()

    def tokens_per_s(self) -> float:
        with self._lock:
            self._drop_old_counts()
            return sum(count for _, count in self._counts) / self._window_s

    def _drop_old_counts(self) -> None:
        window_start = time.monotonic() - self._window_s
        while self._counts and self._counts[0][0] < window_start:
            self._counts.popleft()
