"""Tries the Triton kernels on the device before they are relied on, against plain PyTorch.

Outputs and unused blocks are NaN beforehand, so that a row that isn't written shows, and so does a
key that isn't the row's.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from bot.engine.attention.base import BackendQuery, BackendRejected, Row, Step
from bot.engine.attention.sdpa import SdpaBackend
from bot.engine.cuda import layer_kernels
from bot.engine.cuda.triton_attention import paged_attention
from bot.engine.cuda.triton_backend import TritonBackend
from bot.engine.prompt import ImageSpan
from bot.engine.schedule.block_manager import BlockTable

_TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.01, torch.bfloat16: 0.04}
_EPS = 1e-6
# Rows long enough to be split.
_DECODE = [Row(BlockTable(([],), [0]), (), 300, 1), Row(BlockTable(([],), [0]), (), 40, 1)]
_MIXED = [
    Row(BlockTable(([],), [0]), (), 280, 1),
    Row(BlockTable(([],), [0]), (ImageSpan(36, 16, ""),), 30, 40),
]


@torch.inference_mode()
def check_kernels(query: BackendQuery) -> None:
    """Compile and try every kernel, in a decode step and in one with a chunk and a picture.

    Raises:
        BackendRejected: a result is wrong. What Triton raises is passed on.
    """
    generator = torch.Generator().manual_seed(0)
    differences = {
        "attention of decode rows": _attention_difference(query, _DECODE, generator),
        "attention of a chunk": _attention_difference(query, _MIXED, generator),
        "the norm kernel": _norm_difference(query, generator),
        "the kernel of norm, RoPE and K/V write": _rope_difference(query, generator),
        "the GELU kernel": _gelu_difference(query, generator),
    }
    for kernel, difference in differences.items():
        if difference > _TOLERANCE[query.dtype]:
            raise BackendRejected(f"{kernel} is wrong here, by up to {difference:.3g}")


def _attention_difference(
    query: BackendQuery, shapes: list[Row], generator: torch.Generator
) -> float:
    """From the portable attention, with and without a window, the blocks in a random order."""
    size, config = query.block_size, query.config
    portable = SdpaBackend(config, query.dtype, size)
    own = TritonBackend(config, query.device, query.dtype, size)
    lengths = [-(-row.end // size) for row in shapes]
    order = (torch.randperm(sum(lengths), generator=generator) + 1).tolist()
    rows = [
        Row(
            BlockTable(([order.pop() for _ in range(length)],), [0]),
            row.spans,
            row.start,
            row.count,
        )
        for row, length in zip(shapes, lengths, strict=True)
    ]
    num_blocks, num_rows = sum(lengths) + 1, sum(row.count for row in rows)
    like = torch.empty(0, dtype=query.dtype, device=query.device)
    step = Step()
    expected_pool = portable.new_pool(step, 0, num_blocks, like)
    pool = own.new_pool(step, 0, num_blocks, like)
    for cache in (expected_pool.keys, expected_pool.values):
        cache.copy_(torch.randn(cache.shape, generator=generator))
    pool.key_cache.copy_(expected_pool.keys.view(pool.key_cache.shape))
    pool.value_cache.copy_(expected_pool.values.view(pool.value_cache.shape))
    for cache in (pool.key_cache, pool.value_cache):
        cache[0] = cache[num_blocks] = math.nan  # nobody's
    heads = _random(query, generator, num_rows, config.num_attention_heads, config.head_dim)
    keys, values = (
        _random(query, generator, num_rows, config.num_key_value_heads, config.head_dim)
        for _ in range(2)
    )
    scale, worst = config.head_dim**-0.5, 0.0
    for window in (None, 50):
        step.begin([portable.plan(rows, 0, window)])
        expected = expected_pool.attend(heads, keys, values, scale)
        plan = own.plan(rows, 0, window)
        plan.fill_workspace(config.num_attention_heads, config.head_dim, math.nan)
        layer_kernels.write_kv(keys, values, plan.slot_mapping, pool.key_cache, pool.value_cache)
        output = torch.full_like(heads, math.nan)
        paged_attention(heads, pool.key_cache, pool.value_cache, plan, scale, output)
        worst = max(worst, _largest(output, expected))
    return worst


def _norm_difference(query: BackendQuery, generator: torch.Generator) -> float:
    hidden_size = query.config.hidden_size
    x, residual = (_random(query, generator, 3, hidden_size) for _ in range(2))
    post_weight, pre_weight = (_random(query, generator, hidden_size).float() for _ in range(2))
    total = residual + _rms_norm(x, post_weight)
    normed = layer_kernels.add_norm(x, residual, post_weight, pre_weight, _EPS)
    first = layer_kernels.rms_norm(x, pre_weight, _EPS)
    return max(
        _largest(residual, total),
        _largest(normed, _rms_norm(total, pre_weight)),
        _largest(first, _rms_norm(x, pre_weight)),
    )


def _rope_difference(query: BackendQuery, generator: torch.Generator) -> float:
    config, size = query.config, query.block_size
    num_heads, num_kv_heads = config.num_attention_heads, config.num_key_value_heads
    head_dim = config.head_dim
    qkv = _random(query, generator, 3, (num_heads + 2 * num_kv_heads) * head_dim)
    weights = _random(query, generator, 2, head_dim).float()
    angles = torch.randn((3, head_dim // 2), generator=generator).to(query.device)
    cos, sin = angles.cos(), angles.sin()
    keys = torch.full(
        (3, size, num_kv_heads, head_dim), math.nan, dtype=query.dtype, device=query.device
    )
    values = keys.clone()
    slots = torch.tensor([1, 2 * size, size], dtype=torch.int32).to(query.device)

    packed = qkv.view(3, -1, head_dim)
    end = num_heads + num_kv_heads
    expected_queries = _rope(_rms_norm(packed[:, :num_heads], weights[0]), cos, sin)
    expected_keys = _rope(_rms_norm(packed[:, num_heads:end], weights[1]), cos, sin)
    expected_values = packed[:, end:].clone()
    queries = layer_kernels.norm_rope_write(qkv, weights, cos, sin, slots, keys, values, _EPS)
    index = slots.long()
    return max(
        _largest(queries, expected_queries),
        _largest(keys.flatten(0, 1)[index], expected_keys),
        _largest(values.flatten(0, 1)[index], expected_values),
    )


def _gelu_difference(query: BackendQuery, generator: torch.Generator) -> float:
    gate_up = _random(query, generator, 3, 2 * query.config.intermediate_size)
    gate, up = gate_up.chunk(2, -1)
    expected = functional.gelu(gate, approximate="tanh") * up
    return _largest(layer_kernels.gelu_mul(gate_up), expected)


def _rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    wide = x.float()
    return (wide * (wide.square().mean(-1, keepdim=True) + _EPS).rsqrt() * weight).to(x.dtype)


def _rope(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = heads.float().chunk(2, -1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def _random(query: BackendQuery, generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator).to(query.device, query.dtype)


def _largest(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, relative where numbers are larger than 1; infinite for NaN."""
    expected = expected.float()
    differences = (actual.float() - expected).abs() / expected.abs().clamp(min=1)
    return float(differences.nan_to_num(math.inf).max())
