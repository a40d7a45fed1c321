"""The block manager: no leaks, no wrong sharing, and every hit holds the right tokens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bot.engine.prompt import ImageSpan
from bot.engine.schedule.block_manager import (
    NULL_BLOCK,
    BlockManager,
    BlockPool,
    BlockTable,
    LayerGroup,
)

SIZE, WINDOW, STEP = 4, 6, 8


def manager(full: int = 20, sliding: int = 12, reuse: bool = True) -> BlockManager:
    groups = (LayerGroup(None, BlockPool(full)), LayerGroup(WINDOW, BlockPool(sliding)))
    return BlockManager(SIZE, groups, max_chunk_tokens=STEP, prefix_cache=reuse)


def compute(blocks: BlockManager, table: BlockTable, tokens: list[int], start: int = 0) -> None:
    """Prefill in steps, as the scheduler does."""
    for at in range(start, len(tokens), STEP):
        end = min(at + STEP, len(tokens))
        assert blocks.allocate_blocks(table, end)
        blocks.commit_tokens(table, tokens, (), end)


def test_pool_hands_out_each_block_once() -> None:
    pool = BlockPool(3)
    assert sorted(pool.allocate_block() for _ in range(3)) == [1, 2, 3]
    with pytest.raises(IndexError):
        pool.allocate_block()


def test_pool_keeps_published_blocks_until_needed_oldest_first() -> None:
    pool = BlockPool(2)
    one, two = pool.allocate_block(), pool.allocate_block()
    pool.publish_block(one, b"1")
    pool.publish_block(two, b"2")
    pool.release_block(one)
    pool.release_block(two)
    assert pool.num_available == 2
    assert pool.find_block(b"1") == one
    pool.share_block(one)
    pool.release_block(one)  # used since: two is older now
    assert pool.allocate_block() == two
    assert pool.find_block(b"2") is None
    assert pool.find_block(b"1") == one


def test_releasing_a_free_block_is_refused() -> None:
    pool = BlockPool(1)
    block = pool.allocate_block()
    pool.release_block(block)
    with pytest.raises(ValueError, match="not in use"):
        pool.release_block(block)


def test_sliding_layers_hold_only_their_window() -> None:
    blocks = manager(full=40, sliding=8)
    table = blocks.new_table()
    compute(blocks, table, list(range(100)))
    assert NULL_BLOCK not in table.blocks[0]
    assert sum(b != NULL_BLOCK for b in table.blocks[1]) <= WINDOW // SIZE + 2
    blocks.free_blocks(table)
    assert [g.pool.num_available for g in blocks.groups] == [40, 8]


def test_hit_is_whole_blocks_and_leaves_one_token() -> None:
    blocks = manager()
    tokens = list(range(16))
    one, two = blocks.new_table(), blocks.new_table()
    compute(blocks, one, tokens)
    assert (
        blocks.attach_cached_prefix(two, tokens, ()) == 12
    )  # not 16: the last token's logits are needed
    blocks.free_blocks(two)
    assert blocks.attach_cached_prefix(two, [*tokens, 99], ()) == 16
    assert blocks.attach_cached_prefix(blocks.new_table(), [5, *tokens], ()) == 0


def test_hit_needs_the_window_of_the_sliding_layers() -> None:
    """Their early blocks were overwritten: a hit at the end works, an earlier one does not."""
    blocks = manager(full=40, sliding=6)
    tokens = list(range(64))
    one = blocks.new_table()
    compute(blocks, one, tokens)
    assert blocks.attach_cached_prefix(blocks.new_table(), [*tokens, 99], ()) == 64
    assert blocks.attach_cached_prefix(blocks.new_table(), [*tokens[:24], 99], ()) == 0


def test_a_picture_is_part_of_the_key() -> None:
    blocks = manager()
    tokens = [1, 2, 7, 7, 7, 7, 3, 4, 5]
    one = blocks.new_table()
    assert blocks.allocate_blocks(one, 8)
    blocks.commit_tokens(one, tokens, (ImageSpan(2, 4, "cat"),), 8)
    assert blocks.attach_cached_prefix(blocks.new_table(), tokens, (ImageSpan(2, 4, "cat"),)) == 8
    assert blocks.attach_cached_prefix(blocks.new_table(), tokens, (ImageSpan(2, 4, "dog"),)) == 0
    assert blocks.attach_cached_prefix(blocks.new_table(), tokens, ()) == 0


def finish_sequence(
    blocks: BlockManager, tokens: list[int], spans: tuple[ImageSpan, ...] = ()
) -> None:
    table = blocks.new_table()
    compute(blocks, table, tokens)
    blocks.free_blocks(table, tokens, spans, len(tokens))


def test_a_continuation_claims_the_partial_last_block() -> None:
    blocks = manager()
    tokens = list(range(10))
    finish_sequence(blocks, tokens)
    table = blocks.new_table()
    assert blocks.attach_cached_prefix(table, [*tokens, 50, 51], ()) == 10
    # It is being filled now: no other sequence may share it, whatever its prefix.
    other = blocks.new_table()
    assert blocks.attach_cached_prefix(other, [*tokens, 60, 61], ()) == 8
    blocks.free_blocks(other)
    assert blocks.allocate_blocks(table, 12)
    blocks.commit_tokens(table, [*tokens, 50, 51], (), 12)
    assert blocks.attach_cached_prefix(blocks.new_table(), [*tokens, 50, 51, 52], ()) == 12
    assert blocks.attach_cached_prefix(blocks.new_table(), [*tokens, 60], ()) == 8


def test_a_partial_block_matches_only_all_of_its_tokens() -> None:
    blocks = manager()
    finish_sequence(blocks, list(range(10)))
    assert blocks.attach_cached_prefix(blocks.new_table(), [*range(9), 70, 71], ()) == 8
    assert (
        blocks.attach_cached_prefix(blocks.new_table(), list(range(10)), ()) == 8
    )  # the last token's logits are needed
    assert blocks.attach_cached_prefix(blocks.new_table(), list(range(11)), ()) == 10


def test_an_unused_partial_block_stays_cached() -> None:
    blocks = manager()
    finish_sequence(blocks, list(range(10)))
    for _ in range(2):
        table = blocks.new_table()
        assert blocks.attach_cached_prefix(table, list(range(12)), ()) == 10
        blocks.free_blocks(table, list(range(12)), (), 10)


def test_a_partial_block_with_a_picture_needs_the_same_picture() -> None:
    blocks = manager()
    cat, dog = (ImageSpan(8, 2, "cat"),), (ImageSpan(8, 2, "dog"),)
    finish_sequence(blocks, list(range(10)), cat)
    assert blocks.attach_cached_prefix(blocks.new_table(), list(range(12)), dog) == 8
    assert blocks.attach_cached_prefix(blocks.new_table(), list(range(12)), cat) == 10


def test_a_partial_block_is_evicted_before_its_prefix() -> None:
    blocks = manager(full=3, sliding=12)
    finish_sequence(blocks, list(range(10)))
    table = blocks.new_table()
    assert blocks.allocate_blocks(table, 1)
    assert blocks.attach_cached_prefix(blocks.new_table(), list(range(12)), ()) == 8


def test_allocation_takes_all_blocks_or_none() -> None:
    blocks = manager(full=3, sliding=12)
    table = blocks.new_table()
    assert not blocks.allocate_blocks(table, 13)
    assert [g.pool.num_available for g in blocks.groups] == [3, 12]


def test_without_a_prefix_cache_there_are_no_hits() -> None:
    blocks = manager(reuse=False)
    compute(blocks, blocks.new_table(), list(range(16)))
    assert blocks.attach_cached_prefix(blocks.new_table(), list(range(16)), ()) == 0


def test_capacity() -> None:
    assert manager(full=20, sliding=12).max_sequence_length() == 80
    assert manager(full=20, sliding=3).max_sequence_length() == 12


class Machine(RuleBasedStateMachine):
    """Sequences over three shared beginnings join, grow, finish; the pool is checked throughout.

    The model of the K/V content is a dict from (group, block) to the tokens (from the sequence's
    start) that were computed into it: a hit must find exactly its own.
    """

    @initialize(full=st.integers(12, 24), sliding=st.integers(6, 16))
    def start(self, full: int, sliding: int) -> None:
        self.blocks = manager(full, sliding)
        self.tables: dict[int, tuple[BlockTable, list[int], int]] = {}
        self.content: dict[tuple[int, int], tuple[Any, ...]] = {}
        self.count = 0

    @rule(beginning=st.integers(0, 2), length=st.integers(1, 40), own=st.integers(0, 3))
    def join(self, beginning: int, length: int, own: int) -> None:
        tokens = [beginning] * length + [10 + own] * 3
        table = self.blocks.new_table()
        hit = self.blocks.attach_cached_prefix(table, tokens, ())
        assert hit < len(tokens)
        self._check_content(table, tokens, hit)
        self.tables[self.count] = (table, tokens, hit)
        self.count += 1

    @precondition(lambda self: self.tables)
    @rule(data=st.data(), more=st.integers(1, STEP))
    def compute(self, data: st.DataObject, more: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.tables)))
        table, tokens, computed = self.tables[number]
        if computed == len(tokens):
            tokens = [*tokens, data.draw(st.integers(20, 22))]
        end = min(computed + more, len(tokens))
        if not self.blocks.allocate_blocks(table, end):
            return
        for group, ids in enumerate(table.blocks):
            for at in range(computed // SIZE, -(-end // SIZE)):
                until = min(end, (at + 1) * SIZE)
                self.content[group, ids[at]] = tuple(tokens[:until])
        self.blocks.commit_tokens(table, tokens, (), end)
        self._check_content(table, tokens, end)
        self.tables[number] = (table, tokens, end)

    @precondition(lambda self: self.tables)
    @rule(data=st.data(), failed=st.booleans())
    def leave(self, data: st.DataObject, failed: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.tables)))
        table, tokens, computed = self.tables.pop(number)
        if failed:
            self.blocks.free_blocks(table)
        else:
            self.blocks.free_blocks(table, tokens, (), computed)

    @precondition(lambda self: self.tables)
    @rule(data=st.data(), more=st.integers(1, STEP))
    def go_on(self, data: st.DataObject, more: int) -> None:
        """A sequence ends and another one continues it."""
        table, tokens, computed = self.tables.pop(data.draw(st.sampled_from(sorted(self.tables))))
        self.blocks.free_blocks(table, tokens, (), computed)
        table, tokens = self.blocks.new_table(), [*tokens[:computed], *[30] * more]
        hit = self.blocks.attach_cached_prefix(table, tokens, ())
        assert hit < len(tokens)
        self._check_content(table, tokens, hit)
        self.tables[self.count] = (table, tokens, hit)
        self.count += 1

    def _check_content(self, table: BlockTable, tokens: list[int], computed: int) -> None:
        """Every block the next token attends to is present and holds this sequence's tokens."""
        for group, ids in enumerate(table.blocks):
            window = self.blocks.groups[group].window
            first = 0 if window is None else max(0, computed - window + 1) // SIZE
            for at in range(first, -(-computed // SIZE)):
                assert ids[at] != NULL_BLOCK
                held = self.content[group, ids[at]]
                until = min(computed, (at + 1) * SIZE)
                assert held[:until] == tuple(tokens[:until])

    @invariant()
    def counts(self) -> None:
        if not hasattr(self, "blocks"):
            return
        for number, group in enumerate(self.blocks.groups):
            used = {
                b for t, _, _ in self.tables.values() for b in t.blocks[number] if b != NULL_BLOCK
            }
            assert group.pool.num_available + len(used) == group.pool.num_blocks
            assert NULL_BLOCK not in group.pool._free_blocks


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
