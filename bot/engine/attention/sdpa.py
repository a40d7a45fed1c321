"""Portable attention: PyTorch's scaled_dot_product_attention over blocks gathered from the pool.

Rows that decode are attended together, padded to the longest; each prefill chunk is attended by
itself. It runs everywhere, and is what tests compare the other backends with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from bot.engine.attention.base import BackendChoice, BackendQuery, Row, Step, slot_mapping
from bot.engine.attention.module_layers import build_module_layers
from bot.engine.schedule.block_manager import NULL_BLOCK

# cuDNN's attention builds a plan for every new shape, which takes long, and shapes here change with
# every chunk. PyTorch prefers it on Hopper. This covers the vision tower too.
torch.backends.cuda.enable_cudnn_sdp(False)

_SPLIT_WASTE = 2048  # padded tokens that cost as much as one attention call more


def propose_sdpa(query: BackendQuery) -> BackendChoice:
    """Serve any query, with the model's own layers."""
    return BackendChoice(
        SdpaBackend(query.config, query.dtype, query.block_size),
        build_module_layers,
        load_dtype=query.dtype,
        weights=str(query.dtype).removeprefix("torch."),
    )


class SdpaBackend:
    """See `AttentionBackend`.

    Args:
        config: the text model's.
        dtype: of keys and values.
        block_size: tokens in a K/V block; any will do.
    """

    name = "sdpa"

    def __init__(self, config: Any, dtype: torch.dtype, block_size: int) -> None:
        self.block_size = block_size
        self.kv_heads: int = config.num_key_value_heads
        self.head_dim: int = config.head_dim
        self.bytes_per_token: int = 2 * self.kv_heads * self.head_dim * dtype.itemsize

    def supports(self, rows: Sequence[Row]) -> bool:
        return True

    def plan(self, rows: Sequence[Row], group: int, window: int | None) -> SdpaPlan:
        return plan_group(rows, group, window, self.block_size)

    def new_pool(self, step: Step, group: int, num_blocks: int, like: torch.Tensor) -> SdpaKV:
        shape = (num_blocks + 1, self.block_size, self.kv_heads * self.head_dim)
        return SdpaKV(step, group, self.kv_heads, shape, like)


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
class SdpaPlan:
    """One step as the layers of one group see it. `slots` [T] int64: where new K/V goes."""

    slots: torch.Tensor
    decode: list[DecodeBatch]
    prefill: list[PrefillPart]
    _on_devices: dict[torch.device, SdpaPlan] = field(default_factory=dict)

    def on_device(self, device: torch.device, dtype: torch.dtype) -> SdpaPlan:
        """The plan for layers on `device` (they may be spread over several).

        The copy is made once a step. Its masks are to be added to scores of `dtype`.
        """
        plan = self._on_devices.get(device)
        if plan is None:
            plan = self._on_devices[device] = self._copy_to(device, dtype)
        return plan

    def _copy_to(self, device: torch.device, dtype: torch.dtype) -> SdpaPlan:
        return SdpaPlan(
            self.slots.to(device),
            [
                DecodeBatch(
                    d.first, d.end, d.blocks.to(device), _additive_mask(d.mask, device, dtype)
                )
                for d in self.decode
            ],
            [
                PrefillPart(
                    p.first,
                    p.end,
                    None if p.blocks is None else p.blocks.to(device),
                    None if p.mask is None else _additive_mask(p.mask, device, dtype),
                )
                for p in self.prefill
            ],
        )


def plan_group(rows: Sequence[Row], group: int, window: int | None, size: int) -> SdpaPlan:
    """Plan a step for one group of layers.

    Args:
        rows: decoding ones (count 1) first, longest first; then prefill chunks.
        group: index into each table's `blocks`.
        window: how many tokens a query sees, itself included; None for all.
        size: tokens a block.
    """
    decoding = [row for row in rows if row.count == 1]
    plan = SdpaPlan(torch.tensor(slot_mapping(rows, group, size)), [], [])
    lengths = [row.start + 1 - _first_block(row.start, window, size) * size for row in decoding]
    for first, end in _split_by_length(lengths):
        plan.decode.append(_decode_batch(decoding, first, end, group, window, size))
    at = len(decoding)
    for row in rows[at:]:
        plan.prefill.append(_prefill_part(row, at, group, window, size))
        at += row.count
    return plan


def _first_block(position: int, window: int | None, size: int) -> int:
    """Index of the first block that a query at `position` sees."""
    return 0 if window is None else max(0, position - window + 1) // size


def _split_by_length(lengths: list[int]) -> list[tuple[int, int]]:
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
        low = _first_block(row.start, window, size)
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
        low = _first_block(start, window, size)
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


class SdpaKV:
    """One layer's pool and its attention; see `AttendingKV`.

    Attributes:
        keys, values: [num_blocks + 1, block_size, kv_heads * head_dim]; block 0 is masked wherever
            it is read.
    """

    def __init__(
        self,
        step: Step,
        group: int,
        kv_heads: int,
        shape: tuple[int, int, int],
        like: torch.Tensor,
    ) -> None:
        self.step = step
        self.group = group
        self.kv_heads = kv_heads
        self.keys = torch.zeros(shape, dtype=like.dtype, device=like.device)
        self.values = torch.zeros(shape, dtype=like.dtype, device=like.device)
        self._flat_keys = self.keys.flatten(0, 1)
        self._flat_values = self.values.flatten(0, 1)

    @property
    def dtype(self) -> torch.dtype:
        return self.keys.dtype

    def attend(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
    ) -> torch.Tensor:
        plan = self.step.plan(self.group).on_device(queries.device, queries.dtype)
        return self.attend_plan(plan, queries, keys, values, scale)

    def store_kv(self, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Put the step's keys and values [T, kv_heads, head_dim] into the pool."""
        self._flat_keys.index_copy_(0, slots, keys.flatten(1))
        self._flat_values.index_copy_(0, slots, values.flatten(1))

    def attend_plan(
        self,
        plan: SdpaPlan,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """`attend` by a plan that is on the layer's device."""
        heads, dim = queries.shape[1:]
        shared = heads // self.kv_heads
        self.store_kv(plan.slots, keys, values)
        parts: list[torch.Tensor] = []
        for batch in plan.decode:
            # With one token a sequence, the heads that share K/V are the queries of one head.
            q = queries[batch.first : batch.end].reshape(-1, self.kv_heads, shared, dim)
            k, v = self._gather_blocks(batch.blocks)
            attended = scaled_dot_product_attention(q, k, v, attn_mask=batch.mask, scale=scale)
            parts.append(attended.reshape(-1, heads, dim))
        for part in plan.prefill:
            chunk = slice(part.first, part.end)
            if part.blocks is None:
                k, v = (new[chunk].transpose(0, 1)[None] for new in (keys, values))
            else:
                k, v = self._gather_blocks(part.blocks[None])
            parts.append(_attend_chunk(queries[chunk], k, v, part.mask, scale))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def zero_blocks(self, blocks: list[int]) -> None:
        index = torch.tensor(blocks, device=self.keys.device)
        self.keys.index_fill_(0, index, 0)
        self.values.index_fill_(0, index, 0)

    def zero_all(self) -> None:
        self.keys.zero_()
        self.values.zero_()

    def _gather_blocks(self, blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
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
    attended = scaled_dot_product_attention(
        queries.transpose(0, 1)[None],
        _repeat_heads(keys, shared),
        _repeat_heads(values, shared),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
    )
    return attended[0].transpose(0, 1)


def _repeat_heads(heads: torch.Tensor, times: int) -> torch.Tensor:
    """Each K/V head `times` times, side by side: [1, kv_heads, n, d] to [1, heads, n, d].

    A view where there is one K/V head (270M, 1B).
    """
    return heads[:, :, None].expand(-1, -1, times, -1, -1).flatten(1, 2)


def _additive_mask(mask: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """0 where `mask` is true, else minus infinity: made once a step instead of in every layer."""
    zeros = torch.zeros(mask.shape, dtype=dtype)
    return zeros.masked_fill_(~mask, float("-inf")).to(device)
