"""What the next forward pass computes; pure Python.

Before every step: whoever decodes gets one token each, then prompts are prefilled in chunks
within the step's token budget, then waiting sequences are let in, fairly by owner. When blocks
run out the youngest sequence is preempted: it gives its blocks back, waits at its old place and is
computed again (or found in the prefix cache) later. The oldest is never preempted, and any
sequence alone fits, so everybody finishes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bot.engine.blocks import KVBlocks, Table
from bot.engine.fair import FairLine, Ticket
from bot.engine.prompt import ImageSpan


@dataclass(slots=True, eq=False)
class Sequence:
    """One reply being generated. `tokens`: the prompt and what was generated so far."""

    owner: str
    tokens: list[int]
    spans: tuple[ImageSpan, ...]
    max_new: int
    table: Table
    prompt_length: int
    computed: int = 0  # tokens whose K/V is in the pool
    cached: int = 0  # of the prompt, found in the prefix cache when it first started
    preemptions: int = 0
    started: bool = False
    ticket: Ticket[Sequence] | None = None

    @property
    def remaining(self) -> int:
        """Tokens to compute before the next one can be sampled; 1 while decoding."""
        return len(self.tokens) - self.computed

    @property
    def generated(self) -> int:
        """Tokens of the reply so far."""
        return len(self.tokens) - self.prompt_length

    @property
    def age(self) -> tuple[float, int]:
        """Smaller is older: what preemption spares."""
        return self.ticket.place if self.ticket else (0.0, 0)


@dataclass(frozen=True, slots=True)
class Chunk:
    """`count` tokens of a sequence, from `start` on, to be computed in this step."""

    sequence: Sequence
    start: int
    count: int

    @property
    def end(self) -> int:
        """The position behind the chunk."""
        return self.start + self.count

    @property
    def samples(self) -> bool:
        """Does it end where the next token is to be drawn?"""
        return self.end == len(self.sequence.tokens)


class Scheduler:
    """Iteration-level scheduling over one block manager.

    Args:
        blocks: the K/V pool's bookkeeping; must hold `capacity()` of any sequence given to `add`.
        max_running: the most sequences in a batch.
        step_tokens: the token budget of one step (one image may exceed it).
    """

    def __init__(self, blocks: KVBlocks, *, max_running: int, step_tokens: int) -> None:
        self.blocks = blocks
        self.max_running = max_running
        self.step_tokens = step_tokens
        self.running: list[Sequence] = []
        self.line: FairLine[Sequence] = FairLine()
        self._steps = 0

    @property
    def idle(self) -> bool:
        """Nobody runs and nobody waits."""
        return not self.running and not len(self.line)

    def add(self, sequence: Sequence, weight: float = 1.0) -> None:
        """Queue a sequence up."""
        cost = sequence.prompt_length + sequence.max_new
        sequence.ticket = self.line.join(sequence, sequence.owner, cost, weight)

    def remove(self, sequence: Sequence) -> None:
        """Take it out, wherever it is."""
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence.ticket is not None:
            if sequence.started:  # preempted: its work was already charged
                self.line.serve(sequence.ticket)
            else:
                self.line.leave(sequence.ticket)
        self.blocks.release(sequence.table)

    def schedule(self) -> list[Chunk]:
        """The next step, decoding sequences first; empty only if nobody runs or waits."""
        self._steps += 1
        plan: dict[Sequence, Chunk] = {}
        for sequence in sorted(self.running, key=lambda s: s.age):
            if sequence.remaining == 1 and sequence in self.running:
                self._plan(plan, sequence, 1)
        # Every other step begins with the newest and shortest prompts, so that a long one delays
        # few; the other steps begin with the oldest, so that it isn't delayed for ever.
        if self._steps % 2:
            self._prefill(plan, sorted(self.running, key=lambda s: s.age))
            self._admit(plan)
        else:
            self._admit(plan)
            self._prefill(plan, sorted(self.running, key=lambda s: s.remaining))
        return sorted(plan.values(), key=lambda c: c.count > 1)

    def settle(self, chunks: list[Chunk]) -> None:
        """The step is computed; call before sampled tokens are appended."""
        for chunk in chunks:
            sequence = chunk.sequence
            sequence.computed = chunk.end
            self.blocks.settle(sequence.table, sequence.tokens, sequence.spans, chunk.end)

    def preempt(self, sequence: Sequence) -> None:
        """Back into the line at its old place; what it has generated is kept."""
        assert sequence.ticket is not None
        self.running.remove(sequence)
        self.blocks.release(sequence.table)
        sequence.computed = 0
        sequence.preemptions += 1
        self.line.rejoin(sequence.ticket)

    def _budget(self, plan: dict[Sequence, Chunk]) -> int:
        return self.step_tokens - sum(chunk.count for chunk in plan.values())

    def _prefill(self, plan: dict[Sequence, Chunk], order: list[Sequence]) -> None:
        for sequence in order:
            # It may decode, be in the step already, or have been preempted in this very loop.
            prefills = sequence.remaining > 1 and sequence not in plan
            if prefills and sequence in self.running and self._budget(plan) > 0:
                self._plan(plan, sequence, self._chunk(plan, sequence))

    def _chunk(self, plan: dict[Sequence, Chunk], sequence: Sequence) -> int:
        """How many tokens to prefill now. Never cuts an image: its soft tokens see each other."""
        start = sequence.computed
        end = min(len(sequence.tokens), start + self._budget(plan))
        for span in sequence.spans:
            if span.start < end < span.end:
                if start < span.start:
                    return span.start - start
                alone = all(chunk.count == 1 for chunk in plan.values())
                return span.end - start if alone else 0
        return end - start

    def _plan(self, plan: dict[Sequence, Chunk], sequence: Sequence, count: int) -> None:
        """Put a chunk into the step; preempts the youngest while there is no room for it."""
        if not count:
            return
        while not self.blocks.reserve(sequence.table, sequence.computed + count):
            victim = max(self.running, key=lambda s: s.age)
            self.preempt(victim)
            plan.pop(victim, None)
            if victim is sequence:
                return
        plan[sequence] = Chunk(sequence, sequence.computed, count)

    def _admit(self, plan: dict[Sequence, Chunk]) -> None:
        for ticket in self.line:
            if self._budget(plan) <= 0:
                return
            sequence, victim = ticket.item, None
            if len(self.running) >= self.max_running:
                victim = self._who_yields_to(sequence)
                if victim is None:
                    continue
            hit = self.blocks.attach(sequence.table, sequence.tokens, sequence.spans)
            sequence.computed = hit
            count = self._chunk(plan, sequence)
            # One block to grow into for everybody who runs: else it would be preempted at once.
            spare = len(self.running)
            if not count or not self.blocks.fits(sequence.table, len(sequence.tokens), spare):
                self.blocks.release(sequence.table)
                sequence.computed = 0
                return
            if victim is not None:
                self.preempt(victim)
                plan.pop(victim, None)
            if not sequence.started:
                sequence.started = True
                sequence.cached = hit
            self.line.serve(ticket)
            self.running.append(sequence)
            self._plan(plan, sequence, count)

    def _who_yields_to(self, sequence: Sequence) -> Sequence | None:
        """The batch is full: whoever holds most of it gives one place to whoever holds less.

        Only where that makes the shares more even, so places do not go back and forth.
        """
        held = Counter(s.owner for s in self.running)
        richest, most = held.most_common(1)[0]
        if most < held[sequence.owner] + 2:
            return None
        return max((s for s in self.running if s.owner == richest), key=lambda s: s.age)
