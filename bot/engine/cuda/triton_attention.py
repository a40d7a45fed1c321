"""Paged attention in Triton: one launch serves a step's decode rows and prefill chunks.

The online softmax of FlashAttention over the blocks of a paged pool (PagedAttention). The query
heads that share a K/V head are rows of one tile. Long sequences are split by keys over several
programs (FlashDecoding), whose partial results a second kernel merges. A row sees the keys from
its window's start to its *last key*, which is its own position, or the end of the picture that it
is a soft token of.

A row's result depends on its own chunk alone: how its keys are split is computed from the chunk's
length and place, never from the rest of the batch. Keys that no row of a tile sees are never read,
so NaN in free blocks and in other conversations' blocks stays where it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from bot.engine.cuda import attention_plan
from bot.engine.cuda.attention_plan import MAX_SPLITS, AttentionPlan

_FULL_WINDOW = 2**30
"""The window of layers that see everything."""


@dataclass(frozen=True, slots=True)
class TileConfig:
    """How a launch is cut: rows (tokens times heads of a group) and keys of one tile."""

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int

    def block_q(self, group_size: int) -> int:
        """Tokens a tile."""
        return self.block_m // group_size


def tile_config(group_size: int, dtype: torch.dtype, prefill: bool) -> TileConfig:
    """Tiles that fit every card since Ampere, which has 101,376 bytes of shared memory or more.

    With five stages Triton keeps two buffers of keys and values: where they lie is loaded first,
    and each of the two loads is two stages ahead. `prefill`: the step has a chunk of more than one
    token.
    """
    smallest = triton.next_power_of_2(group_size)
    if dtype == torch.float32:  # exact products, for comparison rather than for speed
        return TileConfig(max(smallest, 16), 16, num_warps=4, num_stages=5)
    if prefill:
        return TileConfig(max(smallest, 64), 16, num_warps=8, num_stages=5)
    return TileConfig(max(smallest, 16), 32, num_warps=4, num_stages=5)


@triton.jit
def _tile_keys(
    tile, tiles, query_starts, num_keys, last_keys, window,
    GROUP_SIZE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    MIN_SPLIT_KEYS: tl.constexpr,
):  # fmt: skip
    """What a tile's rows are, which keys they see, and in how many splits."""
    sequence = tl.load(tiles + 4 * tile)
    first_row = tl.load(tiles + 4 * tile + 1)
    max_splits = tl.load(tiles + 4 * tile + 2)
    partial_row = tl.load(tiles + 4 * tile + 3)
    query_start = tl.load(query_starts + sequence)
    num_rows = tl.load(query_starts + sequence + 1) - query_start
    keys = tl.load(num_keys + sequence)

    m = tl.arange(0, BLOCK_M)
    in_tile = m // GROUP_SIZE
    row = first_row + in_tile
    row_mask = (in_tile < BLOCK_M // GROUP_SIZE) & (row < num_rows)
    position = keys - num_rows + row
    last_key = tl.load(last_keys + query_start + row, mask=row_mask, other=-1)

    first_key = tl.maximum(tl.min(tl.where(row_mask, position, 2147483647)) - window + 1, 0)
    end_key = tl.max(last_key) + 1
    # Splits begin at multiples of BLOCK_N, counted from the sequence's start.
    aligned = first_key // BLOCK_N * BLOCK_N
    span = end_key - aligned
    wanted = tl.maximum(tl.minimum(tl.cdiv(span, MIN_SPLIT_KEYS), max_splits), 1)
    split_keys = tl.maximum(tl.cdiv(tl.cdiv(span, BLOCK_N), wanted), 1) * BLOCK_N
    num_splits = tl.maximum(tl.cdiv(span, split_keys), 1)
    return (
        sequence, query_start + row, partial_row + in_tile, row_mask, position, last_key,
        first_key, end_key, aligned, split_keys, num_splits,
    )  # fmt: skip


_UNALIGNED = [
    "block_tables", "table_starts", "query_starts", "num_keys", "last_keys", "tiles",
]  # fmt: skip
# Views into one buffer, and sizes that change from step to step: none may choose another variant
# of the kernel, since a variant's first launch loads it, which a recording forbids.
_VARIES = ["table_stride", "window"]


@triton.jit(do_not_specialize=_VARIES, do_not_specialize_on_alignment=_UNALIGNED)
def paged_attention_kernel(
    query, key_cache, value_cache, output, partial_output, partial_lse,
    block_tables, table_starts, query_starts, num_keys, last_keys, tiles,
    table_stride, window, scale_log2,
    query_stride_row, query_stride_head, output_stride_row, output_stride_head,
    cache_stride_block, cache_stride_slot, cache_stride_head,
    GROUP_SIZE: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_SIZE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, MIN_SPLIT_KEYS: tl.constexpr,
    MAX_SPLITS: tl.constexpr,
):  # fmt: skip
    """Program (tile, K/V head, split): the tile's rows over one split of their keys."""
    kv_head = tl.program_id(1)
    split = tl.program_id(2)
    (
        sequence, row, partial_row, row_mask, position, last_key,
        first_key, end_key, aligned, split_keys, num_splits,
    ) = _tile_keys(
        tl.program_id(0), tiles, query_starts, num_keys, last_keys, window,
        GROUP_SIZE, BLOCK_M, BLOCK_N, MIN_SPLIT_KEYS,
    )  # fmt: skip
    if split >= num_splits:
        return
    split_start = aligned + split * split_keys
    split_end = tl.minimum(split_start + split_keys, end_key)

    m = tl.arange(0, BLOCK_M)
    d = tl.arange(0, HEAD_DIM)
    head = kv_head * GROUP_SIZE + m % GROUP_SIZE
    row = row.to(tl.int64)
    q = tl.load(
        query + row[:, None] * query_stride_row + head[:, None] * query_stride_head + d[None, :],
        mask=row_mask[:, None],
        other=0.0,
    )
    table = block_tables + sequence * table_stride - tl.load(table_starts + sequence)
    row_max = tl.full([BLOCK_M], float("-inf"), tl.float32)
    row_sum = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    for start in range(split_start, split_end, BLOCK_N):
        key = start + tl.arange(0, BLOCK_N)
        key_mask = (key >= first_key) & (key < end_key)
        block = tl.load(table + key // BLOCK_SIZE, mask=key_mask, other=0).to(tl.int64)
        slot = block * cache_stride_block + (key % BLOCK_SIZE) * cache_stride_slot
        slot += kv_head * cache_stride_head
        k = tl.load(key_cache + slot[None, :] + d[:, None], mask=key_mask[None, :], other=0.0)
        scores = tl.dot(q, k, input_precision="ieee") * scale_log2
        visible = (key[None, :] > position[:, None] - window) & (key[None, :] <= last_key[:, None])
        scores = tl.where(visible & key_mask[None, :], scores, float("-inf"))
        new_max = tl.maximum(row_max, tl.max(scores, 1))
        # A row that has seen no key yet: minus infinity less itself would be NaN.
        finite_max = tl.where(new_max == float("-inf"), 0.0, new_max)
        p = tl.exp2(scores - finite_max[:, None])
        alpha = tl.exp2(row_max - finite_max)
        row_sum = row_sum * alpha + tl.sum(p, 1)
        v = tl.load(value_cache + slot[:, None] + d[None, :], mask=key_mask[:, None], other=0.0)
        acc = acc * alpha[:, None]
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision="ieee")
        row_max = new_max
    safe_sum = tl.where(row_sum == 0.0, 1.0, row_sum)
    acc = acc / safe_sum[:, None]
    if num_splits == 1:
        tl.store(
            output + row[:, None] * output_stride_row + head[:, None] * output_stride_head
            + d[None, :],
            acc.to(output.dtype.element_ty),
            mask=row_mask[:, None],
        )  # fmt: skip
    else:
        num_heads = GROUP_SIZE * tl.num_programs(1)
        part = (partial_row.to(tl.int64) * num_heads + head) * MAX_SPLITS + split
        lse = tl.where(row_sum == 0.0, float("-inf"), row_max + tl.log2(safe_sum))
        tl.store(partial_lse + part, lse, mask=row_mask)
        tl.store(
            partial_output + part[:, None] * HEAD_DIM + d[None, :], acc, mask=row_mask[:, None]
        )


@triton.jit(do_not_specialize=["window"], do_not_specialize_on_alignment=_UNALIGNED)
def merge_splits_kernel(
    output, partial_output, partial_lse, query_starts, num_keys, last_keys, tiles, window,
    output_stride_row, output_stride_head,
    GROUP_SIZE: tl.constexpr, HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, MIN_SPLIT_KEYS: tl.constexpr,
    MAX_SPLITS: tl.constexpr,
):  # fmt: skip
    """Program (tile, K/V head): the tile's splits, weighted by their sums of exponentials."""
    kv_head = tl.program_id(1)
    _, row, partial_row, row_mask, _, _, _, _, _, _, num_splits = _tile_keys(
        tl.program_id(0), tiles, query_starts, num_keys, last_keys, window,
        GROUP_SIZE, BLOCK_M, BLOCK_N, MIN_SPLIT_KEYS,
    )  # fmt: skip
    if num_splits == 1:
        return
    m = tl.arange(0, BLOCK_M)
    d = tl.arange(0, HEAD_DIM)
    head = kv_head * GROUP_SIZE + m % GROUP_SIZE
    num_heads = GROUP_SIZE * tl.num_programs(1)
    part = (partial_row.to(tl.int64) * num_heads + head) * MAX_SPLITS
    largest = tl.full([BLOCK_M], float("-inf"), tl.float32)
    for split in range(num_splits):
        lse = tl.load(partial_lse + part + split, mask=row_mask, other=0.0)
        largest = tl.maximum(largest, lse)
    total = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    for split in range(num_splits):
        lse = tl.load(partial_lse + part + split, mask=row_mask, other=0.0)
        weight = tl.exp2(lse - largest)
        values = tl.load(
            partial_output + (part + split)[:, None] * HEAD_DIM + d[None, :],
            mask=row_mask[:, None],
            other=0.0,
        )
        total += weight
        acc += weight[:, None] * values
    acc = acc / total[:, None]
    tl.store(
        output + row.to(tl.int64)[:, None] * output_stride_row
        + head[:, None] * output_stride_head + d[None, :],
        acc.to(output.dtype.element_ty),
        mask=row_mask[:, None],
    )  # fmt: skip


def paged_attention(
    query: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    plan: AttentionPlan,
    scale: float,
    output: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of a step's ragged rows over the pool.

    Args:
        query: [T, heads, head_dim], of the pool's dtype; rows and heads may be strided.
        key_cache, value_cache: [blocks, block_size, kv_heads, head_dim], the step's own included.
        scale: the factor of the scores.
        output: where to write; None for new memory.

    Returns:
        [T, heads, head_dim]
    """
    _, num_heads, head_dim = query.shape
    _, block_size, num_kv_heads, _ = key_cache.shape
    group_size = num_heads // num_kv_heads
    tile = tile_config(group_size, query.dtype, plan.prefill)
    window = _FULL_WINDOW if plan.window is None else plan.window
    if output is None:
        output = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    partial_output, partial_lse = plan.workspace(num_heads, head_dim)
    shape = {
        "GROUP_SIZE": group_size,
        "HEAD_DIM": head_dim,
        "BLOCK_M": tile.block_m,
        "BLOCK_N": tile.block_n,
        "MIN_SPLIT_KEYS": attention_plan.MIN_SPLIT_KEYS,
        "MAX_SPLITS": MAX_SPLITS,
    }
    num_tiles = len(plan.tiles)
    paged_attention_kernel[num_tiles, num_kv_heads, plan.num_splits](
        query, key_cache, value_cache, output, partial_output, partial_lse,
        plan.block_tables, plan.table_starts, plan.query_starts, plan.num_keys, plan.last_keys,
        plan.tiles, plan.block_tables.stride(0), window, scale * math.log2(math.e),
        query.stride(0), query.stride(1), output.stride(0), output.stride(1),
        key_cache.stride(0), key_cache.stride(1), key_cache.stride(2),
        BLOCK_SIZE=block_size, **shape, num_warps=tile.num_warps, num_stages=tile.num_stages,
    )  # fmt: skip
    if plan.num_splits > 1:
        merge_splits_kernel[num_tiles, num_kv_heads](
            output, partial_output, partial_lse, plan.query_starts, plan.num_keys, plan.last_keys,
            plan.tiles, window, output.stride(0), output.stride(1),
            **shape, num_warps=tile.num_warps,
        )  # fmt: skip
    return output
