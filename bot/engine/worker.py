"""The engine's thread: takes requests, steps the model, hands out tokens."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable
from threading import Condition

import torch

from bot.engine.api import FinishReason, GenerationFailed, Lane, Queued, Snapshot
from bot.engine.request import Outbox, Rate, Request
from bot.engine.runner import ModelRunner, StepResult
from bot.engine.sampling import sample
from bot.engine.scheduler import Chunk, Scheduler, Sequence
from bot.engine.vision import Vision

log = logging.getLogger(__name__)


class Worker:
    """Owns scheduler, pool and model between `run`'s first and last line.

    `submit`, `cancel`, `stop` and `snapshot` may be called from any thread.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: ModelRunner,
        vision: Vision | None,
        *,
        stop_ids: frozenset[int],
        max_context: int,
    ) -> None:
        self.scheduler = scheduler
        self.runner = runner
        self.vision = vision
        self._stop_ids = stop_ids
        self._max_context = max_context
        self._requests: dict[Sequence, Request] = {}
        self._inbox: deque[Request] = deque()
        self._cancelled: deque[Request] = deque()
        self._wake = Condition()
        self._stopping = False
        self._out = Outbox()
        self._rate = Rate()
        self._steps = 0
        self._generated = 0
        self._lanes: tuple[Lane, ...] = ()

    # -- any thread -----------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue a request up; after `stop` it is cancelled at once."""
        with self._wake:
            if not self._stopping:
                self._inbox.append(request)
                self._wake.notify()
                return
        self._out_of_office(request)

    def cancel(self, request: Request) -> None:
        """Nobody reads it any more: free it at the next step."""
        with self._wake:
            self._cancelled.append(request)
            self._wake.notify()

    def stop(self) -> None:
        """Cancel everything; `run` returns after the step under way."""
        with self._wake:
            self._stopping = True
            self._wake.notify()

    def snapshot(self) -> Snapshot:
        """The batcher after its last step."""
        return Snapshot(
            running=self._lanes,
            waiting=len(self.scheduler.line) + len(self._inbox),
            tokens_per_s=self._rate.value(),
            steps=self._steps,
            generated_total=self._generated,
        )

    # -- the engine's thread ----------------------------------------------------------------------

    def run(self) -> None:
        """Work until stopped."""
        while self._collect():
            try:
                self._step()
            except Exception as error:
                log.exception("the batcher failed between two steps and begins anew")
                self._fail_all(error)
                if not self._reset():
                    break
            self._lanes = tuple(map(self._lane, self.scheduler.running))
            for request in self._out.send():
                self._drop(request)
        for request in [*self._requests.values(), *self._inbox]:
            self._out.put(request, request.text.finish())
            self._out.put(request, request.finish("cancelled"))
            self._drop(request)
        self._out.send()
        self._lanes = ()

    def _collect(self) -> bool:
        """Take what has arrived, sleep while there is nothing to do. False: stop."""
        with self._wake:
            while not (self._stopping or self._inbox or self._cancelled):
                if not self.scheduler.idle:
                    break
                self._wake.wait()
            if self._stopping:
                return False
            arrived = list(self._inbox)
            self._inbox.clear()
            gone = list(self._cancelled)
            self._cancelled.clear()
        for request in arrived:
            sequence = Sequence(
                owner=request.owner,
                tokens=list(request.prompt.ids),
                spans=request.prompt.spans,
                max_new=request.params.max_new_tokens,
                table=self.scheduler.blocks.table(),
                prompt_length=len(request.prompt.ids),
            )
            request.sequence = sequence
            self._requests[sequence] = request
            self.scheduler.add(sequence)
        for request in gone:
            self._drop(request)
        return True

    def _step(self) -> None:
        chunks = self.scheduler.schedule()
        self._tell_places()
        if not chunks:
            return
        now = time.perf_counter()
        for chunk in chunks:
            request = self._requests[chunk.sequence]
            request.started = request.started or now
        chunks = self._look(chunks)
        if not chunks:
            return
        for done, result in self._forward(chunks):
            self._steps += 1
            broken = set(result.broken)
            self.scheduler.settle([c for c in done if c.sequence not in broken])
            for sequence in result.broken:
                self._fail(sequence, ArithmeticError("the model computed NaN or infinity"))
            self._sample(result)

    def _forward(self, chunks: list[Chunk]) -> list[tuple[list[Chunk], StepResult]]:
        """One pass; if it raises, halves are tried until those who are to blame are alone."""
        try:
            return [(chunks, self.runner.forward(chunks, self._features))]
        except Exception as error:
            log.warning("a step of %d sequences failed: %s", len(chunks), error)
            if isinstance(error, torch.OutOfMemoryError):
                torch.cuda.empty_cache()
            if len(chunks) == 1:
                self._fail(chunks[0].sequence, error)
                return []
        half = len(chunks) // 2
        return self._forward(chunks[:half]) + self._forward(chunks[half:])

    def _sample(self, result: StepResult) -> None:
        if not result.sequences:
            return
        requests = [self._requests[sequence] for sequence in result.sequences]
        drawn = sample(result.logits, [request.sampler for request in requests])
        now = time.perf_counter()
        for request, sequence, token in zip(requests, result.sequences, drawn, strict=True):
            if isinstance(token, Exception):
                self._fail(sequence, token)
                continue
            request.first_token = request.first_token or now
            self._take(request, token)
        self._generated += len(drawn)
        self._rate.add(len(drawn))

    def _take(self, request: Request, token: int) -> None:
        """Give a sequence its next token, and end it where it ends."""
        if token in self._stop_ids:
            self._finish(request, "stop")
            return
        self._out.put(request, request.take(token))
        sequence = request.sequence
        assert sequence is not None
        if request.text.stopped:
            self._finish(request, "stop")
        elif sequence.generated >= sequence.max_new or len(sequence.tokens) >= self._max_context:
            self._finish(request, "length")

    def _finish(self, request: Request, reason: FinishReason) -> None:
        if not request.text.stopped:
            self._out.put(request, request.text.finish())
        self._out.put(request, request.finish(reason))
        self._drop(request)

    def _look(self, chunks: list[Chunk]) -> list[Chunk]:
        """Run the vision tower for pictures that this step prefills; each distinct one once."""
        wanted: dict[str, list[Request]] = {}
        for chunk in chunks:
            request = self._requests[chunk.sequence]
            for span in chunk.sequence.spans:
                inside = span.start < chunk.end and chunk.start < span.end
                if inside and span.digest not in request.features:
                    wanted.setdefault(span.digest, []).append(request)
        if not wanted or self.vision is None:
            return chunks
        failed = set()
        pixels: dict[str, torch.Tensor] = {}
        found: dict[str, torch.Tensor] = {}
        for digest, requests in wanted.items():
            if (rows := self.vision.find(digest)) is not None:
                found[digest] = rows
                continue
            try:
                pixels[digest] = self._pixels(digest, requests)
            except Exception as error:
                failed |= self._fail_for(requests, error)
        found |= self._compute(pixels, wanted, failed)
        for digest, rows in found.items():
            for request in wanted[digest]:
                request.features[digest] = rows
                request.pixels.pop(digest, None)
        return [chunk for chunk in chunks if chunk.sequence not in failed]

    def _compute(
        self,
        pixels: dict[str, torch.Tensor],
        wanted: dict[str, list[Request]],
        failed: set[Sequence],
    ) -> dict[str, torch.Tensor]:
        """All at once; if that raises, one by one, so that only the bad picture's reply fails."""
        assert self.vision is not None
        try:
            return self.vision.compute(pixels) if pixels else {}
        except Exception as error:
            if len(pixels) == 1:
                failed |= self._fail_for(wanted[next(iter(pixels))], error)
                return {}
        found: dict[str, torch.Tensor] = {}
        for digest, values in pixels.items():
            found |= self._compute({digest: values}, wanted, failed)
        return found

    def _pixels(self, digest: str, requests: list[Request]) -> torch.Tensor:
        assert self.vision is not None
        for request in requests:
            if digest in request.pixels:
                return request.pixels[digest]
        # Its features left the cache between the request and now.
        image = next(i for i in requests[0].prompt.images if i.digest == digest)
        return self.vision.pixels(image)

    def _features(self, sequence: Sequence, digest: str) -> torch.Tensor:
        return self._requests[sequence].features[digest]

    def _fail_for(self, requests: Iterable[Request], error: Exception) -> set[Sequence]:
        sequences = {r.sequence for r in requests if r.sequence is not None and not r.done}
        for sequence in sequences:
            self._fail(sequence, error)
        return sequences

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        """End one reply with an error; the others go on."""
        request = self._requests[sequence]
        log.error("a reply failed: %s: %s", type(error).__name__, error)
        failure = GenerationFailed(f"{type(error).__name__}: {error}")
        failure.__cause__ = error
        self._out.put(request, failure)
        self.runner.clear(sequence.table, sequence.computed)
        self._drop(request)

    def _fail_all(self, error: Exception) -> None:
        """The bookkeeping itself is in doubt: fail everybody."""
        for request in list(self._requests.values()):
            request.done = True
            self._out.put(request, GenerationFailed(f"{type(error).__name__}: {error}"))
        self._requests.clear()

    def _reset(self) -> bool:
        """An empty pool and line; False if not even that works (the device is lost)."""
        try:
            self.runner.reset()
        except Exception:
            log.critical("the device does not answer; the engine stops", exc_info=True)
            self.stop()
            return False
        old = self.scheduler
        self.scheduler = Scheduler(
            old.blocks, max_running=old.max_running, step_tokens=old.step_tokens
        )
        return True

    def _drop(self, request: Request) -> None:
        """Free whatever a request holds; harmless when it is gone already."""
        request.done = True
        request.pixels.clear()
        request.features.clear()
        if request.sequence in self._requests:
            del self._requests[request.sequence]
            self.scheduler.remove(request.sequence)

    def _out_of_office(self, request: Request) -> None:
        outbox = Outbox()
        outbox.put(request, request.finish("cancelled"))
        outbox.send()

    def _tell_places(self) -> None:
        for place, ticket in enumerate(self.scheduler.line):
            request = self._requests[ticket.item]
            if request.ahead != place and not ticket.item.started:
                request.ahead = place
                self._out.put(request, Queued(place))

    def _lane(self, sequence: Sequence) -> Lane:
        request = self._requests[sequence]
        decoding = sequence.generated > 0 and sequence.remaining <= 1
        return Lane(
            conversation=request.conversation,
            owner=request.owner,
            phase="decode" if decoding else "prefill",
            prompt=sequence.prompt_length,
            prefilled=min(sequence.computed, sequence.prompt_length),
            cached=sequence.cached,
            generated=sequence.generated,
            max_new=sequence.max_new,
        )
