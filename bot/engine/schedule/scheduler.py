"""What the next forward pass computes; pure Python.

Before every step: whoever decodes gets one token each, then prompts are prefilled in chunks
within the step's token budget, then waiting sequences are let in, fairly by owner. Where one owner
crowds the batch, the first token of others comes first: every other step is theirs. When blocks
run out the youngest sequence is preempted: it gives its blocks back, waits at its old place and is
computed again (or found in the prefix cache) later. The oldest is never preempted, and any
sequence alone fits, so everybody finishes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bot.engine.prompt import ImageSpan
from bot.engine.schedule.block_manager import BlockManager, BlockTable
from bot.engine.schedule.fair_queue import FairQueue, Ticket

_MIN_STEP_TOKENS = 16  # what a step's budget shrinks to at least
_DOMINANT_SEQUENCES = 4  # sequences of one owner in a batch of which they are more than half
_STEPS_BEFORE_GROWTH = 64  # steps without trouble before a shrunken batch grows again


@dataclass(slots=True, eq=False)
class Sequence:
    """One reply being generated. `tokens`: the prompt and what was generated so far."""

    owner: str
    token_ids: list[int]
    image_spans: tuple[ImageSpan, ...]
    max_new_tokens: int
    block_table: BlockTable
    num_prompt_tokens: int
    num_computed_tokens: int = 0  # tokens whose K/V is in the pool
    num_cached_tokens: int = 0  # of the prompt, found in the prefix cache when it first started
    num_preemptions: int = 0
    started: bool = False
    ticket: Ticket[Sequence] | None = None

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens to compute before the next one can be sampled; 1 while decoding."""
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def num_generated_tokens(self) -> int:
        """Tokens of the reply so far."""
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def arrival_order(self) -> tuple[float, int]:
        """Smaller is older: what preemption spares."""
        return self.ticket.queue_position if self.ticket else (0.0, 0)


@dataclass(frozen=True, slots=True)
class Chunk:
    """`count` tokens of a sequence, from `start` on, to be computed in this step."""

    sequence: Sequence
    start: int
    num_tokens: int

    @property
    def end(self) -> int:
        """The position behind the chunk."""
        return self.start + self.num_tokens

    def first_half(self) -> Chunk | None:
        """Its first half or so, not cutting an image; None if it can't be made shorter."""
        end = self.start + self.num_tokens // 2
        for span in self.sequence.image_spans:
            if span.start < end < span.end:
                end = span.start
        return Chunk(self.sequence, self.start, end - self.start) if end > self.start else None

    @property
    def samples_next_token(self) -> bool:
        """Does it end where the next token is to be drawn?"""
        return self.end == len(self.sequence.token_ids)


class Scheduler:
    """Iteration-level scheduling over one block manager.

    Args:
        blocks: the K/V pool's bookkeeping; must hold `capacity()` of any sequence given to `add`.
        max_running: the most sequences in a batch.
        step_tokens: the token budget of one step (one image may exceed it).
    """

    def __init__(self, blocks: BlockManager, *, max_running: int, max_step_tokens: int) -> None:
        self.blocks = blocks
        self.max_running = max_running
        self.max_step_tokens = max_step_tokens
        self.prefill_limit: Callable[[int, int], int] = lambda _decoding, _usual: max_step_tokens
        """Prompt tokens at most, where so many decode in this step and so many in a usual one."""
        self._configured_max_running, self._configured_max_step_tokens = (
            max_running,
            max_step_tokens,
        )
        self._steps_since_change = (
            0  # steps since the device ran out of memory, or things grew again
        )
        self._step_budget = max_step_tokens
        self.running: list[Sequence] = []
        self.waiting: FairQueue[Sequence] = FairQueue()
        self._num_steps = 0
        self._deferred_owner: str | None = None  # the owner who lets others pass
        self._defers_decoding = False  # the crowd has no part in this step

    @property
    def is_idle(self) -> bool:
        """Nobody runs and nobody waits."""
        return not self.running and not len(self.waiting)

    def add_sequence(self, sequence: Sequence, weight: float = 1.0) -> None:
        """Queue a sequence up."""
        cost = sequence.num_prompt_tokens + sequence.max_new_tokens
        sequence.ticket = self.waiting.enqueue(sequence, sequence.owner, cost, weight)

    def remove_sequence(self, sequence: Sequence) -> None:
        """Take it out, wherever it is."""
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence.ticket is not None:
            if sequence.started:  # preempted: its work was already charged
                self.waiting.start_service(sequence.ticket)
            else:
                self.waiting.cancel_ticket(sequence.ticket)
        self._free_sequence(sequence)

    def schedule_step(self) -> list[Chunk]:
        """The next step, decoding sequences first; empty only if nobody runs or waits."""
        self._num_steps += 1
        self._deferred_owner = self._choose_deferred_owner()
        # Never in two steps running, so that no stream of newcomers starves anybody.
        self._defers_decoding = self._deferred_owner is not None and not self._defers_decoding
        chunks = self._compose_step()
        if not chunks and self._deferred_owner is not None:  # those who wait can't be let in
            self._deferred_owner, self._defers_decoding = None, False
            chunks = self._compose_step()
        return sorted(chunks.values(), key=lambda c: c.num_tokens > 1)

    def _compose_step(self) -> dict[Sequence, Chunk]:
        """Chunks for all who have a part in this step."""
        chunks: dict[Sequence, Chunk] = {}
        decoding = sorted(
            (s for s in self.running if s.num_uncomputed_tokens == 1), key=lambda s: s.arrival_order
        )
        for sequence in decoding:
            if sequence in self.running and not (
                self._defers_decoding and sequence.owner == self._deferred_owner
            ):
                self._add_chunk(chunks, sequence, 1)
        # Who stands aside waits for this step like those who are in it.
        most = self.prefill_limit(len(chunks), len(decoding))
        self._step_budget = min(self.max_step_tokens, len(chunks) + most)
        # Every other step begins with the newest and shortest prompts, so that a long one delays
        # few; the other steps begin with the oldest, so that it isn't delayed for ever.
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
        """The owner who crowds the batch, if somebody else waits for a first token.

        No prompt of theirs is read meanwhile, and in every other step they don't decode either.
        """
        if len(self.running) < _DOMINANT_SEQUENCES:
            return None
        owner, num_held = Counter(s.owner for s in self.running).most_common(1)[0]
        if num_held < _DOMINANT_SEQUENCES or num_held * 2 <= len(self.running):
            return None
        others_wait = any(s.owner != owner and not s.num_generated_tokens for s in self.running)
        return owner if others_wait or any(t.owner != owner for t in self.waiting) else None

    def commit_step(self, chunks: list[Chunk]) -> None:
        """The step is computed; call before sampled tokens are appended."""
        for chunk in chunks:
            sequence = chunk.sequence
            sequence.num_computed_tokens = chunk.end
            self.blocks.commit_tokens(
                sequence.block_table, sequence.token_ids, sequence.image_spans, chunk.end
            )

    def preempt_sequence(self, sequence: Sequence) -> None:
        """Back into the line at its old place; what it has generated is kept."""
        assert sequence.ticket is not None
        self.running.remove(sequence)
        self._free_sequence(sequence)
        sequence.num_preemptions += 1
        self.waiting.requeue(sequence.ticket)

    def shrink_limits(self, num_sequences: int) -> None:
        """A step of so many sequences ran out of the device's memory: smaller ones from now on.

        Who has no place any more goes on later.
        """
        self.max_running = max(1, num_sequences // 2)
        self.max_step_tokens = max(_MIN_STEP_TOKENS, self.max_step_tokens // 2)
        self._steps_since_change = 0
        while len(self.running) > self.max_running:
            self.preempt_sequence(max(self.running, key=lambda s: s.arrival_order))

    def recover_limits(self) -> None:
        """A step went well: after many of them, try larger ones again."""
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
        """An empty one with the same limits over other blocks."""
        new = Scheduler(
            blocks,
            max_running=self._configured_max_running,
            max_step_tokens=self._configured_max_step_tokens,
        )
        new.prefill_limit = self.prefill_limit
        return new

    def _free_sequence(self, sequence: Sequence) -> None:
        """Give back what a sequence holds of the pool."""
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
            # It may decode, be in the step already, or have been preempted in this very loop.
            prefills = sequence.num_uncomputed_tokens > 1 and sequence not in chunks
            if prefills and sequence in self.running and self._remaining_budget(chunks) > 0:
                self._add_chunk(chunks, sequence, self._chunk_length(chunks, sequence))

    def _chunk_length(self, chunks: dict[Sequence, Chunk], sequence: Sequence) -> int:
        """How many tokens to prefill now. Never cuts an image: its soft tokens see each other."""
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
        """Put a chunk into the step; preempts the youngest while there is no room for it."""
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
            # One block to grow into for everybody who runs: else it would be preempted at once.
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
        """The batch is full: whoever holds most of it gives one place to whoever holds less.

        Only where that makes the shares more even, so places do not go back and forth.
        """
        held = Counter(s.owner for s in self.running)
        richest, num_most = held.most_common(1)[0]
        if num_most < held[newcomer.owner] + 2:
            return None
        return max((s for s in self.running if s.owner == richest), key=lambda s: s.arrival_order)
