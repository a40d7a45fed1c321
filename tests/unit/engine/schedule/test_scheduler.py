"""The scheduler, without a model: budgets, chunks, fairness, preemption, progress."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bot.engine.prompt import ImageSpan
from bot.engine.schedule.block_manager import BlockManager, BlockPool, LayerGroup
from bot.engine.schedule.scheduler import Chunk, Scheduler, Sequence

SIZE, WINDOW = 4, 8


def scheduler(blocks: int = 200, running: int = 4, step: int = 16, reuse: bool = True) -> Scheduler:
    groups = (LayerGroup(None, BlockPool(blocks)), LayerGroup(WINDOW, BlockPool(blocks)))
    kv = BlockManager(SIZE, groups, max_chunk_tokens=max(step, 6), prefix_cache=reuse)
    return Scheduler(kv, max_running=running, max_step_tokens=step)


def sequence(
    sched: Scheduler, length: int, owner: str = "a", new: int = 8,
    spans: tuple[ImageSpan, ...] = (), first: int = 0,
) -> Sequence:  # fmt: skip
    tokens = list(range(first, first + length))
    made = Sequence(owner, tokens, spans, new, sched.blocks.new_table(), length)
    sched.add_sequence(made)
    return made


def step(sched: Scheduler) -> list[Chunk]:
    """One step with an imaginary model: every sampled token is 7."""
    chunks = sched.schedule_step()
    sched.commit_step(chunks)
    for chunk in chunks:
        if chunk.samples_next_token:
            chunk.sequence.token_ids.append(7)
            if chunk.sequence.num_generated_tokens >= chunk.sequence.max_new_tokens:
                sched.remove_sequence(chunk.sequence)
    return chunks


def dominated() -> tuple[Scheduler, list[Sequence]]:
    """Twenty decoding sequences of one owner."""
    sched = scheduler(running=32, step=64)
    flood = [sequence(sched, 5, "flood", new=100, first=i * 10) for i in range(20)]
    while not all(s.num_generated_tokens for s in flood):
        step(sched)
    return sched, flood


def test_joins_while_others_decode() -> None:
    sched = scheduler()
    one = sequence(sched, 5)
    step(sched)
    two = sequence(sched, 6, first=50)
    chunks = step(sched)
    assert [(c.sequence, c.num_tokens) for c in chunks] == [(one, 1), (two, 6)]


def test_a_long_prompt_is_cut_into_chunks_and_decoding_goes_on() -> None:
    sched = scheduler()
    one = sequence(sched, 5, new=50)
    step(sched)
    long = sequence(sched, 100, first=1000)
    for _ in range(6):
        chunks = step(sched)
        assert next(c for c in chunks if c.sequence is one).num_tokens == 1
        assert sum(c.num_tokens for c in chunks) <= 16
        assert next(c for c in chunks if c.sequence is long).num_tokens == 15


def test_a_short_prompt_does_not_wait_for_a_long_one() -> None:
    sched = scheduler()
    sequence(sched, 300, first=1000)
    step(sched)
    short = sequence(sched, 5, owner="b")
    for _ in range(2):
        step(sched)
    assert short.num_generated_tokens


def test_a_picture_is_never_cut() -> None:
    sched = scheduler(step=10)
    one = sequence(sched, 40, spans=(ImageSpan(7, 6, "a"), ImageSpan(20, 6, "b")))
    cuts = []
    while one.num_uncomputed_tokens > 1:
        cuts += [c.end for c in step(sched)]
    assert cuts[0] == 7
    assert not any(7 < c < 13 or 20 < c < 26 for c in cuts)


def test_a_picture_larger_than_the_budget_gets_through() -> None:
    sched = scheduler(step=5)
    busy = sequence(sched, 3, new=40)
    one = sequence(sched, 12, spans=(ImageSpan(2, 6, "a"),), first=50, owner="b")
    for _ in range(12):
        step(sched)
    assert one.num_generated_tokens
    assert busy.num_generated_tokens > 5


def test_full_batch_yields_to_another_owner() -> None:
    """One owner fills the batch; another gets in at once, and their shares end up even."""
    sched = scheduler(running=4, step=32)
    flood = [sequence(sched, 5, "flood", new=100, first=i * 10) for i in range(20)]
    step(sched)
    others = [sequence(sched, 5, "me", new=100, first=500 + i * 10) for i in range(4)]
    step(sched)
    owners = [s.owner for s in sched.running]
    assert owners.count("me") == 2
    assert owners.count("flood") == 2
    taken = sum(s.num_preemptions for s in [*flood, *others])
    for _ in range(10):
        step(sched)
    assert sum(s.num_preemptions for s in [*flood, *others]) == taken == 2


def test_the_deferred_owner_yields_to_the_first_token_of_others() -> None:
    sched, _ = dominated()
    one = sequence(sched, 40, "me", first=500)
    assert [c.sequence for c in step(sched)] == [one]
    assert one.num_generated_tokens == 1
    assert len(step(sched)) == 21  # all decode


def test_no_prompt_of_the_deferred_owner_is_prefilled() -> None:
    sched, _ = dominated()
    more = sequence(sched, 100, "flood", first=300)
    step(sched)
    num_read = more.num_computed_tokens
    assert 0 < num_read < 100
    one = sequence(sched, 150, "me", first=500)
    lengths = []
    while not one.num_generated_tokens:
        lengths.append(len(step(sched)))
        assert more.num_computed_tokens == num_read
    assert lengths == [1, 21, 1]  # the deferred owner decodes in every other step
    while not more.num_generated_tokens:
        step(sched)


def test_no_sequence_of_the_deferred_owner_is_admitted() -> None:
    sched, _ = dominated()
    one = sequence(sched, 150, "me", first=500)
    step(sched)
    more = sequence(sched, 5, "flood", first=300)
    while not one.num_generated_tokens:
        assert not more.started
        step(sched)
    step(sched)
    assert more.started


def test_the_deferred_owner_continues_if_the_newcomer_does_not_fit() -> None:
    sched = scheduler(blocks=20, running=32, step=64)
    flood = [sequence(sched, 12, "flood", new=8, first=i * 20) for i in range(4)]
    while not all(s.num_generated_tokens for s in flood):
        step(sched)
    one = sequence(sched, 40, "me", first=500)
    before = [s.num_generated_tokens for s in flood]
    step(sched)
    assert not one.started
    assert [s.num_generated_tokens for s in flood] == [count + 1 for count in before]
    while not one.num_generated_tokens:
        assert step(sched)


def test_an_empty_copy_has_the_configured_limits() -> None:
    sched = scheduler(running=3, step=17)
    sched.prefill_limit = lambda _decoding, _usual: 5
    new = sched.empty_copy(sched.blocks)
    assert (new.max_running, new.max_step_tokens, new.prefill_limit) == (3, 17, sched.prefill_limit)


def test_the_prefill_limit_counts_deferred_sequences() -> None:
    calls = []

    def limit(decoding: int, usual: int) -> int:
        calls.append((decoding, usual))
        return 10

    sched, _ = dominated()
    sched.prefill_limit = limit
    one = sequence(sched, 15, "me", first=500)
    assert [c.num_tokens for c in step(sched)] == [10]
    step(sched)
    assert one.num_generated_tokens == 1
    assert calls == [(0, 20), (20, 20)]


def test_newcomers_do_not_starve_the_deferred_owner() -> None:
    sched, flood = dominated()
    skipped = 0
    for number in range(30):  # a new owner in every step, with a reply of one token
        sequence(sched, 30, f"guest {number}", new=1, first=1000 + number * 40)
        before = sum(s.num_generated_tokens for s in flood)
        step(sched)
        skipped = skipped + 1 if sum(s.num_generated_tokens for s in flood) == before else 0
        assert skipped <= 1


def test_the_youngest_is_preempted_and_resumes() -> None:
    sched = scheduler(blocks=12, reuse=False)
    old = sequence(sched, 16, new=24)
    young = sequence(sched, 16, new=24, first=100)
    while not sched.is_idle:
        step(sched)
    assert old.num_preemptions == 0
    assert young.num_preemptions > 0
    assert old.num_generated_tokens == young.num_generated_tokens == 24


def test_a_preempted_sequence_hits_its_own_prefix() -> None:
    sched = scheduler(blocks=100, running=1)
    one = sequence(sched, 20, "a", new=30)
    for _ in range(10):
        step(sched)
    sched.preempt_sequence(one)
    chunks = step(sched)
    assert sum(c.num_tokens for c in chunks) <= SIZE
    assert one.num_cached_tokens == 0  # of the prompt, when it first started


def test_prefill_is_limited_while_others_decode() -> None:
    sched = scheduler(step=32)
    sched.prefill_limit = lambda decoding, _: 5 * decoding or 32
    one = sequence(sched, 40, new=50)
    assert [c.num_tokens for c in step(sched)] == [32]  # nobody decodes
    step(sched)
    sequence(sched, 40, first=1000)
    assert {c.sequence is one: c.num_tokens for c in step(sched)} == {True: 1, False: 5}


def test_a_picture_larger_than_the_prefill_limit_gets_through() -> None:
    sched = scheduler(step=32)
    busy = sequence(sched, 3, new=60)
    step(sched)
    sched.prefill_limit = lambda _decoding, _usual: 2
    one = sequence(sched, 12, spans=(ImageSpan(2, 6, "a"),), first=50, owner="b")
    for _ in range(12):
        step(sched)
    assert one.num_generated_tokens
    assert busy.num_generated_tokens > 5


def test_out_of_memory_shrinks_the_limits_and_success_restores_them() -> None:
    sched = scheduler(running=8, step=64, blocks=400)
    made = [sequence(sched, 5, new=300, first=i * 10) for i in range(8)]
    step(sched)
    oldest = min(sched.running, key=lambda s: s.arrival_order)
    sched.shrink_limits(8)
    assert (len(sched.running), sched.max_running, sched.max_step_tokens) == (4, 4, 32)
    assert oldest in sched.running
    step(sched)
    assert len(sched.running) == 4
    sched.shrink_limits(1)
    assert len(sched.running) == sched.max_running == 1
    for _ in range(64 * 3):
        step(sched)
        sched.recover_limits()
    assert (sched.max_running, sched.max_step_tokens) == (8, 64)
    while not sched.is_idle:
        step(sched)
    assert all(s.num_generated_tokens == s.max_new_tokens for s in made)


def test_half_a_chunk_never_cuts_a_picture() -> None:
    sched = scheduler()
    one = sequence(sched, 40, spans=(ImageSpan(3, 6, "a"),))
    assert Chunk(one, 0, 10).first_half() == Chunk(one, 0, 3)
    assert Chunk(one, 3, 6).first_half() is None
    assert Chunk(one, 3, 8).first_half() is None
    assert Chunk(one, 10, 8).first_half() == Chunk(one, 10, 4)
    assert Chunk(one, 10, 1).first_half() is None


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 60), st.sampled_from("abc"), st.integers(1, 30), st.integers(0, 9)
        ),
        min_size=1, max_size=12,
    ),
    st.integers(24, 60), st.integers(1, 6), st.sampled_from([7, 16, 64]), st.booleans(),
)  # fmt: skip
def test_every_sequence_finishes(
    wanted: list[tuple[int, str, int, int]], blocks: int, running: int, budget: int, reuse: bool
) -> None:
    """Any load in any pool that holds one sequence: progress in every step, no leak."""
    sched = scheduler(blocks, running, budget, reuse)
    made = [sequence(sched, n, owner, new, first=first) for n, owner, new, first in wanted]
    steps = 0
    while not sched.is_idle:
        assert step(sched), "a step without work"
        assert len(sched.running) <= running
        steps += 1
        assert steps < 5000
    assert all(s.num_generated_tokens == s.max_new_tokens for s in made)
    assert all(g.pool.num_available == g.pool.num_blocks for g in sched.blocks.groups)


class Machine(RuleBasedStateMachine):
    """Requests come, are cancelled at any moment, and steps happen, in any order."""

    @initialize(blocks=st.integers(24, 60), running=st.integers(1, 5), reuse=st.booleans())
    def start(self, blocks: int, running: int, reuse: bool) -> None:
        self.sched = scheduler(blocks, running, 16, reuse)
        self.alive: list[Sequence] = []

    @rule(length=st.integers(1, 50), owner=st.sampled_from("abc"), new=st.integers(1, 20),
          first=st.integers(0, 3))  # fmt: skip
    def ask(self, length: int, owner: str, new: int, first: int) -> None:
        self.alive.append(sequence(self.sched, length, owner, new, first=first))

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.alive) - 1))
        self.sched.remove_sequence(self.alive.pop(number))

    @rule()
    def go(self) -> None:
        chunks = step(self.sched)
        assert bool(chunks) == bool(self.alive)
        assert len({c.sequence for c in chunks}) == len(chunks)
        self.alive = [s for s in self.alive if s.num_generated_tokens < s.max_new_tokens]

    @invariant()
    def consistent(self) -> None:
        if not hasattr(self, "sched"):
            return
        waiting = [t.item for t in self.sched.waiting]
        assert sorted(map(id, self.alive)) == sorted(map(id, [*waiting, *self.sched.running]))
        for group in range(2):
            used = {b for s in self.sched.running for b in s.block_table.blocks[group] if b}
            pool = self.sched.blocks.groups[group].pool
            assert pool.num_available + len(used) == pool.num_blocks
        assert not any(any(s.block_table.blocks) for s in waiting)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
