"""Attention on CUDA by PyTorch's own `varlen_attn` (flash attention) with block tables.

It reads the pool where it lies, for decoding rows and prefill chunks in one call. It is tried
against the portable attention before it is relied on. A step with a picture's soft tokens in it
takes the portable way: they see each other in both directions, which this kernel can't.

Not run on a GPU yet. The tests run it on a CPU with an emulated kernel, which shows that plans and
masks are right, not how fast it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from bot.engine.attention.base import (
    BackendChoice,
    BackendQuery,
    BackendRejected,
    Rejection,
    Row,
    Step,
    slot_mapping,
)
from bot.engine.attention.module_layers import build_module_layers
from bot.engine.attention.sdpa import SdpaBackend, SdpaKV, SdpaPlan

varlen_attn: Any = None
with suppress(ImportError):  # it came with PyTorch 2.10 or so
    from torch.nn.attention import varlen

    varlen_attn = varlen.varlen_attn

_BLOCK_SIZES = (16, 256)
"""Tokens in a block, in order of preference: flash attention 2 takes multiples of 256 only."""
_RTOL, _ATOL = 0.05, 0.02  # between the kernel and the portable attention


def propose_varlen(query: BackendQuery) -> BackendChoice:
    """Serve where the kernel runs and agrees with the portable attention."""
    if query.dtype == torch.float32:
        raise BackendRejected(
            "it computes in bfloat16 or float16, not in float32", is_expected=query.dtype_is_set
        )
    spread = Rejection("CUDA graphs", "the layers are spread over several devices")
    return BackendChoice(
        VarlenBackend(query, find_block_size(query)),
        build_module_layers,
        load_dtype=query.dtype,
        weights=str(query.dtype).removeprefix("torch."),
        records_graphs=not query.spread,
        rejections=(spread,) if query.spread else (),
    )


class VarlenBackend:
    """See `RecordableBackend`. A step with a picture in it is planned by `SdpaBackend`."""

    name = "varlen"

    def __init__(self, query: BackendQuery, block_size: int) -> None:
        self._portable = SdpaBackend(query.config, query.dtype, block_size)
        self._device = query.device
        self.block_size = block_size
        self.bytes_per_token = self._portable.bytes_per_token

    def supports(self, rows: Sequence[Row]) -> bool:
        return not any(row.has_image_tokens for row in rows)

    def plan(self, rows: Sequence[Row], group: int, window: int | None) -> VarlenPlan | SdpaPlan:
        if not self.supports(rows):
            return self._portable.plan(rows, group, window)
        size = self.block_size
        tables = [row.table.blocks[group][: -(-row.end // size)] for row in rows]
        slots = torch.tensor(slot_mapping(rows, group, size)).to(self._device)
        counts, ends = [row.count for row in rows], [row.end for row in rows]
        return VarlenPlan.from_lists(slots, counts, ends, tables, window)

    def decode_plan(
        self,
        slot_mapping: torch.Tensor,
        context_lens: torch.Tensor,
        block_tables: torch.Tensor,
        window: int | None,
        max_context: int,
    ) -> VarlenPlan:
        count = len(slot_mapping)
        ends = torch.arange(count + 1, dtype=torch.int32, device=slot_mapping.device)
        return VarlenPlan(slot_mapping, ends, context_lens, block_tables, 1, max_context, window)

    def new_pool(self, step: Step, group: int, num_blocks: int, like: torch.Tensor) -> VarlenKV:
        heads, dim = self._portable.kv_heads, self._portable.head_dim
        return VarlenKV(step, group, heads, (num_blocks + 1, self.block_size, heads * dim), like)


@dataclass(slots=True)
class VarlenPlan:
    """One step as the kernel wants it; all but `slots` are int32.

    Attributes:
        slots: [T] int64, where new K/V goes.
        ends: [n + 1], where each sequence's rows end, 0 first.
        context_lens: [n], each sequence's keys.
        block_tables: [n, width].
    """

    slots: torch.Tensor
    ends: torch.Tensor
    context_lens: torch.Tensor
    block_tables: torch.Tensor
    max_query: int
    max_context: int
    window: int | None

    @classmethod
    def from_lists(
        cls,
        slots: torch.Tensor,
        counts: list[int],
        context_lens: list[int],
        tables: list[list[int]],
        window: int | None,
    ) -> VarlenPlan:
        """The plan for sequences with so many new rows, so many keys with them, these blocks."""
        width = max(map(len, tables))
        numbers = [0, *itertools.accumulate(counts), *context_lens]
        for table in tables:
            numbers += table + [0] * (width - len(table))
        packed = torch.tensor(numbers, dtype=torch.int32).to(slots.device)  # one copy for all
        n = len(counts)
        return cls(
            slots,
            packed[: n + 1],
            packed[n + 1 : 2 * n + 1],
            packed[2 * n + 1 :].view(n, width),
            max(counts),
            max(context_lens),
            window,
        )

    def on_device(self, device: torch.device) -> VarlenPlan:
        """The plan for layers on `device`; itself where it is there."""
        if self.slots.device == device:
            return self
        return replace(
            self,
            slots=self.slots.to(device),
            ends=self.ends.to(device),
            context_lens=self.context_lens.to(device),
            block_tables=self.block_tables.to(device),
        )


class VarlenKV(SdpaKV):
    """A pool that the kernel reads too."""

    def attend(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
    ) -> torch.Tensor:
        plan = self.step.plan(self.group)
        if isinstance(plan, SdpaPlan):
            return self.attend_plan(plan.on_device(queries.device, queries.dtype), queries, keys,
                                    values, scale)  # fmt: skip
        plan = plan.on_device(queries.device)
        self.store_kv(plan.slots, keys, values)
        shape = (*self.keys.shape[:2], self.kv_heads, queries.shape[2])
        return attend_varlen(queries, self.keys.view(shape), self.values.view(shape), plan, scale)


def attend_varlen(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan: VarlenPlan, scale: float
) -> torch.Tensor:
    """Attention of ragged rows over the pool.

    Args:
        queries: [T, heads, head_dim].
        keys, values: [blocks, block_size, kv_heads, head_dim], the step's own included.
        scale: the factor of the scores.

    Returns:
        [T, heads, head_dim]
    """
    attended: torch.Tensor = varlen_attn(
        queries,
        keys,
        values,
        plan.ends,
        None,
        plan.max_query,
        plan.max_context,
        scale=scale,
        # Gemma's window counts the query itself, the kernel's counts what lies before it.
        window_size=(-1 if plan.window is None else plan.window - 1, 0),
        enable_gqa=True,
        seqused_k=plan.context_lens,
        block_table=plan.block_tables,
    )
    return attended


@torch.inference_mode()
def find_block_size(query: BackendQuery) -> int:
    """The smallest block size with which the kernel runs here and is right.

    Raises:
        BackendRejected: there is none; says what went wrong with each.
    """
    if varlen_attn is None:
        raise BackendRejected("this PyTorch has no torch.nn.attention.varlen")
    reasons = []
    for block_size in _BLOCK_SIZES:
        try:
            difference = _largest_difference(query, block_size)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        else:
            if difference is None:
                return block_size
            reason = f"its numbers are wrong, by up to {difference:.3g}"
        reasons.append(f"with blocks of {block_size} tokens: {reason}")
    raise BackendRejected("; ".join(reasons))


def _largest_difference(query: BackendQuery, block_size: int) -> float | None:
    """How far the kernel is from the portable attention; None within the tolerance.

    Two sequences, their blocks in the wrong order, with and without a window.
    """
    device, dtype, config = query.device, query.dtype, query.config
    heads, kv_heads, dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    generator = torch.Generator().manual_seed(0)
    length, scale = block_size + 9, dim**-0.5
    shape = (5, block_size, kv_heads, dim)
    keys, values = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
    queries = torch.randn((4, heads, dim), generator=generator).to(device, dtype)
    slots = torch.zeros(4, dtype=torch.int64, device=device)  # nothing is stored here
    for window in (None, 7):
        plan = VarlenPlan.from_lists(slots, [1, 3], [length, length], [[3, 1], [2, 4]], window)
        attended = attend_varlen(queries, keys, values, plan, scale)
        for rows, table in ((slice(0, 1), [3, 1]), (slice(1, 4), [2, 4])):
            query_rows = queries[rows].transpose(0, 1)
            key, value = (
                pool[table].flatten(0, 1)[:length].transpose(0, 1).repeat_interleave(
                    heads // kv_heads, 0
                )
                for pool in (keys, values)
            )  # fmt: skip
            position = torch.arange(length - query_rows.shape[1], length, device=device)[:, None]
            key_position = torch.arange(length, device=device)
            mask = (key_position <= position) & (key_position > position - (window or length + 1))
            expected = scaled_dot_product_attention(
                query_rows, key, value, attn_mask=mask, scale=scale
            )
            actual = attended[rows].transpose(0, 1)
            if not torch.allclose(actual, expected, rtol=_RTOL, atol=_ATOL):
                return float((actual - expected).abs().max())
    return None
