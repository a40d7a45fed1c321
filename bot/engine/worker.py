"""The engine's thread: accepts requests, runs the model step by step, delivers tokens."""

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
from bot.engine.model.sampling import sample_tokens
from bot.engine.model.vision import Vision
from bot.engine.overlap import PendingStep
from bot.engine.request import Outbox, Request, TokenRate
from bot.engine.retry import run_with_retry
from bot.engine.schedule.scheduler import Chunk, Scheduler, Sequence
from bot.engine.schedule.step_cost import StepCostModel
from bot.engine.watchdog import Abandoned, Guard

log = logging.getLogger(__name__)


class Worker:
    """Owns the scheduler, the pool and the model while `run` runs.

    Any thread may call `submit`, `cancel`, `stop`, `snapshot` and `abandon_if_hung`.
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
        self._step_chunks: list[Chunk] = []  # of the step under way
        self._pending: PendingStep | None = None  # launched, not waited for
        self._pending_ended_at = 0.0  # when the last such step ended
        self._step_cost = StepCostModel(scheduler.max_step_tokens)
        scheduler.prefill_limit = self._step_cost.prefill_limit
        self._outbox = Outbox()
        self._rate = TokenRate()
        self._num_steps = 0
        self._num_generated = 0
        self._lanes: tuple[Lane, ...] = ()

    # -- any thread -----------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue a request. After `stop`, it is cancelled at once."""
        with self._wake:
            if not self._stopping:
                self._inbox.append(request)
                self._wake.notify()
                return
        outbox = Outbox()
        outbox.add_item(request, request.build_finish("cancelled"))
        outbox.send_items()

    def cancel(self, request: Request) -> None:
        """Free a request at the next step: nobody reads its stream anymore."""
        with self._wake:
            self._cancelled.append(request)
            self._wake.notify()

    def stop(self) -> None:
        """Cancel everything; `run` returns after the step under way."""
        with self._wake:
            self._stopping = True
            self._wake.notify()

    def abandon_if_hung(self, limit_s: float) -> list[Request] | None:
        """Abandon the thread if it has been in the model for longer than `limit_s` seconds.

        The replies in the hanging step fail.

        Returns:
            The other requests, for another worker; None if the thread is well.
        """
        if not self._guard.abandon_after(limit_s):
            return None
        self._stopping = True
        failed = {chunk.sequence for chunk in self._step_chunks}
        cancelled = set(self._cancelled)
        others: list[Request] = []
        for sequence, request in self._requests.items():
            if sequence in failed:
                request.done = True
                failure = GenerationFailed(f"a step hung for more than {limit_s:g} seconds")
                self._outbox.add_item(request, failure)
            elif request not in cancelled:
                others.append(request)
        others += [request for request in self._inbox if request not in cancelled]
        self._outbox.send_items()
        self._lanes = ()
        return others

    def new_successor(self) -> Worker:
        """A worker with the same model and an empty pool, to take over after `abandon_if_hung`.

        Raises:
            RuntimeError: no memory for another pool (the abandoned thread still holds its own).
        """
        runner = self.runner.with_new_pools()
        successor = Worker(
            self.scheduler.empty_copy(runner.blocks),
            runner,
            self.vision,
            stop_ids=self._stop_ids,
            max_context=self._max_context,
        )
        successor._num_steps, successor._num_generated = self._num_steps, self._num_generated
        return successor

    @property
    def num_steps(self) -> int:
        """Steps computed so far, those of predecessors included."""
        return self._num_steps

    def snapshot(self) -> Snapshot:
        """The batcher after its last step."""
        return Snapshot(
            running=self._lanes,
            waiting=len(self.scheduler.waiting) + len(self._inbox),
            tokens_per_s=self._rate.tokens_per_s(),
            steps=self._num_steps,
            generated_total=self._num_generated,
        )

    # -- the engine's thread ----------------------------------------------------------------------

    def run(self) -> None:
        """Work until stopped."""
        try:
            self._run_until_stopped()
        except Abandoned:
            log.warning("the thread that hung has come back and ends")

    def _run_until_stopped(self) -> None:
        while self._receive_requests():
            try:
                self._run_step()
            except Exception as error:
                log.exception("the batcher failed between two steps and starts over")
                self._fail_all(error)
                if not self._reset_pools():
                    break
            self._lanes = tuple(map(self._build_lane, self.scheduler.running))
            for request in self._outbox.send_items():
                self._drop_request(request)
        for request in [*self._requests.values(), *self._inbox]:
            self._outbox.add_item(request, request.text.flush_text())
            self._outbox.add_item(request, request.build_finish("cancelled"))
            self._drop_request(request)
        self._outbox.send_items()
        self._lanes = ()

    def _receive_requests(self) -> bool:
        """Accept new requests, drop cancelled ones; sleep while idle. False: stop."""
        with self._wake:
            while not (self._stopping or self._inbox or self._cancelled):
                if not self.scheduler.is_idle:
                    break
                self._wake.wait()
            if self._stopping:
                return False
            arrived = list(self._inbox)
            self._inbox.clear()
            cancelled = list(self._cancelled)
            self._cancelled.clear()
        for request in arrived:
            self._accept_request(request)
        for request in cancelled:
            self._drop_request(request)
        return True

    def _accept_request(self, request: Request) -> None:
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
        else:  # from a worker that hung: its tokens stay, their K/V is computed again
            sequence.block_table = self.scheduler.blocks.new_table()
            sequence.num_computed_tokens = 0
        self._requests[sequence] = request
        self.scheduler.add_sequence(sequence, request.share)

    def _run_step(self) -> None:
        if self._pending is not None:
            self._finish_pending(self._pending)
            return
        chunks = self.scheduler.schedule_step()
        self._send_queue_positions()
        if not chunks:
            return
        now = time.perf_counter()
        for chunk in chunks:
            request = self._requests[chunk.sequence]
            request.started_at = request.started_at or now
        self._step_chunks = chunks
        if self._launch_step(chunks):
            return
        chunks = self._encode_images(chunks)
        started_at = time.perf_counter()
        out_of_memory_size = 0
        for attempt in run_with_retry(self._run_forward, chunks, self._fail_sequence):
            out_of_memory_size = max(out_of_memory_size, attempt.out_of_memory_size)
            if attempt.result is None:
                continue
            self._num_steps += 1
            broken = set(attempt.result.broken)
            self.scheduler.commit_step([c for c in attempt.chunks if c.sequence not in broken])
            for sequence in attempt.result.broken:
                self._fail_sequence(sequence, ArithmeticError("the model computed NaN or infinity"))
            self._sample_tokens(attempt.result)
        if out_of_memory_size:
            self.scheduler.shrink_limits(out_of_memory_size)
        else:
            self.scheduler.recover_limits()
        num_decoding = sum(chunk.num_tokens == 1 for chunk in chunks)
        num_prefilled = sum(chunk.num_tokens for chunk in chunks) - num_decoding
        self._step_cost.record_step(num_decoding, num_prefilled, time.perf_counter() - started_at)

    def _launch_step(self, chunks: list[Chunk], running: PendingStep | None = None) -> bool:
        """Launch a step without waiting for it (overlap.py); False if it isn't one for that."""
        samplers = [self._requests[chunk.sequence].sampler for chunk in chunks]
        try:
            with self._guard:
                self._pending = overlap.launch_step(self.runner, chunks, samplers, running)
        except Exception as error:
            log.warning("a step of %d sequences could not be launched: %s", len(chunks), error)
        return self._pending is not None

    def _finish_pending(self, step: PendingStep) -> None:
        """Launch the step after a pending one, then wait for that and deliver its tokens."""
        self._pending = None
        self._step_chunks = step.chunks
        if chunks := overlap.next_decode_chunks(self.scheduler, step, self._max_context):
            self._launch_step(chunks, step)
        drawn: list[int | Exception]
        try:
            with self._guard:
                drawn = step.draws.read_tokens()
        except Exception as error:
            drawn = [error] * len(step.chunks)
        now = time.perf_counter()
        self._num_steps += 1
        # A sequence that was cancelled, or that ended in the step before, discards its token.
        alive = [
            (chunk, token)
            for chunk, token in zip(step.chunks, drawn, strict=True)
            if chunk.sequence in self._requests
        ]
        self.scheduler.commit_step([chunk for chunk, token in alive if isinstance(token, int)])
        self._deliver_tokens([(chunk.sequence, token) for chunk, token in alive])
        self.scheduler.recover_limits()
        started_at = max(step.launched_at, self._pending_ended_at)
        self._step_cost.record_step(len(step.chunks), 0, now - started_at)
        self._pending_ended_at = now

    def _run_forward(self, chunks: list[Chunk]) -> StepResult:
        with self._guard:
            return self.runner.forward(chunks, self._get_features)

    def _sample_tokens(self, result: StepResult) -> None:
        if not result.sequences:
            return
        samplers = [self._requests[sequence].sampler for sequence in result.sequences]
        with self._guard:
            drawn = sample_tokens(result.logits, samplers, result.scale)
        self._deliver_tokens(list(zip(result.sequences, drawn, strict=True)))

    def _deliver_tokens(self, drawn: list[tuple[Sequence, int | Exception]]) -> None:
        """Give each sequence the token drawn for it, or fail it."""
        now = time.perf_counter()
        for sequence, token in drawn:
            if isinstance(token, Exception):
                self._fail_sequence(sequence, token)
                continue
            request = self._requests[sequence]
            request.first_token_at = request.first_token_at or now
            self._append_token(request, token)
        self._num_generated += len(drawn)
        self._rate.add_tokens(len(drawn))

    def _append_token(self, request: Request, token: int) -> None:
        """Give a sequence its next token, and finish it if that was the last."""
        if token in self._stop_ids:
            self._finish_request(request, "stop")
            return
        self._outbox.add_item(request, request.append_token(token))
        sequence = request.sequence
        assert sequence is not None
        if request.text.stopped:
            self._finish_request(request, "stop")
        elif (
            sequence.num_generated_tokens >= sequence.max_new_tokens
            or len(sequence.token_ids) >= self._max_context
        ):
            self._finish_request(request, "length")

    def _finish_request(self, request: Request, reason: FinishReason) -> None:
        if not request.text.stopped:
            self._outbox.add_item(request, request.text.flush_text())
        self._outbox.add_item(request, request.build_finish(reason))
        self._drop_request(request)

    def _encode_images(self, chunks: list[Chunk]) -> list[Chunk]:
        """Run the vision tower for the pictures that this step prefills, each distinct one once.

        Returns:
            The chunks without those whose pictures failed.
        """
        readers: dict[str, list[Request]] = {}
        pictures: dict[str, torch.Tensor | Image] = {}
        for chunk in chunks:
            request = self._requests[chunk.sequence]
            for span, image in zip(request.prompt.spans, request.prompt.images, strict=True):
                overlaps = span.start < chunk.end and chunk.start < span.end
                if overlaps and span.digest not in request.features:
                    readers.setdefault(span.digest, []).append(request)
                    # Without pixels if the features left the cache after the request was made.
                    pictures.setdefault(span.digest, request.pixels.get(span.digest, image))
        if not pictures or self.vision is None:
            return chunks
        with self._guard:
            encoded = self.vision.encode_images(pictures)
        for digest, features in encoded.items():
            for request in readers[digest]:
                if isinstance(features, Exception):
                    if not request.done and request.sequence is not None:
                        self._fail_sequence(request.sequence, features)
                else:
                    request.features[digest] = features
                    request.pixels.pop(digest, None)
        return [chunk for chunk in chunks if chunk.sequence in self._requests]

    def _get_features(self, sequence: Sequence, digest: str) -> torch.Tensor:
        return self._requests[sequence].features[digest]

    def _fail_sequence(self, sequence: Sequence, error: Exception) -> None:
        """End one reply with an error; the others go on."""
        request = self._requests[sequence]
        log.error("a reply failed: %s: %s", type(error).__name__, error)
        failure = GenerationFailed(f"{type(error).__name__}: {error}")
        failure.__cause__ = error
        self._outbox.add_item(request, failure)
        with self._guard:
            self.runner.zero_uncommitted(sequence.block_table, sequence.num_computed_tokens)
        sequence.num_computed_tokens = 0  # its last, partial block must not be found in the cache
        self._drop_request(request)

    def _fail_all(self, error: Exception) -> None:
        """Fail every request: the bookkeeping itself is in doubt."""
        for request in list(self._requests.values()):
            request.done = True
            self._outbox.add_item(request, GenerationFailed(f"{type(error).__name__}: {error}"))
        self._requests.clear()
        self._pending = None

    def _reset_pools(self) -> bool:
        """Empty the pool and the queue; False if not even that works (the device is lost)."""
        try:
            with self._guard:
                self.runner.reset_pools()
        except Exception:
            log.critical("the device does not answer; the engine stops", exc_info=True)
            self.stop()
            return False
        self.scheduler = self.scheduler.empty_copy(self.scheduler.blocks)
        return True

    def _drop_request(self, request: Request) -> None:
        """Free whatever a request holds. Idempotent."""
        request.done = True
        request.pixels.clear()
        request.features.clear()
        if request.sequence in self._requests:
            del self._requests[request.sequence]
            self.scheduler.remove_sequence(request.sequence)

    def _send_queue_positions(self) -> None:
        for position, ticket in enumerate(self.scheduler.waiting):
            request = self._requests[ticket.item]
            if request.queue_position != position and not ticket.item.started:
                request.queue_position = position
                self._outbox.add_item(request, Queued(position))

    def _build_lane(self, sequence: Sequence) -> Lane:
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
