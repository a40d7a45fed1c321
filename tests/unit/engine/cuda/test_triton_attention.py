"""The Triton attention kernels, in Triton's interpreter, against attention written out in float64.

What every step must give, whatever is in it: pictures, windows, chunks, split keys, grouped heads,
permuted blocks, and NaN wherever a sequence may not look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.engine.attention.base import Row
from bot.engine.cuda import attention_plan
from bot.engine.cuda.attention_plan import AttentionPlan, build_plan, decode_plan, most_splits
from bot.engine.cuda.triton_attention import paged_attention, tile_config
from bot.engine.prompt import ImageSpan
from bot.engine.schedule.block_manager import NULL_BLOCK, BlockTable
from tests.support.triton_interpreter import patch_once, real_bfloat16

patch_once()

CPU = torch.device("cpu")
NUM_BLOCKS = 400


@pytest.fixture(autouse=True)
def short_splits(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """Splits of few keys, so that short sequences have several."""
    monkeypatch.setattr(attention_plan, "MIN_SPLIT_KEYS", 48)


@dataclass
class Case:
    """A step over one layer's pool, in which everything that no row may see is NaN."""

    rows: list[Row]
    window: int | None
    query: torch.Tensor
    key_cache: torch.Tensor
    value_cache: torch.Tensor
    dtype: torch.dtype = torch.float32
    scale: float = 0.3

    @property
    def block_size(self) -> int:
        return self.key_cache.shape[1]

    @property
    def group_size(self) -> int:
        return self.query.shape[1] // self.key_cache.shape[2]

    def plan(self) -> AttentionPlan:
        prefill = any(row.count > 1 for row in self.rows)
        tile = tile_config(self.group_size, self.dtype, prefill)
        return build_plan(
            self.rows, 0, self.window, block_size=self.block_size,
            block_q=tile.block_q(self.group_size), block_n=tile.block_n, device=CPU,
        )  # fmt: skip

    def attend(self, plan: AttentionPlan | None = None) -> torch.Tensor:
        caches = (cache.to(self.dtype) for cache in (self.key_cache, self.value_cache))
        plan = plan or self.plan()
        return paged_attention(self.query.to(self.dtype), *caches, plan, self.scale).float()

    def expected(self) -> torch.Tensor:
        """Row by row and head by head, in float64."""
        rows = []
        for row in self.rows:
            table = torch.tensor(row.table.blocks[0])
            keys = self.key_cache[table].flatten(0, 1).double()
            values = self.value_cache[table].flatten(0, 1).double()
            for position in range(row.start, row.end):
                low = 0 if self.window is None else max(0, position - self.window + 1)
                high = position + 1
                for span in row.spans:
                    if span.start <= position < span.end:
                        high = span.end
                query = self.query[len(rows)].double()
                heads = [
                    torch.softmax(keys[low:high, head // self.group_size] @ q * self.scale, 0)
                    @ values[low:high, head // self.group_size]
                    for head, q in enumerate(query)
                ]
                rows.append(torch.stack(heads))
        return torch.stack(rows).float()


def make_case(
    shapes: list[tuple[int, int]],
    *,
    window: int | None = None,
    block_size: int = 16,
    kv_heads: int = 1,
    group_size: int = 2,
    head_dim: int = 16,
    pictures: bool = False,
    seed: int = 0,
) -> Case:
    """A step of chunks `(start, count)`, in blocks drawn at random."""
    draw = torch.Generator().manual_seed(seed)
    free = (torch.randperm(NUM_BLOCKS - 1, generator=draw) + 1).tolist()
    shape = (NUM_BLOCKS, block_size, kv_heads, head_dim)
    key_cache, value_cache = torch.full(shape, math.nan), torch.full(shape, math.nan)
    rows = []
    for start, count in sorted(shapes, key=lambda shape: (shape[1] > 1, -shape[0])):
        first = 0 if window is None else max(0, start - window + 1) // block_size
        end = -(-(start + count) // block_size)
        blocks = [NULL_BLOCK] * first + [free.pop() for _ in range(first, end)]
        for cache in (key_cache, value_cache):
            flat = cache[blocks[first:]].flatten(0, 1)
            written = start + count - first * block_size
            flat[:written] = torch.randn((written, kv_heads, head_dim), generator=draw)
            cache[blocks[first:]] = flat.view(-1, *cache.shape[1:])
        spans: tuple[ImageSpan, ...] = ()
        if pictures and count > 3:
            length = 2 + int(torch.randint(count - 2, (), generator=draw))
            at = start + int(torch.randint(count - length + 1, (), generator=draw))
            spans = (ImageSpan(at, length, "x"), ImageSpan(start + count, 4, "not yet"))
        rows.append(Row(BlockTable((blocks,), [first]), spans, start, count))
    num_rows = sum(row.count for row in rows)
    query = torch.randn((num_rows, kv_heads * group_size, head_dim), generator=draw)
    return Case(rows, window, query, key_cache, value_cache)


def largest_error(case: Case) -> float:
    return float((case.attend() - case.expected()).abs().nan_to_num(math.inf).max())


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shapes=st.lists(
        st.tuples(st.sampled_from([0, 1, 15, 16, 30, 90, 250]), st.sampled_from([1, 1, 3, 17, 40])),
        min_size=1,
        max_size=4,
    ),
    window=st.sampled_from([None, None, 1, 7, 64]),
    block_size=st.sampled_from([2, 4, 16]),
    heads=st.sampled_from([(1, 1), (1, 4), (2, 2), (2, 3)]),
    pictures=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_random_steps(
    shapes: list[tuple[int, int]],
    window: int | None,
    block_size: int,
    heads: tuple[int, int],
    pictures: bool,
    seed: int,
) -> None:
    kv_heads, group_size = heads
    case = make_case(
        shapes, window=window, block_size=block_size, kv_heads=kv_heads, group_size=group_size,
        pictures=pictures, seed=seed,
    )  # fmt: skip
    assert largest_error(case) < 2e-6


@pytest.mark.parametrize(("group_size", "head_dim"), [(4, 256), (2, 256), (2, 128)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_heads_of_every_gemma(group_size: int, head_dim: int, dtype: torch.dtype) -> None:
    case = make_case([(60, 1), (9, 5)], group_size=group_size, head_dim=head_dim)
    case.dtype, case.scale = dtype, 168**-0.5
    for name in ("query", "key_cache", "value_cache"):
        setattr(case, name, getattr(case, name).to(dtype).float())
    tolerance = {torch.float32: 2e-6, torch.bfloat16: 0.02, torch.float16: 0.002}[dtype]
    with real_bfloat16():
        assert largest_error(case) < tolerance


def test_long_rows_are_split_and_merged() -> None:
    case = make_case([(1200, 1), (500, 1), (40, 1)])
    plan = case.plan()
    assert (plan.num_splits, plan.partial_rows) == (16, 2)
    assert largest_error(case) < 2e-6


def test_a_chunk_shares_its_splits_among_its_tiles() -> None:
    short, long = make_case([(900, 3)]).plan(), make_case([(900, 40)]).plan()
    assert short.num_splits > long.num_splits > 1
    assert long.partial_rows == 40


def test_chunks_are_not_split_where_partial_results_would_be_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = make_case([(200, 34), (200, 1)], group_size=4)
    whole = case.attend()
    monkeypatch.setattr(attention_plan, "_MAX_PARTIAL_ROWS", 20)
    assert case.plan().partial_rows == 1
    assert torch.allclose(case.attend(), whole, atol=2e-6)


@pytest.mark.parametrize("window", [None, 64])
def test_a_row_has_the_same_bits_alone_and_in_a_crowd(window: int | None) -> None:
    crowd = make_case([(700, 1), (90, 1), (3, 1), (600, 1)], window=window)
    together = crowd.attend()
    for number, row in enumerate(crowd.rows):
        alone = replace(crowd, rows=[row], query=crowd.query[number : number + 1])
        assert torch.equal(alone.attend(), together[number : number + 1])


@pytest.mark.parametrize("window", [None, 64])
def test_a_recorded_step_has_the_bits_of_the_same_step_unrecorded(window: int | None) -> None:
    """Recorded plans are made of tensors alone: whole tables, and padding in the NULL block."""
    case = make_case([(700, 1), (90, 1)], window=window)
    case.key_cache[NULL_BLOCK] = case.value_cache[NULL_BLOCK] = 0
    width = -(-2000 // case.block_size)
    tables = torch.zeros((3, width), dtype=torch.int32)
    for table, row in zip(tables, case.rows, strict=False):
        blocks = row.table.blocks[0]
        table[: len(blocks)] = torch.tensor(blocks)
    context_lens = torch.tensor([701, 91, 1], dtype=torch.int32)
    tile = tile_config(case.group_size, case.dtype, prefill=False)
    plan = decode_plan(torch.zeros(3).long(), context_lens, tables, window, 2000, tile.block_n)
    padded = replace(case, query=torch.cat([case.query, case.query[:1]]))
    assert torch.equal(padded.attend(plan)[:2], case.attend())


@pytest.mark.parametrize("window", [None, 1, 7, 48, 64, 512])
def test_no_row_has_more_splits_than_a_recorded_step_launches(window: int | None) -> None:
    tile = tile_config(2, torch.float32, prefill=False)
    for length in range(1, 700, 13):
        splits = make_case([(length - 1, 1)], window=window).plan().num_splits
        assert splits <= most_splits(700, window, tile.block_n)


def test_the_slots_are_those_of_the_new_tokens() -> None:
    case = make_case([(30, 1), (5, 13)], window=7, block_size=4)
    slots = [
        row.table.blocks[0][position // 4] * 4 + position % 4
        for row in case.rows
        for position in range(row.start, row.end)
    ]
    assert case.plan().slot_mapping.tolist() == slots
