"""Decides what the next forward pass computes; pure Python.

Each step, every decoding sequence gets one token, then running prompts are prefilled in chunks
within the step's token budget, then waiting sequences are admitted, fairly by owner. While one
owner dominates the batch and another owner waits for a first token, the dominant owner is deferred:
none of its prompts is prefilled, and its sequences decode only in every other step. When blocks run
out, the youngest sequence is preempted: its blocks are freed, it keeps its position in the queue,
and it is computed again (or found in the prefix cache) later. The oldest sequence is never
preempted, and any sequence fits alone, so every sequence finishes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bot.engine.prompt import ImageSpan
from bot.engine.schedule.block_manager import BlockManager, BlockTable
from bot.engine.schedule.fair_queue import FairQueue, Ticket

_MIN_STEP_TOKENS = 16  # the step budget never shrinks below this
_MIN_DOMINANT_SEQUENCES = 4  # an owner dominates with this many, if they are over half the batch
_STEPS_BEFORE_GROWTH = 64  # steps without running out of memory before limits double again


@dataclass(slots=True, eq=False)
class Sequence:
    """One reply being generated. `token_ids`: the prompt, then the tokens generated so far."""

    owner: str
    token_ids: list[int]
    image_spans: tuple[ImageSpan, ...]
    max_new_tokens: int
    block_table: BlockTable
    num_prompt_tokens: int
    num_computed_tokens: int = 0  # tokens whose K/V is in the pool
    num_cached_tokens: int = 0  # prompt tokens found in the prefix cache on admission
    num_preemptions: int = 0
    started: bool = False
    ticket: Ticket[Sequence] | None = None

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens to compute before the next one can be sampled; 1 while decoding."""
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def num_generated_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def arrival_order(self) -> tuple[float, int]:
        """Smaller is older; the youngest sequence is preempted first."""
        return self.ticket.queue_position if self.ticket else (0.0, 0)


@dataclass(frozen=True, slots=True)
class Chunk:
    """`num_tokens` tokens of a sequence, from position `start` on, to compute in one step."""

    sequence: Sequence
    start: int
    num_tokens: int

    @property
    def end(self) -> int:
        return self.start + self.num_tokens

    def first_half(self) -> Chunk | None:
        """About half of the chunk, never cutting a picture; None if it can't be shortened."""
        end = self.start + self.num_tokens // 2
        for span in self.sequence.image_spans:
            if span.start < end < span.end:
                end = span.start
        return Chunk(self.sequence, self.start, end - self.start) if end > self.start else None

    @property
    def samples_next_token(self) -> bool:
        """Whether the chunk ends at the sequence's last token, so its logits are sampled."""
        return self.end == len(self.sequence.token_ids)


class Scheduler:
    """Iteration-level scheduling over one block manager.

    Args:
        blocks: the block manager; every added sequence must fit its `max_sequence_length()`.
        max_running: the most sequences in a batch.
        max_step_tokens: the token budget of a step; a single picture may exceed it.
    """

    def __init__(self, blocks: BlockManager, *, max_running: int, max_step_tokens: int) -> None:
        self.blocks = blocks
        self.max_running = max_running
        self.max_step_tokens = max_step_tokens
        self.prefill_limit: Callable[[int, int], int] = lambda _decoding, _usual: max_step_tokens
        """The most prompt tokens for a step, given how many sequences decode in it and how many
        would if no owner were deferred."""
        self._configured_max_running = max_running
        self._configured_max_step_tokens = max_step_tokens
        self._steps_since_change = 0  # steps since the limits last shrank or grew
        self._step_budget = max_step_tokens
        self.running: list[Sequence] = []
        self.waiting: FairQueue[Sequence] = FairQueue()
        self._num_steps = 0
        self._deferred_owner: str | None = None  # dominates the batch while others wait
        self._defers_decoding = False  # the deferred owner's sequences sit this step out

    @property
    def is_idle(self) -> bool:
        return not self.running and not len(self.waiting)

    def add_sequence(self, sequence: Sequence, weight: float = 1.0) -> None:
        cost = sequence.num_prompt_tokens + sequence.max_new_tokens
        sequence.ticket = self.waiting.enqueue(sequence, sequence.owner, cost, weight)

    def remove_sequence(self, sequence: Sequence) -> None:
        """Remove a running or waiting sequence and free its blocks."""
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence.ticket is not None:
            if sequence.started:  # preempted: its work was already charged
                self.waiting.start_service(sequence.ticket)
            else:
                self.waiting.cancel_ticket(sequence.ticket)
        self._free_sequence(sequence)

    def schedule_step(self) -> list[Chunk]:
        """The next step's chunks, decoding sequences first; empty only if nothing is queued."""
        self._num_steps += 1
        self._deferred_owner = self._choose_deferred_owner()
        # Never twice in a row, so that a stream of newcomers can't starve the deferred owner.
        self._defers_decoding = self._deferred_owner is not None and not self._defers_decoding
        chunks = self._compose_step()
        if not chunks and self._deferred_owner is not None:  # nothing that waits fits
            self._deferred_owner, self._defers_decoding = None, False
            chunks = self._compose_step()
        return sorted(chunks.values(), key=lambda c: c.num_tokens > 1)

    def _compose_step(self) -> dict[Sequence, Chunk]:
        chunks: dict[Sequence, Chunk] = {}
        decoding = sorted(
            (s for s in self.running if s.num_uncomputed_tokens == 1), key=lambda s: s.arrival_order
        )
        for sequence in decoding:
            deferred = self._defers_decoding and sequence.owner == self._deferred_owner
            if sequence in self.running and not deferred:
                self._add_chunk(chunks, sequence, 1)
        # Sequences of the deferred owner still wait for this step, so count them in the limit.
        max_prefill = self.prefill_limit(len(chunks), len(decoding))
        self._step_budget = min(self.max_step_tokens, len(chunks) + max_prefill)
        # Alternate between oldest first, so that a long prompt isn't delayed forever, and newest
        # and shortest first, so that a long prompt delays few others.
        if self._num_steps % 2:
            self._prefill_running(chunks, self._prefilling_sequences(lambda s: s.arrival_order))
            self._admit_waiting(chunks)
        else:
            self._admit_waiting(chunks)
            self._prefill_running(
                chunks, self._prefilling_sequences(lambda s: s.num_uncomputed_tokens)
            )
        return chunks

    def _prefilling_sequences(self, key: Callable[[Sequence], Any]) -> list[Sequence]:
        return sorted((s for s in self.running if s.owner != self._deferred_owner), key=key)

    def _choose_deferred_owner(self) -> str | None:
        """The owner who dominates the batch while another owner waits for a first token."""
        if len(self.running) < _MIN_DOMINANT_SEQUENCES:
            return None
        owner, num_owned = Counter(s.owner for s in self.running).most_common(1)[0]
        if num_owned < _MIN_DOMINANT_SEQUENCES or num_owned * 2 <= len(self.running):
            return None
        others_wait = any(s.owner != owner and not s.num_generated_tokens for s in self.running)
        return owner if others_wait or any(t.owner != owner for t in self.waiting) else None

    def commit_step(self, chunks: list[Chunk]) -> None:
        """Record a computed step; call it before appending the sampled tokens."""
        for chunk in chunks:
            sequence = chunk.sequence
            sequence.num_computed_tokens = chunk.end
            self.blocks.commit_tokens(
                sequence.block_table, sequence.token_ids, sequence.image_spans, chunk.end
            )

    def preempt_sequence(self, sequence: Sequence) -> None:
        """Free a running sequence's blocks and requeue it; generated tokens are kept."""
        assert sequence.ticket is not None
        self.running.remove(sequence)
        self._free_sequence(sequence)
        sequence.num_preemptions += 1
        self.waiting.requeue(sequence.ticket)

    def shrink_limits(self, num_sequences: int) -> None:
        """Halve the limits after a step of `num_sequences` ran out of device memory.

        Sequences beyond the new limit are preempted, youngest first.
        """
        self.max_running = max(1, num_sequences // 2)
        self.max_step_tokens = max(_MIN_STEP_TOKENS, self.max_step_tokens // 2)
        self._steps_since_change = 0
        while len(self.running) > self.max_running:
            self.preempt_sequence(max(self.running, key=lambda s: s.arrival_order))

    def recover_limits(self) -> None:
        """Count a step that succeeded; after enough of them, double the shrunken limits."""
        if (self.max_running, self.max_step_tokens) == (
            self._configured_max_running,
            self._configured_max_step_tokens,
        ):
            return
        self._steps_since_change += 1
        if self._steps_since_change >= _STEPS_BEFORE_GROWTH:
            self._steps_since_change = 0
            self.max_running = min(self._configured_max_running, self.max_running * 2)
            self.max_step_tokens = min(self._configured_max_step_tokens, self.max_step_tokens * 2)

    def empty_copy(self, blocks: BlockManager) -> Scheduler:
        """A scheduler with the configured limits and no sequences, over other blocks."""
        new = Scheduler(
            blocks,
            max_running=self._configured_max_running,
            max_step_tokens=self._configured_max_step_tokens,
        )
        new.prefill_limit = self.prefill_limit
        return new

    def _free_sequence(self, sequence: Sequence) -> None:
        self.blocks.free_blocks(
            sequence.block_table,
            sequence.token_ids,
            sequence.image_spans,
            sequence.num_computed_tokens,
        )
        sequence.num_computed_tokens = 0

    def _remaining_budget(self, chunks: dict[Sequence, Chunk]) -> int:
        return self._step_budget - sum(chunk.num_tokens for chunk in chunks.values())

    def _prefill_running(self, chunks: dict[Sequence, Chunk], order: list[Sequence]) -> None:
        for sequence in order:
            # Skip sequences that decode, are in the step already, or were preempted by this loop.
            prefills = sequence.num_uncomputed_tokens > 1 and sequence not in chunks
            if prefills and sequence in self.running and self._remaining_budget(chunks) > 0:
                self._add_chunk(chunks, sequence, self._chunk_length(chunks, sequence))

    def _chunk_length(self, chunks: dict[Sequence, Chunk], sequence: Sequence) -> int:
        """How many tokens to prefill now; a picture's tokens attend to each other: never cut it."""
        start = sequence.num_computed_tokens
        end = min(len(sequence.token_ids), start + self._remaining_budget(chunks))
        for span in sequence.image_spans:
            if span.start < end < span.end:
                if start < span.start:
                    return span.start - start
                alone = all(chunk.num_tokens == 1 for chunk in chunks.values())
                return span.end - start if alone else 0
        return end - start

    def _add_chunk(
        self, chunks: dict[Sequence, Chunk], sequence: Sequence, num_tokens: int
    ) -> None:
        """Add a chunk to the step, preempting the youngest sequences until it has blocks."""
        if not num_tokens:
            return
        while not self.blocks.allocate_blocks(
            sequence.block_table, sequence.num_computed_tokens + num_tokens
        ):
            victim = max(self.running, key=lambda s: s.arrival_order)
            self.preempt_sequence(victim)
            chunks.pop(victim, None)
            if victim is sequence:
                return
        chunks[sequence] = Chunk(sequence, sequence.num_computed_tokens, num_tokens)

    def _admit_waiting(self, chunks: dict[Sequence, Chunk]) -> None:
        for ticket in self.waiting:
            if self._remaining_budget(chunks) <= 0:
                return
            sequence, victim = ticket.item, None
            if sequence.owner == self._deferred_owner:
                continue
            if len(self.running) >= self.max_running:
                victim = self._choose_victim(sequence)
                if victim is None:
                    continue
            num_cached = self.blocks.attach_cached_prefix(
                sequence.block_table, sequence.token_ids, sequence.image_spans
            )
            sequence.num_computed_tokens = num_cached
            num_tokens = self._chunk_length(chunks, sequence)
            # Leave each running sequence one block to grow into, or one is preempted right away.
            spare = len(self.running)
            if not num_tokens or not self.blocks.can_allocate(
                sequence.block_table, len(sequence.token_ids), spare
            ):
                self._free_sequence(sequence)
                return
            if victim is not None:
                self.preempt_sequence(victim)
                chunks.pop(victim, None)
            if not sequence.started:
                sequence.started = True
                sequence.num_cached_tokens = num_cached
            self.waiting.start_service(ticket)
            self.running.append(sequence)
            self._add_chunk(chunks, sequence, num_tokens)

    def _choose_victim(self, newcomer: Sequence) -> Sequence | None:
        """The sequence of a full batch to preempt for a newcomer: of the owner who runs the most.

        None unless the swap makes the shares more even, so that owners don't preempt each other
        back and forth.
        """
        num_running = Counter(s.owner for s in self.running)
        busiest, most = num_running.most_common(1)[0]
        if most < num_running[newcomer.owner] + 2:
            return None
        return max((s for s in self.running if s.owner == busiest), key=lambda s: s.arrival_order)
