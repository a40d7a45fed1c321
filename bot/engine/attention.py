"""Attention over the paged K/V pool, called by transformers' own Gemma 3 layers.

One forward pass runs over the ragged concatenation of every scheduled token (T rows). Linear
layers don't care whose token a row is; only attention does, and it reads here, per row, which
blocks of the pool hold what that row may see. Rows that decode are attended together, padded to
the longest; each prefill chunk is attended by itself.

The kernel is PyTorch's scaled_dot_product_attention, so it runs everywhere; a device-specific
paged kernel would replace `LayerKV.attend` and keep the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from bot.engine.blocks import NULL, Table
from bot.engine.prompt import ImageSpan

NAME = "parley_paged"
_SPLIT_WASTE = 2048  # padded tokens that cost as much as one attention call more


@dataclass(frozen=True, slots=True)
class Row:
    """What attention must know of one scheduled chunk."""

    table: Table
    spans: tuple[ImageSpan, ...]
    start: int
    count: int


@dataclass(slots=True)
class DecodeBatch:
    """Rows that are one token each. `blocks` [B, n] int64, `mask` [B, 1, 1, n * block] bool."""

    first: int
    end: int
    blocks: torch.Tensor
    mask: torch.Tensor


@dataclass(slots=True)
class PrefillPart:
    """Rows `first` to `end` are consecutive tokens of one sequence.

    `blocks` [n] int64: where its keys are, or None if they all are in this very chunk.
    `mask` [count, keys] bool, or None for plain causal.
    """

    first: int
    end: int
    blocks: torch.Tensor | None
    mask: torch.Tensor | None


@dataclass(slots=True)
class GroupPlan:
    """One step as the layers of one group see it. `slots` [T] int64: where new K/V goes."""

    slots: torch.Tensor
    decode: list[DecodeBatch]
    prefill: list[PrefillPart]

    def to(self, device: torch.device, dtype: torch.dtype) -> GroupPlan:
        """A copy on `device` (layers may be spread over several), masks ready to be added."""
        return GroupPlan(
            self.slots.to(device),
            [
                DecodeBatch(d.first, d.end, d.blocks.to(device), _additive(d.mask, device, dtype))
                for d in self.decode
            ],
            [
                PrefillPart(
                    p.first,
                    p.end,
                    None if p.blocks is None else p.blocks.to(device),
                    None if p.mask is None else _additive(p.mask, device, dtype),
                )
                for p in self.prefill
            ],
        )


def plan_group(rows: list[Row], group: int, window: int | None, size: int) -> GroupPlan:
    """Plan a step for one group of layers.

    Args:
        rows: decoding ones (count 1) first, longest first; then prefill chunks.
        group: index into each table's `blocks`.
        window: how many tokens a query sees, itself included; None for all.
        size: tokens a block.
    """
    slots = [
        row.table.blocks[group][at // size] * size + at % size
        for row in rows
        for at in range(row.start, row.start + row.count)
    ]
    decoding = [row for row in rows if row.count == 1]
    plan = GroupPlan(torch.tensor(slots), [], [])
    lengths = [row.start + 1 - _first(row.start, window, size) * size for row in decoding]
    for first, end in _buckets(lengths):
        plan.decode.append(_decode_batch(decoding, first, end, group, window, size))
    at = len(decoding)
    for row in rows[at:]:
        plan.prefill.append(_prefill_part(row, at, group, window, size))
        at += row.count
    return plan


def _first(position: int, window: int | None, size: int) -> int:
    """Index of the first block that a query at `position` sees."""
    return 0 if window is None else max(0, position - window + 1) // size


def _buckets(lengths: list[int]) -> list[tuple[int, int]]:
    """Cut rows, longest first, where padding to the longest would cost more than another call."""
    buckets: list[tuple[int, int]] = []
    first = 0
    for at, length in enumerate(lengths):
        if (lengths[first] - length) * (len(lengths) - at) > _SPLIT_WASTE:
            buckets.append((first, at))
            first = at
    if first < len(lengths):
        buckets.append((first, len(lengths)))
    return buckets


def _decode_batch(
    rows: list[Row], first: int, end: int, group: int, window: int | None, size: int
) -> DecodeBatch:
    lists, lows, highs = [], [], []
    for row in rows[first:end]:
        low = _first(row.start, window, size)
        lists.append(row.table.blocks[group][low : row.start // size + 1])
        lows.append(0 if window is None else max(0, row.start - window + 1 - low * size))
        highs.append(row.start - low * size)
    width = max(map(len, lists))
    blocks = torch.tensor([ids + [NULL] * (width - len(ids)) for ids in lists])
    keys = torch.arange(width * size)
    mask = keys <= torch.tensor(highs)[:, None]
    if window is not None:
        mask &= keys >= torch.tensor(lows)[:, None]
    return DecodeBatch(first, end, blocks, mask[:, None, None, :])


def _prefill_part(row: Row, at: int, group: int, window: int | None, size: int) -> PrefillPart:
    start, end = row.start, row.start + row.count
    spans = [s for s in row.spans if s.start < end and start < s.end]
    if start == 0:
        origin, keys, blocks = 0, end, None
        if not spans and (window is None or end <= window):
            return PrefillPart(at, at + row.count, None, None)
    else:
        low = _first(start, window, size)
        ids = row.table.blocks[group][low : -(-end // size)]
        origin, keys, blocks = low * size, len(ids) * size, torch.tensor(ids)
    query = torch.arange(start, end)[:, None]
    key = torch.arange(origin, origin + keys)
    mask = key <= query
    for span in spans:
        # Soft tokens of one image see each other in both directions (a chunk never cuts it).
        rows = slice(max(span.start, start) - start, span.end - start)
        mask[rows, max(span.start - origin, 0) : span.end - origin] = True
    if window is not None:
        mask &= key > query - window
    return PrefillPart(at, at + row.count, blocks, mask)


class Step:
    """The plan of the forward pass under way, shared by all layers of one model."""

    def __init__(self) -> None:
        self._plans: list[GroupPlan] = []
        self._moved: dict[tuple[int, torch.device], GroupPlan] = {}

    def begin(self, plans: list[GroupPlan]) -> None:
        """Set the plans of the next forward pass, one a group."""
        self._plans = plans
        self._moved.clear()

    def plan(self, group: int, device: torch.device, dtype: torch.dtype) -> GroupPlan:
        """A group's plan on the device and in the dtype of the layer that asks."""
        if (found := self._moved.get((group, device))) is None:
            found = self._moved[group, device] = self._plans[group].to(device, dtype)
        return found


class LayerKV:
    """One layer's pool and its attention.

    Args:
        keys, values: [blocks + 1, block_size, kv_heads * head_dim]; block 0 stays zero.
    """

    def __init__(self, step: Step, group: int, heads: int, blocks: int, like: torch.Tensor,
                 size: int, width: int) -> None:  # fmt: skip
        self.step = step
        self.group = group
        self.kv_heads = heads
        shape = (blocks + 1, size, width)
        self.keys = torch.zeros(shape, dtype=like.dtype, device=like.device)
        self.values = torch.zeros(shape, dtype=like.dtype, device=like.device)

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Store the step's K/V, then attend.

        Args:
            query: [1, heads, T, d]; key, value: [1, kv_heads, T, d]; already rotated.
            scale: what scores are multiplied by.

        Returns:
            [1, T, heads, d]
        """
        plan = self.step.plan(self.group, query.device, query.dtype)
        _, heads, rows, dim = query.shape
        shared = heads // self.kv_heads
        self.keys.flatten(0, 1).index_copy_(0, plan.slots, key[0].transpose(0, 1).flatten(1))
        self.values.flatten(0, 1).index_copy_(0, plan.slots, value[0].transpose(0, 1).flatten(1))
        queries = query[0].transpose(0, 1)  # [T, heads, d]
        out = torch.empty((rows, heads, dim), dtype=query.dtype, device=query.device)
        for batch in plan.decode:
            # With one token a sequence, the heads that share K/V are the queries of one head.
            q = queries[batch.first : batch.end].reshape(-1, self.kv_heads, shared, dim)
            k, v = self._gather(batch.blocks)
            found = scaled_dot_product_attention(q, k, v, attn_mask=batch.mask, scale=scale)
            out[batch.first : batch.end] = found.flatten(1, 2)
        for part in plan.prefill:
            if part.blocks is None:
                k, v = key[:, :, part.first : part.end], value[:, :, part.first : part.end]
            else:
                k, v = self._gather(part.blocks[None])
            found = scaled_dot_product_attention(
                query[:, :, part.first : part.end],
                _spread(k, shared),
                _spread(v, shared),
                attn_mask=part.mask,
                is_causal=part.mask is None,
                scale=scale,
            )
            out[part.first : part.end] = found[0].transpose(0, 1)
        return out[None]

    def clear(self, blocks: list[int]) -> None:
        """Zero some blocks (what a failed sequence may have left in them)."""
        index = torch.tensor(blocks, device=self.keys.device)
        self.keys.index_fill_(0, index, 0)
        self.values.index_fill_(0, index, 0)

    def _gather(self, blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Block ids [B, n] to keys and values [B, kv_heads, n * block_size, d]."""
        shape = (blocks.shape[0], -1, self.kv_heads, self.keys.shape[2] // self.kv_heads)
        flat = blocks.flatten()
        keys = self.keys.index_select(0, flat).view(shape).transpose(1, 2)
        values = self.values.index_select(0, flat).view(shape).transpose(1, 2)
        return keys, values


def _spread(heads: torch.Tensor, times: int) -> torch.Tensor:
    """Each K/V head `times` times, side by side: [1, kv_heads, n, d] to [1, heads, n, d].

    A view where there is one K/V head (270M, 1B).
    """
    return heads[:, :, None].expand(-1, -1, times, -1, -1).flatten(1, 2)


def _additive(mask: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """0 where `mask` is true, else minus infinity: made once a step instead of in every layer."""
    zeros = torch.zeros(mask.shape, dtype=dtype)
    return zeros.masked_fill_(~mask, float("-inf")).to(device)


def paged_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in every layer; `module.parley_kv` is that layer's `LayerKV`."""
    return module.parley_kv.attend(query, key, value, scaling), None


AttentionInterface.register(NAME, paged_attention)
