"""Attention over the paged K/V pool, called by transformers' own Gemma 3 layers.

One forward pass runs over the ragged concatenation of every scheduled token (T rows). Linear
layers don't care whose token a row is; only attention does, and it reads here, per row, which
blocks of the pool hold what that row may see. Rows that decode are attended together, padded to
the longest; each prefill chunk is attended by itself.

The kernel is PyTorch's scaled_dot_product_attention, so it runs everywhere, and is what tests
compare with. On CUDA a paged kernel (varlen_attention.py) takes a step's place where it can.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from bot.engine.cpu.int16_attention import PackedPlan
from bot.engine.cuda import varlen_attention
from bot.engine.cuda.varlen_attention import PagedPlan
from bot.engine.prompt import ImageSpan
from bot.engine.schedule.block_manager import NULL_BLOCK, BlockTable

NAME = "parley_paged"
_SPLIT_WASTE = 2048  # padded tokens that cost as much as one attention call more


@dataclass(frozen=True, slots=True)
class Row:
    """What attention must know of one scheduled chunk."""

    table: BlockTable
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
    paged: PagedPlan | None = None  # all of it in the paged kernel
    packed: PackedPlan | None = None  # all of it in Parley's own

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
            None if self.paged is None else self.paged.to(device),
            self.packed,
        )


def plan_paged(
    rows: list[Row], group: int, window: int | None, size: int, device: torch.device
) -> GroupPlan | None:
    """Plan a step for one group of layers in the paged kernel; None if a picture is in it."""
    if any(map(sees_picture, rows)):
        return None
    ends = [row.start + row.count for row in rows]
    tables = [
        row.table.blocks[group][: -(-end // size)] for row, end in zip(rows, ends, strict=True)
    ]
    paged = PagedPlan.of([row.count for row in rows], ends, tables, window, device)
    return GroupPlan(torch.tensor(_slots(rows, group, size)), [], [], paged)


def plan_packed(rows: list[Row], group: int, window: int | None, size: int) -> GroupPlan:
    """Plan a step for one group of layers in Parley's own kernel (attention_kernel.py)."""
    packed = PackedPlan.of(rows, group, window, size)
    return GroupPlan(torch.from_numpy(packed.slots), [], [], packed=packed)


def sees_picture(row: Row) -> bool:
    """Is a picture's soft token among the chunk's?"""
    end = row.start + row.count
    return any(span.start < end and row.start < span.end for span in row.spans)


def _slots(rows: list[Row], group: int, size: int) -> list[int]:
    return [
        row.table.blocks[group][at // size] * size + at % size
        for row in rows
        for at in range(row.start, row.start + row.count)
    ]


def plan_group(rows: list[Row], group: int, window: int | None, size: int) -> GroupPlan:
    """Plan a step for one group of layers.

    Args:
        rows: decoding ones (count 1) first, longest first; then prefill chunks.
        group: index into each table's `blocks`.
        window: how many tokens a query sees, itself included; None for all.
        size: tokens a block.
    """
    decoding = [row for row in rows if row.count == 1]
    plan = GroupPlan(torch.tensor(_slots(rows, group, size)), [], [])
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
    blocks = torch.tensor([ids + [NULL_BLOCK] * (width - len(ids)) for ids in lists])
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


class NotYours(RuntimeError):
    """A thread that hung and was replaced has come back: it must not touch the pool."""


class Step:
    """The plan of the forward pass under way, shared by all layers of one model."""

    def __init__(self) -> None:
        self._plans: list[GroupPlan] = []
        self._moved: dict[tuple[int, torch.device], GroupPlan] = {}
        self._thread = 0

    def begin(self, plans: list[GroupPlan]) -> None:
        """Set the plans of this thread's next forward pass, one a group."""
        self._plans = plans
        self._moved.clear()
        self._thread = get_ident()

    def plan(self, group: int, device: torch.device, dtype: torch.dtype) -> GroupPlan:
        """A group's plan on the device and in the dtype of the layer that asks.

        Raises:
            NotYours: another thread began this step (the asking one hung and was replaced).
        """
        if get_ident() != self._thread:
            raise NotYours
        if (found := self._moved.get((group, device))) is None:
            found = self._moved[group, device] = self._plans[group].to(device, dtype)
        return found


class LayerKV:
    """One layer's pool and its attention.

    Args:
        keys, values: [blocks + 1, block_size, kv_heads * head_dim]; block 0 is nobody's, and masked
            wherever it is read.
    """

    def __init__(self, step: Step, group: int, heads: int, blocks: int, like: torch.Tensor,
                 size: int, width: int) -> None:  # fmt: skip
        self.step = step
        self.group = group
        self.kv_heads = heads
        shape = (blocks + 1, size, width)
        self.keys = torch.zeros(shape, dtype=like.dtype, device=like.device)
        self.values = torch.zeros(shape, dtype=like.dtype, device=like.device)
        self._flat_keys = self.keys.flatten(0, 1)
        self._flat_values = self.values.flatten(0, 1)

    @property
    def dtype(self) -> torch.dtype:
        """What keys and values are stored as, and queries must be."""
        return self.keys.dtype

    def attend(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Store the step's K/V, then attend.

        Args:
            queries: [T, heads, d]; keys, values: [T, kv_heads, d]; already rotated.
            scale: what scores are multiplied by.

        Returns:
            [T, heads, d]

        Raises:
            NotYours: the step under way is another thread's.
        """
        plan = self.step.plan(self.group, queries.device, queries.dtype)
        heads, dim = queries.shape[1:]
        shared = heads // self.kv_heads
        self._flat_keys.index_copy_(0, plan.slots, keys.flatten(1))
        self._flat_values.index_copy_(0, plan.slots, values.flatten(1))
        if plan.paged is not None:
            shape = (*self.keys.shape[:2], self.kv_heads, dim)
            pools = self.keys.view(shape), self.values.view(shape)
            return varlen_attention.attend(queries, *pools, plan.paged, scale)
        parts: list[torch.Tensor] = []
        for batch in plan.decode:
            # With one token a sequence, the heads that share K/V are the queries of one head.
            q = queries[batch.first : batch.end].reshape(-1, self.kv_heads, shared, dim)
            k, v = self._gather(batch.blocks)
            found = scaled_dot_product_attention(q, k, v, attn_mask=batch.mask, scale=scale)
            parts.append(found.reshape(-1, heads, dim))
        for part in plan.prefill:
            mine = slice(part.first, part.end)
            if part.blocks is None:
                k, v = (new[mine].transpose(0, 1)[None] for new in (keys, values))
            else:
                k, v = self._gather(part.blocks[None])
            parts.append(_attend_chunk(queries[mine], k, v, part.mask, scale))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def clear(self, blocks: list[int]) -> None:
        """Zero some blocks (what a failed sequence may have left in them)."""
        index = torch.tensor(blocks, device=self.keys.device)
        self.keys.index_fill_(0, index, 0)
        self.values.index_fill_(0, index, 0)

    def empty(self) -> None:
        """Zero everything."""
        self.keys.zero_()
        self.values.zero_()

    def _gather(self, blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Block ids [B, n] to keys and values [B, kv_heads, n * block_size, d]."""
        shape = (blocks.shape[0], -1, self.kv_heads, self.keys.shape[2] // self.kv_heads)
        flat = blocks.flatten()
        keys = self.keys.index_select(0, flat).view(shape).transpose(1, 2)
        values = self.values.index_select(0, flat).view(shape).transpose(1, 2)
        return keys, values


def _attend_chunk(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
) -> torch.Tensor:
    """Attention of one prefill chunk.

    Args:
        queries: [n, heads, d]; keys, values: [1, kv_heads, keys, d].
        mask: [n, keys], to be added to the scores; None for plain causal.

    Returns:
        [n, heads, d]
    """
    count, heads, dim = queries.shape
    kv_heads = keys.shape[1]
    shared = heads // kv_heads
    if mask is not None and queries.device.type == "cpu" and queries.dtype == torch.bfloat16:
        # Two products in bfloat16 take half of what PyTorch's fused attention takes on a CPU;
        # the heads that share K/V are queries of one head here.
        rows = queries.view(count, kv_heads, shared, dim).transpose(0, 1).reshape(kv_heads, -1, dim)
        added = mask[:, None].expand(-1, shared, -1).reshape(1, count * shared, -1)
        scores = torch.baddbmm(added, rows, keys[0].transpose(1, 2), alpha=scale)
        mixed = torch.softmax(scores, -1) @ values[0]
        return mixed.view(kv_heads, count, shared, dim).transpose(0, 1).reshape(count, heads, dim)
    found = scaled_dot_product_attention(
        queries.transpose(0, 1)[None],
        _spread(keys, shared),
        _spread(values, shared),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
    )
    return found[0].transpose(0, 1)


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
    """What transformers calls in every layer; `module.parley_kv` is that layer's `LayerKV`.

    transformers gives and takes [1, heads, T, d] and [1, T, heads, d].
    """
    rows = (states[0].transpose(0, 1) for states in (query, key, value))
    return module.parley_kv.attend(*rows, scaling)[None], None


AttentionInterface.register(NAME, paged_attention)
