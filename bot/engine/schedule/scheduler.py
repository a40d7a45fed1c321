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
from bot.engine.schedule.block_manager import KVBlocks, Table
from bot.engine.schedule.fair_queue import FairLine, Ticket

_LEAST_TOKENS = 16  # what a step's budget shrinks to at least
_CROWD = 4  # sequences of one owner in a batch of which they are more than half
_CALM_STEPS = 64  # steps without trouble before a shrunken batch grows again


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

    def half(self) -> Chunk | None:
        """Its first half or so, not cutting an image; None if it can't be made shorter."""
        end = self.start + self.count // 2
        for span in self.sequence.spans:
            if span.start < end < span.end:
                end = span.start
        return Chunk(self.sequence, self.start, end - self.start) if end > self.start else None

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
        self.prefill_limit: Callable[[int, int], int] = lambda _decoding, _usual: step_tokens
        """Prompt tokens at most, where so many decode in this step and so many in a usual one."""
        self._most_running, self._most_tokens = max_running, step_tokens
        self._calm = 0  # steps since the device ran out of memory, or things grew again
        self._limit = step_tokens
        self.running: list[Sequence] = []
        self.line: FairLine[Sequence] = FairLine()
        self._steps = 0
        self._crowd: str | None = None  # the owner who lets others pass
        self._aside = False  # the crowd has no part in this step

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
        self._release(sequence)

    def schedule(self) -> list[Chunk]:
        """The next step, decoding sequences first; empty only if nobody runs or waits."""
        self._steps += 1
        self._crowd = self._who_lets_pass()
        # Never in two steps running, so that no stream of newcomers starves anybody.
        self._aside = self._crowd is not None and not self._aside
        plan = self._compose()
        if not plan and self._crowd is not None:  # those who wait can't be let in
            self._crowd, self._aside = None, False
            plan = self._compose()
        return sorted(plan.values(), key=lambda c: c.count > 1)

    def _compose(self) -> dict[Sequence, Chunk]:
        """Chunks for all who have a part in this step."""
        plan: dict[Sequence, Chunk] = {}
        decoding = sorted((s for s in self.running if s.remaining == 1), key=lambda s: s.age)
        for sequence in decoding:
            if sequence in self.running and not (self._aside and sequence.owner == self._crowd):
                self._plan(plan, sequence, 1)
        # Who stands aside waits for this step like those who are in it.
        most = self.prefill_limit(len(plan), len(decoding))
        self._limit = min(self.step_tokens, len(plan) + most)
        # Every other step begins with the newest and shortest prompts, so that a long one delays
        # few; the other steps begin with the oldest, so that it isn't delayed for ever.
        if self._steps % 2:
            self._prefill(plan, self._prompts(lambda s: s.age))
            self._admit(plan)
        else:
            self._admit(plan)
            self._prefill(plan, self._prompts(lambda s: s.remaining))
        return plan

    def _prompts(self, key: Callable[[Sequence], Any]) -> list[Sequence]:
        return sorted((s for s in self.running if s.owner != self._crowd), key=key)

    def _who_lets_pass(self) -> str | None:
        """The owner who crowds the batch, if somebody else waits for a first token.

        No prompt of theirs is read meanwhile, and in every other step they don't decode either.
        """
        if len(self.running) < _CROWD:
            return None
        owner, held = Counter(s.owner for s in self.running).most_common(1)[0]
        if held < _CROWD or held * 2 <= len(self.running):
            return None
        waits = any(s.owner != owner and not s.generated for s in self.running)
        return owner if waits or any(t.owner != owner for t in self.line) else None

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
        self._release(sequence)
        sequence.preemptions += 1
        self.line.rejoin(sequence.ticket)

    def shrink(self, sequences: int) -> None:
        """A step of so many sequences ran out of the device's memory: smaller ones from now on.

        Who has no place any more goes on later.
        """
        self.max_running = max(1, sequences // 2)
        self.step_tokens = max(_LEAST_TOKENS, self.step_tokens // 2)
        self._calm = 0
        while len(self.running) > self.max_running:
            self.preempt(max(self.running, key=lambda s: s.age))

    def recover(self) -> None:
        """A step went well: after many of them, try larger ones again."""
        if (self.max_running, self.step_tokens) == (self._most_running, self._most_tokens):
            return
        self._calm += 1
        if self._calm >= _CALM_STEPS:
            self._calm = 0
            self.max_running = min(self._most_running, self.max_running * 2)
            self.step_tokens = min(self._most_tokens, self.step_tokens * 2)

    def fresh(self, blocks: KVBlocks) -> Scheduler:
        """An empty one with the same limits over other blocks."""
        new = Scheduler(blocks, max_running=self._most_running, step_tokens=self._most_tokens)
        new.prefill_limit = self.prefill_limit
        return new

    def _release(self, sequence: Sequence) -> None:
        """Give back what a sequence holds of the pool."""
        self.blocks.release(sequence.table, sequence.tokens, sequence.spans, sequence.computed)
        sequence.computed = 0

    def _budget(self, plan: dict[Sequence, Chunk]) -> int:
        return self._limit - sum(chunk.count for chunk in plan.values())

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
            if sequence.owner == self._crowd:
                continue
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
                self._release(sequence)
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
