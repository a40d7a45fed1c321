"""The paged kernel on CUDA: PyTorch's own `varlen_attn` (flash attention) with block tables.

It reads the pool where it lies, for decoding rows and prefill chunks in one call, and `prepare`
tries it against the portable attention before it is relied on. A step with a picture's soft tokens
in it takes the portable way: they see each other in both directions, which this kernel can't.

Not run on a GPU yet. The tests run it on a CPU with an emulated kernel, which shows that plans and
masks are right, not how quick it is.
"""

from __future__ import annotations

import itertools
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

varlen_attn: Any = None
with suppress(ImportError):  # it came with PyTorch 2.10 or so
    from torch.nn.attention import varlen

    varlen_attn = varlen.varlen_attn

log = logging.getLogger(__name__)

_SIZES = (16, 256)
"""Tokens a block, in order of preference: flash attention 2 takes multiples of 256 only."""


@dataclass(slots=True)
class PagedPlan:
    """One step as the kernel wants it, all int32 on the device.

    `ends` [n + 1]: where each sequence's rows end, 0 first. `used` [n]: each one's keys.
    `tables` [n, width]: whose block is where.
    """

    ends: torch.Tensor
    used: torch.Tensor
    tables: torch.Tensor
    longest_query: int
    longest_key: int
    window: int | None

    @classmethod
    def of(
        cls,
        counts: list[int],
        lengths: list[int],
        tables: list[list[int]],
        window: int | None,
        device: torch.device,
    ) -> PagedPlan:
        """For sequences with so many new rows, so many keys with them, and these blocks."""
        width = max(map(len, tables))
        numbers = [0, *itertools.accumulate(counts), *lengths]
        for table in tables:
            numbers += table + [0] * (width - len(table))
        packed = torch.tensor(numbers, dtype=torch.int32).to(device)  # one copy for all
        n = len(counts)
        return cls(
            packed[: n + 1],
            packed[n + 1 : 2 * n + 1],
            packed[2 * n + 1 :].view(n, width),
            max(counts),
            max(lengths),
            window,
        )

    def to(self, device: torch.device) -> PagedPlan:
        """The plan for layers on another device."""
        return replace(
            self,
            ends=self.ends.to(device),
            used=self.used.to(device),
            tables=self.tables.to(device),
        )


def attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan: PagedPlan, scale: float
) -> torch.Tensor:
    """Attention of ragged rows over the pool.

    Args:
        queries: [T, heads, d].
        keys, values: [blocks, block_size, kv_heads, d], the step's own included.
        scale: what scores are multiplied by.

    Returns:
        [T, heads, d]
    """
    found: torch.Tensor = varlen_attn(
        queries,
        keys,
        values,
        plan.ends,
        None,
        plan.longest_query,
        plan.longest_key,
        scale=scale,
        # Gemma's window counts the query itself, the kernel's counts what lies before it.
        window_size=(-1 if plan.window is None else plan.window - 1, 0),
        enable_gqa=True,
        seqused_k=plan.used,
        block_table=plan.tables,
    )
    return found


@torch.inference_mode()
def prepare(
    device: torch.device, dtype: torch.dtype, heads: int, kv_heads: int, dim: int
) -> int | None:
    """Tokens a block with which the kernel works here and agrees with the portable attention.

    None: it doesn't; the portable attention it is.
    """
    if varlen_attn is None or dtype == torch.float32:
        return None
    for size in _SIZES:
        try:
            if _agrees(size, device, dtype, heads, kv_heads, dim):
                return size
        except Exception as error:
            log.info("no paged attention with blocks of %d tokens: %s", size, error)
    return None


def _agrees(
    size: int, device: torch.device, dtype: torch.dtype, heads: int, kv_heads: int, dim: int
) -> bool:
    """Two sequences, their blocks in the wrong order, with and without a window."""
    draw = torch.Generator().manual_seed(0)
    length, scale = size + 9, dim**-0.5
    shape = (5, size, kv_heads, dim)
    keys, values = (torch.randn(shape, generator=draw).to(device, dtype) for _ in range(2))
    queries = torch.randn((4, heads, dim), generator=draw).to(device, dtype)
    for window in (None, 7):
        plan = PagedPlan.of([1, 3], [length, length], [[3, 1], [2, 4]], window, device)
        found = attend(queries, keys, values, plan, scale)
        for rows, table in ((slice(0, 1), [3, 1]), (slice(1, 4), [2, 4])):
            query = queries[rows].transpose(0, 1)
            key, value = (
                pool[table].flatten(0, 1)[:length].transpose(0, 1).repeat_interleave(
                    heads // kv_heads, 0
                )
                for pool in (keys, values)
            )  # fmt: skip
            at = torch.arange(length - query.shape[1], length, device=device)[:, None]
            seen = torch.arange(length, device=device)
            mask = (seen <= at) & (seen > at - (window or length + 1))
            want = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
            if not torch.allclose(found[rows].transpose(0, 1), want, rtol=0.05, atol=0.02):
                return False
    return True
