"""A prefill chunk on a CPU in bfloat16 goes another way than in float32, to the same place."""

from __future__ import annotations

import pytest
import torch

from bot.engine.attention.sdpa import _attend_chunk


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 1), (4, 2), (8, 8)])
def test_bfloat16_products_agree_with_the_fused_attention(heads: int, kv_heads: int) -> None:
    draw = torch.Generator().manual_seed(heads)
    count, keys, dim = 7, 33, 32
    q = torch.randn((count, heads, dim), generator=draw)
    k, v = (torch.randn((1, kv_heads, keys, dim), generator=draw) for _ in range(2))
    seen = torch.ones(count, keys, dtype=torch.bool).tril(keys - count)
    mask = torch.zeros(count, keys).masked_fill(~seen, float("-inf"))
    want = _attend_chunk(q, k, v, mask, 0.2)
    got = _attend_chunk(*(x.bfloat16() for x in (q, k, v, mask)), 0.2)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), want, rtol=0.05, atol=0.05)
