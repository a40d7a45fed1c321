"""The int16 attention backend: plans and K/V pools for `attention_kernel.py`.

The fused layers (fused_model.py) attend within their single call, so a pool has no `attend`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bot.engine.attention.base import Row, Step

QUERY_TILE = 8
"""The most rows of one sequence in a tile."""

Numbers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class PackedPlan:
    """A step's plan for one group of layers. All arrays are int64.

    A row sees consecutive keys: from the start of its window to itself or, for a picture's soft
    token, to the picture's last token.

    Attributes:
        slot_mapping: [T], where each row's K/V goes: block * block_size + offset.
        first_visible, last_visible: [T], the first and last position that each row sees.
        block_tables: the block tables of all sequences, concatenated.
        tiles: [n, 3], consecutive rows of one sequence: the first row, the number of rows, and the
            start of the sequence's table in `block_tables`. Tiles with the most rows come first.
    """

    slot_mapping: Numbers
    first_visible: Numbers
    last_visible: Numbers
    block_tables: Numbers
    tiles: Numbers

    @classmethod
    def from_rows(
        cls, rows: Sequence[Row], group: int, window: int | None, block_size: int
    ) -> PackedPlan:
        """Plan a step.

        Args:
            rows: the step's chunks, in the order of the forward pass.
            group: index into each table's `blocks`.
            window: tokens a row sees, itself included; None for all.
            block_size: tokens in a block.
        """
        slots, lows, highs, tables, tiles = [], [], [], [], []
        at, begin = 0, 0
        for row in rows:
            end = row.start + row.count
            table = np.array(row.table.blocks[group][: -(-end // block_size)], np.int64)
            places = np.arange(row.start, end)
            slots.append(table[places // block_size] * block_size + places % block_size)
            lows.append(np.maximum(0, places - window + 1) if window else np.zeros_like(places))
            high = places.copy()
            for span in row.spans:
                # A picture's soft tokens see each other in both directions; no chunk cuts it.
                high[max(span.start - row.start, 0) : max(span.end - row.start, 0)] = span.end - 1
            highs.append(high)
            tables.append(table)
            tiles += [
                (at + first, min(QUERY_TILE, row.count - first), begin)
                for first in reversed(range(0, row.count, QUERY_TILE))
            ]
            at, begin = at + row.count, begin + len(table)
        # Prefill chunks are the last rows but take longest, so start them first.
        tiles.sort(key=lambda tile: -tile[1])
        return cls(
            np.concatenate(slots),
            np.concatenate(lows),
            np.concatenate(highs),
            np.concatenate(tables),
            np.array(tiles, np.int64),
        )


class Int16Backend:
    """See `AttentionBackend`. Its layers must be fused ones.

    Args:
        config: the text model's; its head size must be a multiple of 16.
        block_size: tokens in a K/V block, a multiple of 16.
    """

    name = "int16"

    def __init__(self, config: Any, block_size: int) -> None:
        self.block_size = block_size
        self._kv_heads: int = config.num_key_value_heads
        self._head_dim: int = config.head_dim
        # Keys and values in 16 bits, and a float32 for each head of either.
        self.bytes_per_token = 2 * self._kv_heads * (2 * self._head_dim + 4)

    def supports(self, rows: Sequence[Row]) -> bool:
        return True

    def plan(self, rows: Sequence[Row], group: int, window: int | None) -> PackedPlan:
        return PackedPlan.from_rows(rows, group, window, self.block_size)

    def new_pool(self, step: Step, group: int, num_blocks: int, like: torch.Tensor) -> PackedKV:
        return PackedKV(step, group, self._kv_heads, self._head_dim, num_blocks, self.block_size)


class PackedKV:
    """One layer's pool, laid out as attention_kernel.py says. Block 0 is never allocated.

    Args:
        step: holds the plans of the current step.
        group: the layer's group.
        num_blocks, block_size: the number of blocks and the tokens in each.
    """

    def __init__(
        self, step: Step, group: int, kv_heads: int, head_dim: int, num_blocks: int, block_size: int
    ) -> None:
        self.step = step
        self.group = group
        self.block_size = block_size
        self.keys = torch.zeros(
            (num_blocks + 1, kv_heads, block_size * head_dim), dtype=torch.int16
        )
        self.values = torch.zeros_like(self.keys)
        self.key_scales = torch.zeros((num_blocks + 1, kv_heads, block_size))
        self.value_scales = torch.zeros_like(self.key_scales)

    def plan(self) -> PackedPlan:
        """This layer's plan of the current step. Raises StaleStep if another thread began it."""
        plan: PackedPlan = self.step.plan(self.group)
        return plan

    def zero_blocks(self, blocks: list[int]) -> None:
        """Do nothing: rows that don't see a failed sequence's K/V never read it."""

    def zero_all(self) -> None:
        for part in (self.keys, self.values, self.key_scales, self.value_scales):
            part.zero_()
