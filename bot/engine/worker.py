"""The engine's thread: takes requests, steps the model, hands out tokens."""

from __future__ import annotations

import logging
import time
from collections import deque
from threading import Condition

import torch

from bot.engine import overlap
from bot.engine.api import (
    FinishReason,
    GenerationFailed,
    Image,
    Lane,
    Queued,
    Snapshot,
)
from bot.engine.model.runner import ModelRunner, StepResult
from bot.engine.model.sampling import sample
from bot.engine.model.vision import Vision
from bot.engine.overlap import Flight
from bot.engine.request import Outbox, Rate, Request
from bot.engine.retry import passes
from bot.engine.schedule.scheduler import Chunk, Scheduler, Sequence
from bot.engine.schedule.step_cost import StepCostModel
from bot.engine.watchdog import Abandoned, Guard

log = logging.getLogger(__name__)


class Worker:
    """Owns scheduler, pool and model between `run`'s first and last line.

    `submit`, `cancel`, `stop`, `snapshot`, `abandon` may be called from any thread.
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
        self._guard = Guard()
        self._step_of: list[Chunk] = []
        self._flight: Flight | None = None  # a step begun and not waited for
        self._landed = 0.0  # when the last of them had ended
        self._pace = StepCostModel(scheduler.max_step_tokens)
        scheduler.prefill_limit = self._pace.prefill_limit
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

    def abandon(self, limit_s: float) -> list[Request] | None:
        """Give the thread up if it has been in the model for longer than `limit_s` seconds.

        The replies of the step that hangs fail.

        Returns:
            The other requests, for another worker; None if the thread is well.
        """
        if not self._guard.give_up(limit_s):
            return None
        self._stopping = True
        failed = {chunk.sequence for chunk in self._step_of}
        gone = set(self._cancelled)
        others: list[Request] = []
        for sequence, request in self._requests.items():
            if sequence in failed:
                request.done = True
                failure = GenerationFailed(f"a step hung for more than {limit_s:g} seconds")
                self._out.put(request, failure)
            elif request not in gone:
                others.append(request)
        others += [request for request in self._inbox if request not in gone]
        self._out.send()
        self._lanes = ()
        return others

    def renewed(self) -> Worker:
        """One with the same model and an empty pool of its own, to take over after `abandon`.

        Raises:
            RuntimeError: no memory for another pool (the old thread still holds its own).
        """
        runner = self.runner.renewed()
        new = Worker(
            self.scheduler.empty_copy(runner.blocks),
            runner,
            self.vision,
            stop_ids=self._stop_ids,
            max_context=self._max_context,
        )
        new._steps, new._generated = self._steps, self._generated
        return new

    @property
    def steps(self) -> int:
        """Steps done."""
        return self._steps

    def snapshot(self) -> Snapshot:
        """The batcher after its last step."""
        return Snapshot(
            running=self._lanes,
            waiting=len(self.scheduler.waiting) + len(self._inbox),
            tokens_per_s=self._rate.value(),
            steps=self._steps,
            generated_total=self._generated,
        )

    # -- the engine's thread ----------------------------------------------------------------------

    def run(self) -> None:
        """Work until stopped."""
        try:
            self._run()
        except Abandoned:
            log.warning("the thread that hung has come back and ends")

    def _run(self) -> None:
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
            self._out.put(request, request.text.flush_text())
            self._out.put(request, request.finish("cancelled"))
            self._drop(request)
        self._out.send()
        self._lanes = ()

    def _collect(self) -> bool:
        """Take what has arrived, sleep while there is nothing to do. False: stop."""
        with self._wake:
            while not (self._stopping or self._inbox or self._cancelled):
                if not self.scheduler.is_idle:
                    break
                self._wake.wait()
            if self._stopping:
                return False
            arrived = list(self._inbox)
            self._inbox.clear()
            gone = list(self._cancelled)
            self._cancelled.clear()
        for request in arrived:
            self._accept(request)
        for request in gone:
            self._drop(request)
        return True

    def _accept(self, request: Request) -> None:
        sequence = request.sequence
        if sequence is None:
            sequence = request.sequence = Sequence(
                owner=request.owner,
                token_ids=list(request.prompt.ids),
                image_spans=request.prompt.spans,
                max_new_tokens=request.params.max_new_tokens,
                block_table=self.scheduler.blocks.new_table(),
                num_prompt_tokens=len(request.prompt.ids),
            )
        else:  # it comes from a worker that hung: what it has said stays, all else begins anew
            sequence.block_table = self.scheduler.blocks.new_table()
            sequence.num_computed_tokens = 0
        self._requests[sequence] = request
        self.scheduler.add_sequence(sequence, request.share)

    def _step(self) -> None:
        if self._flight is not None:
            self._land(self._flight)
            return
        chunks = self.scheduler.schedule_step()
        self._tell_places()
        if not chunks:
            return
        now = time.perf_counter()
        for chunk in chunks:
            request = self._requests[chunk.sequence]
            request.started = request.started or now
        self._step_of = chunks
        if self._take_off(chunks):
            return
        chunks = self._look(chunks)
        began = time.perf_counter()
        full = 0  # sequences of the largest pass that ran out of memory
        for done, result, failed in passes(self._forward, chunks, self._fail):
            full = max(full, failed)
            if result is None:
                continue
            self._steps += 1
            broken = set(result.broken)
            self.scheduler.commit_step([c for c in done if c.sequence not in broken])
            for sequence in result.broken:
                self._fail(sequence, ArithmeticError("the model computed NaN or infinity"))
            self._sample(result)
        if full:
            self.scheduler.shrink_limits(full)
        else:
            self.scheduler.recover_limits()
        decoding = sum(chunk.num_tokens == 1 for chunk in chunks)
        prefilled = sum(chunk.num_tokens for chunk in chunks) - decoding
        self._pace.record_step(decoding, prefilled, time.perf_counter() - began)

    def _take_off(self, chunks: list[Chunk], before: Flight | None = None) -> bool:
        """Begin a decode step that need not be waited for, if it is one (overlap.py)."""
        samplers = [self._requests[chunk.sequence].sampler for chunk in chunks]
        try:
            with self._guard:
                self._flight = overlap.take_off(self.runner, chunks, samplers, before)
        except Exception as error:
            log.warning("a step of %d sequences could not be begun: %s", len(chunks), error)
        return self._flight is not None

    def _land(self, flight: Flight) -> None:
        """Begin the step after the one under way, then wait for that and hand its tokens out."""
        self._flight = None
        self._step_of = flight.chunks
        if chunks := overlap.following(self.scheduler, flight, self._max_context):
            self._take_off(chunks, flight)
        drawn: list[int | Exception]
        try:
            with self._guard:
                drawn = flight.draws.read()
        except Exception as error:
            drawn = [error] * len(flight.chunks)
        now = time.perf_counter()
        self._steps += 1
        # Who was cancelled meanwhile, or ended in the step before, has no part in it any more.
        there = [
            (chunk, token)
            for chunk, token in zip(flight.chunks, drawn, strict=True)
            if chunk.sequence in self._requests
        ]
        self.scheduler.commit_step([chunk for chunk, token in there if isinstance(token, int)])
        self._hand_out([(chunk.sequence, token) for chunk, token in there])
        self.scheduler.recover_limits()
        self._pace.record_step(len(flight.chunks), 0, now - max(flight.began, self._landed))
        self._landed = now

    def _forward(self, chunks: list[Chunk]) -> StepResult:
        with self._guard:
            return self.runner.forward(chunks, self._features)

    def _sample(self, result: StepResult) -> None:
        if not result.sequences:
            return
        samplers = [self._requests[sequence].sampler for sequence in result.sequences]
        with self._guard:
            drawn = sample(result.logits, samplers, result.scale)
        self._hand_out(list(zip(result.sequences, drawn, strict=True)))

    def _hand_out(self, drawn: list[tuple[Sequence, int | Exception]]) -> None:
        """Give sequences the tokens that were drawn for them, or fail them."""
        now = time.perf_counter()
        for sequence, token in drawn:
            if isinstance(token, Exception):
                self._fail(sequence, token)
                continue
            request = self._requests[sequence]
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
        elif (
            sequence.num_generated_tokens >= sequence.max_new_tokens
            or len(sequence.token_ids) >= self._max_context
        ):
            self._finish(request, "length")

    def _finish(self, request: Request, reason: FinishReason) -> None:
        if not request.text.stopped:
            self._out.put(request, request.text.flush_text())
        self._out.put(request, request.finish(reason))
        self._drop(request)

    def _look(self, chunks: list[Chunk]) -> list[Chunk]:
        """Run the vision tower for pictures that this step prefills; each distinct one once.

        Returns:
            The chunks of those whose pictures could be looked at.
        """
        askers: dict[str, list[Request]] = {}
        wanted: dict[str, torch.Tensor | Image] = {}
        for chunk in chunks:
            request = self._requests[chunk.sequence]
            for span, image in zip(request.prompt.spans, request.prompt.images, strict=True):
                inside = span.start < chunk.end and chunk.start < span.end
                if inside and span.digest not in request.features:
                    askers.setdefault(span.digest, []).append(request)
                    # Pixels are missing if features left the cache since the request was made.
                    wanted.setdefault(span.digest, request.pixels.get(span.digest, image))
        if not wanted or self.vision is None:
            return chunks
        with self._guard:
            found = self.vision.look(wanted)
        for digest, rows in found.items():
            for request in askers[digest]:
                if isinstance(rows, Exception):
                    if not request.done and request.sequence is not None:
                        self._fail(request.sequence, rows)
                else:
                    request.features[digest] = rows
                    request.pixels.pop(digest, None)
        return [chunk for chunk in chunks if chunk.sequence in self._requests]

    def _features(self, sequence: Sequence, digest: str) -> torch.Tensor:
        return self._requests[sequence].features[digest]

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        """End one reply with an error; the others go on."""
        request = self._requests[sequence]
        log.error("a reply failed: %s: %s", type(error).__name__, error)
        failure = GenerationFailed(f"{type(error).__name__}: {error}")
        failure.__cause__ = error
        self._out.put(request, failure)
        with self._guard:
            self.runner.clear(sequence.block_table, sequence.num_computed_tokens)
        sequence.num_computed_tokens = 0  # nobody is to go on from its last block
        self._drop(request)

    def _fail_all(self, error: Exception) -> None:
        """The bookkeeping itself is in doubt: fail everybody."""
        for request in list(self._requests.values()):
            request.done = True
            self._out.put(request, GenerationFailed(f"{type(error).__name__}: {error}"))
        self._requests.clear()
        self._flight = None

    def _reset(self) -> bool:
        """An empty pool and line; False if not even that works (the device is lost)."""
        try:
            with self._guard:
                self.runner.reset()
        except Exception:
            log.critical("the device does not answer; the engine stops", exc_info=True)
            self.stop()
            return False
        self.scheduler = self.scheduler.empty_copy(self.scheduler.blocks)
        return True

    def _drop(self, request: Request) -> None:
        """Free whatever a request holds; harmless when it is gone already."""
        request.done = True
        request.pixels.clear()
        request.features.clear()
        if request.sequence in self._requests:
            del self._requests[request.sequence]
            self.scheduler.remove_sequence(request.sequence)

    def _out_of_office(self, request: Request) -> None:
        outbox = Outbox()
        outbox.put(request, request.finish("cancelled"))
        outbox.send()

    def _tell_places(self) -> None:
        for place, ticket in enumerate(self.scheduler.waiting):
            request = self._requests[ticket.item]
            if request.ahead != place and not ticket.item.started:
                request.ahead = place
                self._out.put(request, Queued(place))

    def _lane(self, sequence: Sequence) -> Lane:
        request = self._requests[sequence]
        decoding = sequence.num_generated_tokens > 0 and sequence.num_uncomputed_tokens <= 1
        return Lane(
            conversation=request.conversation,
            owner=request.owner,
            phase="decode" if decoding else "prefill",
            prompt=sequence.num_prompt_tokens,
            prefilled=min(sequence.num_computed_tokens, sequence.num_prompt_tokens),
            cached=sequence.num_cached_tokens,
            generated=sequence.num_generated_tokens,
            max_new=sequence.max_new_tokens,
        )
