"""What lies between Gemma 3's matrix products, in three Triton kernels.

A decoder layer is four products, attention, and: the norms of q and k, RoPE and the writes to the
K/V pool; norm, residual and the next norm (twice); GELU times up. transformers' modules launch
some 70 kernels for these, which take longer than the products of a decode step; see docs/batcher.md
for why no library's kernels serve.

Sums and norms are float32. Results are rounded to the tensors' dtype where transformers rounds
them, except within RoPE, which is rounded once, at its end.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def add_norm_kernel(
    x, residual, post_weight, pre_weight, normed, hidden_size, eps,
    HAS_RESIDUAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program (row): residual += norm(x), then the norm that the next products read."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    mask = column < hidden_size
    at = row * hidden_size + column
    hidden = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        weight = tl.load(post_weight + column, mask=mask, other=0.0)
        inv_rms = tl.rsqrt(tl.sum(hidden * hidden, 0) / hidden_size + eps)
        branch = (hidden * inv_rms * weight).to(x.dtype.element_ty).to(tl.float32)
        total = branch + tl.load(residual + at, mask=mask, other=0.0).to(tl.float32)
        total = total.to(x.dtype.element_ty)
        tl.store(residual + at, total, mask=mask)
        hidden = total.to(tl.float32)
    weight = tl.load(pre_weight + column, mask=mask, other=0.0)
    inv_rms = tl.rsqrt(tl.sum(hidden * hidden, 0) / hidden_size + eps)
    tl.store(normed + at, (hidden * inv_rms * weight).to(normed.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize_on_alignment=["slot_mapping"])
def qkv_kernel(
    qkv, head_weights, cos, sin, slot_mapping, key_cache, value_cache, eps,
    qkv_stride, rope_stride, cache_stride_slot, cache_stride_head,
    NUM_HEADS: tl.constexpr, NUM_KV_HEADS: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program (row): norm and RoPE of queries, in place, and of keys; keys and values to the pool.

    A head's vector is two halves, which RoPE rotates against each other.
    """
    row = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, BLOCK)[:, None]
    d = tl.arange(0, HALF)[None, :]
    is_query = head < NUM_HEADS
    is_key = (head >= NUM_HEADS) & (head < NUM_HEADS + NUM_KV_HEADS)
    is_value = (head >= NUM_HEADS + NUM_KV_HEADS) & (head < NUM_HEADS + 2 * NUM_KV_HEADS)
    at = qkv + row * qkv_stride + head * (2 * HALF) + d
    mask = is_query | is_key | is_value
    first, second = tl.load(at, mask=mask, other=0.0), tl.load(at + HALF, mask=mask, other=0.0)

    dtype = qkv.dtype.element_ty
    x, y = first.to(tl.float32), second.to(tl.float32)
    inv_rms = tl.rsqrt((tl.sum(x * x, 1) + tl.sum(y * y, 1)) / (2 * HALF) + eps)[:, None]
    weight = head_weights + tl.where(is_query, 0, 2 * HALF) + d
    x = (x * inv_rms * tl.load(weight)).to(dtype).to(tl.float32)
    y = (y * inv_rms * tl.load(weight + HALF)).to(dtype).to(tl.float32)
    c, s = tl.load(cos + row * rope_stride + d), tl.load(sin + row * rope_stride + d)
    rotated_first, rotated_second = (x * c - y * s).to(dtype), (y * c + x * s).to(dtype)

    query_mask = is_query & (d < HALF)
    tl.store(at, rotated_first, mask=query_mask)
    tl.store(at + HALF, rotated_second, mask=query_mask)
    slot = tl.load(slot_mapping + row).to(tl.int64) * cache_stride_slot
    key_at = key_cache + slot + (head - NUM_HEADS) * cache_stride_head + d
    key_mask = is_key & (d < HALF)
    tl.store(key_at, rotated_first, mask=key_mask)
    tl.store(key_at + HALF, rotated_second, mask=key_mask)
    value_at = value_cache + slot + (head - NUM_HEADS - NUM_KV_HEADS) * cache_stride_head + d
    value_mask = is_value & (d < HALF)
    tl.store(value_at, first, mask=value_mask)
    tl.store(value_at + HALF, second, mask=value_mask)


@triton.jit
def gelu_mul_kernel(gate_up, output, intermediate_size, BLOCK: tl.constexpr):
    """Program (row, stretch): the tanh approximation of GELU(gate), times up."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = column < intermediate_size
    gate = tl.load(gate_up + row * 2 * intermediate_size + column, mask=mask, other=0.0)
    up = tl.load(gate_up + (row * 2 + 1) * intermediate_size + column, mask=mask, other=0.0)
    x = gate.to(tl.float32)
    # x * (1 + tanh(z)) / 2 = x * sigmoid(2 z), z = sqrt(2 / pi) * (x + 0.044715 x^3)
    gelu = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    product = gelu.to(gate.dtype).to(tl.float32) * up.to(tl.float32)
    tl.store(output + row * intermediate_size + column, product.to(gate.dtype), mask=mask)


@triton.jit(do_not_specialize_on_alignment=["slot_mapping"])
def write_kv_kernel(
    keys, values, slot_mapping, key_cache, value_cache,
    key_stride_row, key_stride_head, value_stride_row, value_stride_head,
    cache_stride_slot, cache_stride_head,
    HEAD_DIM: tl.constexpr,
):  # fmt: skip
    """Program (row, K/V head): one head's key and value to the pool."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    d = tl.arange(0, HEAD_DIM)
    slot = tl.load(slot_mapping + row).to(tl.int64)
    to = slot * cache_stride_slot + head * cache_stride_head + d
    key = tl.load(keys + row * key_stride_row + head * key_stride_head + d)
    tl.store(key_cache + to, key)
    value = tl.load(values + row * value_stride_row + head * value_stride_head + d)
    tl.store(value_cache + to, value)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Gemma's norm of rows [T, hidden]; `weight` [hidden] float32 has its 1 added."""
    normed = torch.empty_like(x)
    _add_norm(x, None, weight, weight, normed, eps)
    return normed


def add_norm(
    x: torch.Tensor,
    residual: torch.Tensor,
    post_weight: torch.Tensor,
    pre_weight: torch.Tensor,
    eps: float,
) -> torch.Tensor:
    """Add the norm of `x` to `residual`, in place; the norm of the sum.

    Args:
        x, residual: [T, hidden], contiguous.
        post_weight, pre_weight: of the first and of the second norm, [hidden] float32, 1 added.

    Returns:
        [T, hidden]
    """
    normed = torch.empty_like(x)
    _add_norm(x, residual, post_weight, pre_weight, normed, eps)
    return normed


def _add_norm(
    x: torch.Tensor,
    residual: torch.Tensor | None,
    post_weight: torch.Tensor,
    pre_weight: torch.Tensor,
    normed: torch.Tensor,
    eps: float,
) -> None:
    rows, hidden_size = x.shape
    block = triton.next_power_of_2(hidden_size)
    add_norm_kernel[rows,](
        x, x if residual is None else residual, post_weight, pre_weight, normed, hidden_size, eps,
        HAS_RESIDUAL=residual is not None, BLOCK=block, num_warps=min(max(block // 512, 1), 16),
    )  # fmt: skip


def norm_rope_write(
    qkv: torch.Tensor,
    head_weights: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    slot_mapping: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    eps: float,
) -> torch.Tensor:
    """Norms and RoPE of queries and keys; keys and values to the pool.

    Args:
        qkv: [T, (heads + 2 * kv_heads) * head_dim], contiguous; its queries are overwritten.
        head_weights: of q's norm and of k's, [2, head_dim] float32, 1 added.
        cos, sin: [T, head_dim / 2] float32; rows may be strided.
        slot_mapping: [T] int32.
        key_cache, value_cache: [blocks, block_size, kv_heads, head_dim].

    Returns:
        The queries [T, heads, head_dim], a view of `qkv`.
    """
    num_kv_heads, head_dim = key_cache.shape[2:]
    rows, num_heads = len(qkv), qkv.shape[1] // head_dim - 2 * num_kv_heads
    block = triton.next_power_of_2(num_heads + 2 * num_kv_heads)
    qkv_kernel[rows,](
        qkv, head_weights, cos, sin, slot_mapping, key_cache, value_cache, eps,
        qkv.stride(0), cos.stride(0), key_cache.stride(1), key_cache.stride(2),
        NUM_HEADS=num_heads, NUM_KV_HEADS=num_kv_heads, HALF=head_dim // 2, BLOCK=block,
        num_warps=min(max(block * head_dim // 1024, 1), 8),
    )  # fmt: skip
    return qkv.view(rows, -1, head_dim)[:, :num_heads]


def gelu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """GELU (tanh) of the first half of the columns, times the second: [T, 2 n] to [T, n]."""
    rows, intermediate_size = len(gate_up), gate_up.shape[1] // 2
    output = torch.empty((rows, intermediate_size), dtype=gate_up.dtype, device=gate_up.device)
    block = min(1024, triton.next_power_of_2(intermediate_size))
    gelu_mul_kernel[rows, triton.cdiv(intermediate_size, block)](
        gate_up, output, intermediate_size, BLOCK=block, num_warps=4
    )
    return output


def write_kv(
    keys: torch.Tensor,
    values: torch.Tensor,
    slot_mapping: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
) -> None:
    """Write keys and values [T, kv_heads, head_dim] to the pool's slots [T] int32."""
    rows, num_kv_heads, head_dim = keys.shape
    write_kv_kernel[rows, num_kv_heads](
        keys, values, slot_mapping, key_cache, value_cache,
        keys.stride(0), keys.stride(1), values.stride(0), values.stride(1),
        key_cache.stride(1), key_cache.stride(2),
        HEAD_DIM=head_dim, num_warps=1,
    )  # fmt: skip
