"""One step as the Triton attention kernels read it: built with numpy, sent in one copy.

Everything is int32 in one pinned buffer, of which the plan's tensors are views.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bot.engine.attention.base import Row

MAX_SPLITS = 16
"""Into how many parts the keys of one tile are split at most."""
MIN_SPLIT_KEYS = 256
"""Fewer keys than this are not worth a program of their own."""
_MAX_PARTIAL_ROWS = 4096
"""Rows of partial results in one step: above this, chunks (not decode rows) are not split."""

Ints = npt.NDArray[np.int32]


@dataclass(slots=True)
class AttentionPlan:
    """One step for the layers of one group; n sequences, T rows, all tensors int32.

    Attributes:
        query_starts: [n + 1], where each sequence's rows begin.
        num_keys: [n], each sequence's tokens up to the end of its chunk.
        last_keys: [T], the last position that a row sees.
        slot_mapping: [T], where in the pool a row's new key and value go.
        block_tables: [n, width], from the block `table_starts[n]` of each sequence on.
        tiles: [num_tiles, 4]: sequence, first row in it, the most splits of its keys, and the
            first of its rows among the partial results.
        window: how many keys a row sees, itself included; None for all.
        prefill: there is a chunk of more than one token.
        num_splits: the most splits that any tile has.
        partial_rows: rows whose tiles are split.
    """

    query_starts: torch.Tensor
    num_keys: torch.Tensor
    table_starts: torch.Tensor
    last_keys: torch.Tensor
    slot_mapping: torch.Tensor
    tiles: torch.Tensor
    block_tables: torch.Tensor
    window: int | None
    prefill: bool
    num_splits: int
    partial_rows: int
    _workspace: tuple[torch.Tensor, torch.Tensor] | None = field(default=None, repr=False)

    def workspace(self, num_heads: int, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Room for partial results, used by one layer after another.

        Returns:
            float32 [rows, heads, MAX_SPLITS, head_dim] and log-sum-exps [rows, heads, MAX_SPLITS].
        """
        if self._workspace is None:
            shape = (max(self.partial_rows, 1), num_heads, MAX_SPLITS)
            device = self.tiles.device
            self._workspace = (
                torch.empty((*shape, head_dim), dtype=torch.float32, device=device),
                torch.empty(shape, dtype=torch.float32, device=device),
            )
        return self._workspace

    def fill_workspace(self, num_heads: int, head_dim: int, value: float) -> None:
        """Fill the room for partial results, so that what isn't written shows."""
        for part in self.workspace(num_heads, head_dim):
            part.fill_(value)


def build_plan(
    rows: Sequence[Row],
    group: int,
    window: int | None,
    *,
    block_size: int,
    block_q: int,
    block_n: int,
    device: torch.device,
) -> AttentionPlan:
    """Plan a step for one group of layers.

    Args:
        rows: every scheduled chunk, in the order of the step's rows.
        group: index into each table's `blocks`.
        block_q: tokens a tile of a chunk.
        block_n: keys a tile reads at a time.
    """
    n = len(rows)
    counts = np.fromiter((row.count for row in rows), np.int32, n)
    starts = np.fromiter((row.start for row in rows), np.int32, n)
    ends = starts + counts
    query_starts = np.zeros(n + 1, np.int32)
    np.cumsum(counts, out=query_starts[1:])
    num_rows = int(query_starts[-1])
    owners = np.repeat(np.arange(n, dtype=np.int32), counts)
    positions = np.arange(num_rows, dtype=np.int32) - (query_starts[:-1] - starts)[owners]

    first_blocks = np.zeros(n, np.int32)
    if window is not None:
        first_blocks = np.maximum(starts - window + 1, 0) // block_size
    end_blocks = -(-ends // block_size)
    tables = np.zeros((n, int((end_blocks - first_blocks).max())), np.int32)
    for table, row, first, end in zip(
        tables, rows, first_blocks.tolist(), end_blocks.tolist(), strict=True
    ):
        table[: end - first] = row.table.blocks[group][first:end]
    blocks = tables[owners, positions // block_size - first_blocks[owners]]

    last_keys = positions.copy()
    for row, first_row in zip(rows, query_starts.tolist(), strict=False):
        for span in row.spans:
            # Soft tokens of one picture see each other in both directions.
            low, high = max(span.start, row.start), min(span.end, row.end)
            if low < high:
                last_keys[first_row + low - row.start : first_row + high - row.start] = high - 1

    tiles, num_splits, partial_rows = _tiles(counts, starts, last_keys, window, block_q, block_n)
    parts = {
        "query_starts": query_starts,
        "num_keys": ends,
        "table_starts": first_blocks,
        "last_keys": last_keys,
        "slot_mapping": blocks * block_size + positions % block_size,
        "tiles": tiles,
        "block_tables": tables,
    }
    return AttentionPlan(
        **upload(parts, device),
        window=window,
        prefill=bool(counts.max() > 1),
        num_splits=num_splits,
        partial_rows=partial_rows,
    )


def _tiles(
    counts: Ints, starts: Ints, last_keys: Ints, window: int | None, block_q: int, block_n: int
) -> tuple[Ints, int, int]:
    """The tiles [num_tiles, 4] of a step, the most splits among them, and the rows in split ones.

    A decode row may have `MAX_SPLITS`; the tiles of a chunk share as many, since they are as many
    programs already.
    """
    tile_counts = -(-counts // block_q)
    sequences = np.repeat(np.arange(len(counts), dtype=np.int32), tile_counts)
    tile_starts = np.cumsum(tile_counts) - tile_counts
    first_rows = (np.arange(len(sequences), dtype=np.int32) - tile_starts[sequences]) * block_q
    num_rows = np.minimum(counts[sequences] - first_rows, block_q)
    max_splits = np.maximum(MAX_SPLITS // tile_counts, 1)[sequences]
    # The same arithmetic as in the kernel.
    first_keys = np.zeros(len(sequences), np.int64)
    if window is not None:
        first_keys = np.maximum(starts[sequences] + first_rows - window + 1, 0)
    row_starts = (np.cumsum(counts) - counts)[sequences] + first_rows
    spans = np.maximum.reduceat(last_keys, row_starts) + 1 - first_keys // block_n * block_n
    splits = np.minimum(-(-spans // MIN_SPLIT_KEYS), max_splits)
    split_rows = np.where(splits > 1, num_rows, 0)
    if split_rows.sum() > _MAX_PARTIAL_ROWS:
        max_splits = np.where(counts[sequences] > 1, 1, max_splits)
        splits = np.minimum(splits, max_splits)
        split_rows = np.where(splits > 1, num_rows, 0)
    partial_starts = np.cumsum(split_rows) - split_rows
    tiles = np.stack([sequences, first_rows, max_splits, partial_starts], 1).astype(np.int32)
    return tiles, int(splits.max()), int(split_rows.sum())


def upload(parts: dict[str, Ints], device: torch.device) -> dict[str, Any]:
    """Host arrays as tensors on the device, by one copy out of pinned memory."""
    size = sum(part.size for part in parts.values())
    # PyTorch keeps pinned memory back until the copy is done, so the next step gets another piece.
    packed = torch.empty(size, dtype=torch.int32, pin_memory=device.type == "cuda")
    numbers = packed.numpy()
    end = 0
    for part in parts.values():
        start, end = end, end + part.size
        numbers[start:end] = part.ravel()
    on_device = packed.to(device, non_blocking=True)
    views, end = {}, 0
    for name, part in parts.items():
        start, end = end, end + part.size
        views[name] = on_device[start:end].view(part.shape)
    return views


def most_splits(longest: int, window: int | None, block_n: int) -> int:
    """The most splits that a decode row of a sequence of up to `longest` tokens has."""
    span = longest if window is None else min(longest, window + block_n)
    return min(MAX_SPLITS, math.ceil(span / MIN_SPLIT_KEYS))


def decode_plan(
    slot_mapping: torch.Tensor,
    context_lens: torch.Tensor,
    block_tables: torch.Tensor,
    window: int | None,
    max_context: int,
    block_n: int,
) -> AttentionPlan:
    """A decode step as a function of tensors alone, so that it can be recorded.

    Args:
        slot_mapping: [n]; context_lens: [n]; block_tables: [n, width]; on the device.
        max_context: the longest sequence, in tokens.
        block_n: keys a tile reads at a time.
    """
    n, device = len(context_lens), context_lens.device
    sequences = torch.arange(n + 1, dtype=torch.int32, device=device)
    tiles = torch.zeros((n, 4), dtype=torch.int32, device=device)
    tiles[:, 0] = tiles[:, 3] = sequences[:n]
    tiles[:, 2] = MAX_SPLITS
    return AttentionPlan(
        query_starts=sequences,
        num_keys=context_lens,
        table_starts=torch.zeros(n, dtype=torch.int32, device=device),
        last_keys=context_lens - 1,
        slot_mapping=slot_mapping.int(),
        tiles=tiles,
        block_tables=block_tables,
        window=window,
        prefill=False,
        num_splits=most_splits(max_context, window, block_n),
        partial_rows=n,
    )
