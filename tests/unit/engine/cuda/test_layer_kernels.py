"""The kernels between matrix products, in Triton's interpreter, against transformers' modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers.models.gemma3.modeling_gemma3 import (
    Gemma3MLP,
    Gemma3RMSNorm,
    Gemma3RotaryEmbedding,
    apply_rotary_pos_emb,
)

from bot.engine.cuda import layer_kernels
from tests.support import models
from tests.support.triton_interpreter import patch_once, real_bfloat16

patch_once()

pytestmark = pytest.mark.usefixtures("one_thread")
EPS = 1e-6
DTYPES = [torch.float32, torch.bfloat16]


def norm(size: int) -> Any:
    module = Gemma3RMSNorm(size, EPS)
    module.weight.data = torch.randn(size)
    return module


def factor(module: Any) -> torch.Tensor:
    return module.weight.detach() + 1


def assert_close(actual: torch.Tensor, expected: torch.Tensor, ulps: int = 0) -> None:
    """Within float32's rounding; in bfloat16, within so many of its steps."""
    tolerance = 2e-6 if actual.dtype == torch.float32 else ulps * 2**-8
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    with real_bfloat16():
        yield


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden", [640, 1152, 64])
def test_norms_and_residual(dtype: torch.dtype, hidden: int) -> None:
    before, after = norm(hidden), norm(hidden)
    x, residual = (torch.randn(3, hidden).to(dtype) for _ in range(2))
    total = residual + before(x)
    assert_close(layer_kernels.rms_norm(x, factor(before), EPS), before(x), ulps=1)
    normed = layer_kernels.add_norm(x, residual, factor(before), factor(after), EPS)
    assert_close(residual, total, ulps=1)
    assert_close(normed, after(total), ulps=2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["sliding_attention", "full_attention"])
def test_queries_keys_and_values(dtype: torch.dtype, kind: str) -> None:
    config = models.text_config(64)
    heads, kv_heads, dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    q_norm, k_norm = norm(dim), norm(dim)
    positions = torch.tensor([0, 5, 4000, 131_000])
    slots = torch.tensor([7, 0, 11, 2], dtype=torch.int32)
    qkv = torch.randn(4, (heads + 2 * kv_heads) * dim).to(dtype)
    caches = [torch.zeros(3, 4, kv_heads, dim, dtype=dtype) for _ in range(2)]
    queries, keys, values = (
        part.view(1, 4, -1, dim).transpose(1, 2)
        for part in qkv.clone().split([heads * dim, kv_heads * dim, kv_heads * dim], -1)
    )
    cos, sin = Gemma3RotaryEmbedding(config)(torch.empty(0), positions[None], kind)
    queries, keys = apply_rotary_pos_emb(q_norm(queries).float(), k_norm(keys).float(), cos, sin)

    rotated = layer_kernels.norm_rope_write(
        qkv, torch.stack([factor(q_norm), factor(k_norm)]), cos[0, :, : dim // 2],
        sin[0, :, : dim // 2], slots, *caches, EPS,
    )  # fmt: skip
    assert_close(rotated, queries[0].transpose(0, 1).to(dtype), ulps=2)
    written = [cache.flatten(0, 1)[slots.long()] for cache in caches]
    assert_close(written[0], keys[0].transpose(0, 1).to(dtype), ulps=2)
    assert torch.equal(written[1], values[0].transpose(0, 1))
    untouched = torch.ones(12, dtype=torch.bool)
    untouched[slots.long()] = False
    assert all(not cache.flatten(0, 1)[untouched].any() for cache in caches)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("intermediate", [2048, 96])
@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # and 1 / inf is 0, as it should
def test_gated_gelu(dtype: torch.dtype, intermediate: int) -> None:
    config = models.text_config(64)
    config.hidden_size, config.intermediate_size = 32, intermediate
    mlp = Gemma3MLP(config).to(dtype)
    rows = torch.cat([torch.randn(2, 32), torch.full((1, 32), 30.0), torch.full((1, 32), -30.0)])
    rows = rows.to(dtype)
    gate_up = torch.cat([mlp.gate_proj(rows), mlp.up_proj(rows)], -1) * 4
    gate, up = gate_up.chunk(2, -1)
    expected = mlp.act_fn(gate) * up
    if dtype == torch.float32:  # PyTorch's own loses digits where tanh is nearly -1
        expected = (mlp.act_fn(gate.double()) * up.double()).float()
    assert_close(layer_kernels.gelu_mul(gate_up), expected, ulps=1)


def test_keys_and_values_are_written_from_strided_rows() -> None:
    packed = torch.randn(3, 6, 16)
    slots = torch.tensor([5, 1, 2], dtype=torch.int32)
    caches = [torch.zeros(2, 4, 2, 16) for _ in range(2)]
    layer_kernels.write_kv(packed[:, 2:4], packed[:, 4:], slots, *caches)
    assert torch.equal(caches[0].flatten(0, 1)[slots.long()], packed[:, 2:4])
    assert torch.equal(caches[1].flatten(0, 1)[slots.long()], packed[:, 4:])
