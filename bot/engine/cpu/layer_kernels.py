"""int8 decoder layer kernels for `fused_model.py` (attention is in `attention_kernel.py`).

numba compiles them once and caches them on disk. A *job* is a C struct of addresses and sizes
(`JOB`). A kernel runs on all threads of PyTorch's OpenMP pool at once (`run_parallel`). Its stages
are divided into work items, which threads take one by one; a barrier separates two stages. Python's
lock is released meanwhile.

Every stage processes each row by itself in a fixed order, and sums of 8-bit products are integers,
so a row's result depends on that row alone, to the last bit.

Importing this raises if importing `jit.py` does.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from numba import carray, from_dtype, types

from bot.engine.cpu import attention_kernel
from bot.engine.cpu.jit import (
    ACTIVATION_DTYPE,
    DOT_DEPTH,
    MAX_TILE_ROWS,
    PANEL_WIDTH,
    ROUNDING_MAGIC,
    STEP_BYTES,
    as_pointer,
    compile_kernel,
    fast_exp,
    inner,
    max_magnitude,
    multiply_tile,
    regrouped,
    work_items,
)

_MAX_WORK_ITEMS = 32  # per matrix product, at most
_PANELS_PER_SLICE = 512  # panels packed at once, to limit temporary memory


class Stage(IntEnum):
    """Stages of a decoder layer: indices of their work counters, in order of execution."""

    QUANTIZE_ATTENTION_INPUT = 0
    QKV_PRODUCT = 1
    ROPE_AND_STORE = 2
    ATTENTION = 3
    QUANTIZE_ATTENDED = 4
    OUT_PRODUCT = 5
    QUANTIZE_MLP_INPUT = 6
    GATE_UP_PRODUCT = 7
    QUANTIZE_GATED = 8
    DOWN_PRODUCT = 9
    ADD_MLP_OUTPUT = 10


class LinearStage(IntEnum):
    """Stages of a linear layer alone."""

    QUANTIZE = 0
    PRODUCT = 1


LINEAR = np.dtype([(name, np.int64) for name in ("weights", "scales", "num_panels", "num_steps")])
"""A packed weight: uint8 [panels, steps, 32, DOT_DEPTH], float32 [panels * 32], and the sizes."""
POOL = np.dtype(
    [
        # Laid out as attention_kernel.py says: int16, and float32 [blocks, kv_heads, block_size].
        ("keys", np.int64),
        ("values", np.int64),
        ("key_scales", np.int64),
        ("value_scales", np.int64),
        ("block_size", np.int64),  # tokens
        ("qmax", np.int64),  # the largest quantized key or value
        # The arrays of a `PackedPlan`.
        ("slot_mapping", np.int64),
        ("first_visible", np.int64),
        ("last_visible", np.int64),
        ("block_tables", np.int64),
        ("tiles", np.int64),
        ("num_tiles", np.int64),
    ]
)
"""A layer's K/V pool and the step's plan for it."""

JOB = np.dtype(
    [
        ("num_layers", np.int64),  # consecutive jobs from this one on, one per layer
        ("work_counters", np.int64),  # int64 [len(Stage)], zeros: work items taken
        ("num_rows", np.int64),
        ("rows", np.int64),  # float32 [num_rows, width]: the residual stream
        ("width", np.int64),
        ("eps", np.float64),
        # Of the current linear layer: quantized rows, ACTIVATION_DTYPE [num_rows, inputs]; their
        # scales, float32 [num_rows]; the initial values of their sums, which compensate for the
        # weights' zero point, int32 [num_rows]; and the product, float32 [num_rows, outputs].
        ("activations", np.int64),
        ("row_scales", np.int64),
        ("zero_point_sums", np.int64),
        ("product", np.int64),
        # Only for `run_linear`.
        ("linear", LINEAR),
        ("unit_scales", np.int64),  # float32 [num_rows], all 1
        # Attention and its input.
        ("before_attention", np.int64),  # norm weights: float32 [width]
        ("qkv", LINEAR),
        ("qkv_states", np.int64),  # float32 [num_rows, outputs of qkv]
        ("head_norms", np.int64),  # float32 [query_heads + kv_heads, head_dim]
        ("head_dim", np.int64),
        ("cos", np.int64),  # float32 [num_rows, head_dim]
        ("sin", np.int64),  # the same; its first half is negated
        ("query_heads", np.int64),
        ("kv_heads", np.int64),
        ("attention_scale", np.float64),
        ("scratch", np.int64),  # `scratch_bytes` for each thread
        ("scratch_bytes", np.int64),
        ("pool", POOL),
        # After attention.
        ("attended", np.int64),  # float32 [num_rows, attention_width]
        ("attention_width", np.int64),
        ("out", LINEAR),
        ("after_attention", np.int64),
        ("before_mlp", np.int64),
        ("gate_up", LINEAR),
        ("gated", np.int64),  # float32 [num_rows, outputs of gate_up]: gate, then up
        ("intermediate_size", np.int64),  # of gate and up each
        ("down", LINEAR),
        ("after_mlp", np.int64),
    ]
)
_KERNEL = types.void(types.CPointer(from_dtype(JOB)))

_F = np.float32
_ZERO, _ONE = _F(0), _F(1)
_TINY, _INFINITY = _F(1e-30), _F(np.inf)


def pack_weight(weight: torch.Tensor) -> torch.Tensor:
    """Pack an int8 weight [out, in] for the kernels: uint8 [panels, steps, 32, DOT_DEPTH].

    The instruction multiplies unsigned by signed bytes, so weights are stored with a zero point of
    128, for which `zero_point_sums` compensate. The padding of the last panel and step is 0, which
    adds nothing to a sum.
    """
    outputs, inputs = weight.shape
    panels, steps = -(-outputs // PANEL_WIDTH), -(-inputs // DOT_DEPTH)
    packed = torch.zeros((panels, steps, PANEL_WIDTH, DOT_DEPTH), dtype=torch.uint8)
    slabs, parts = (
        torch.split(packed, _PANELS_PER_SLICE),
        torch.split(weight, _PANELS_PER_SLICE * PANEL_WIDTH),
    )
    for slab, rows in zip(slabs, parts, strict=True):
        filled = torch.zeros((len(slab) * PANEL_WIDTH, steps * DOT_DEPTH), dtype=torch.uint8)
        torch.bitwise_xor(rows.view(torch.uint8), 128, out=filled[: len(rows), :inputs])
        slab.copy_(filled.view(-1, PANEL_WIDTH, steps, DOT_DEPTH).transpose(1, 2))
    return packed


@inner
def _float_row(address: Any, row: Any, length: Any) -> Any:
    """Row `row` of a float32 matrix with `length` columns."""
    return carray(as_pointer(address + 4 * row * length), length, _F)


@regrouped
def _inv_rms(row: Any, eps: Any) -> Any:
    """1 / the root mean square of a row; `reassoc` allows 16 partial sums."""
    total = _ZERO
    for value in row:
        total += value * value
    return _ONE / _F(math.sqrt(_F(total / _F(row.size)) + _F(eps)))


@inner
def _gelu_gate(gate: Any, up: Any) -> None:
    """gate = gelu(gate) * up, with the tanh of `gelu_pytorch_tanh` written as exp."""
    for i in range(gate.size):
        x = gate[i]
        t = _F(-1.5957691) * (x + _F(0.044715) * x * x * x)
        t = t if t < _F(87) else _F(87)  # also for NaN, which x propagates
        t = t if t > _F(-87) else _F(-87)
        gate[i] = x / (_ONE + fast_exp(t)) * up[i]


@inner
def _quantize_row(row: Any, job: Any, at: Any, steps: Any) -> None:
    """Quantize a linear layer's input row `at` to 8 bits by its own largest value.

    If a value isn't finite, neither is the row's scale, nor any of its product. A row smaller than
    1e-30 counts as zeros.
    """
    largest = max_magnitude(row)
    levels = carray(
        as_pointer(job.activations + at * steps * STEP_BYTES), row.size, ACTIVATION_DTYPE
    )
    total = np.int32(0)
    if _TINY < largest < _INFINITY:
        factor = _F(127) / largest
        for i in range(row.size):
            level = np.int32((row[i] * factor + ROUNDING_MAGIC) - ROUNDING_MAGIC)
            levels[i] = level
            total = np.int32(total + level)
    else:
        levels[:] = 0
    _float_row(job.row_scales, at, 1)[0] = largest * _F(1 / 127)
    # Compensates for the weights' zero point of 128.
    carray(as_pointer(job.zero_point_sums + 4 * at), 1, np.int32)[0] = np.int32(-128) * total


@inner
def _norm_quantize_row(row: Any, norm: Any, scratch: Any, job: Any, at: Any, steps: Any) -> None:
    """Apply an RMS norm to a row and quantize it."""
    inv_rms = _inv_rms(row, job.eps)
    for i in range(row.size):
        scratch[i] = row[i] * inv_rms * norm[i]
    _quantize_row(scratch, job, at, steps)


@inner
def _add_normed(row: Any, update: Any, norm: Any, eps: Any) -> None:
    """row += norm(update)"""
    inv_rms = _inv_rms(update, eps)
    for i in range(row.size):
        row[i] += update[i] * inv_rms * norm[i]


@inner
def _norm_rope(head: Any, norm: Any, cos: Any, sin: Any, eps: Any) -> None:
    """Apply one head's norm and RoPE (rotating halves) in place."""
    inv_rms = _inv_rms(head, eps)
    half = head.size // 2
    for i in range(half):
        one, two = head[i] * inv_rms * norm[i], head[i + half] * inv_rms * norm[i + half]
        head[i] = one * cos[i] + two * sin[i]
        head[i + half] = two * cos[i + half] + one * sin[i + half]


@inner
def _multiply_panel(job: Any, linear: Any, number: Any, row_scales: Any, out: Any) -> None:
    """Compute one panel's outputs for all rows."""
    weights = linear.weights + number * linear.num_steps * (PANEL_WIDTH * DOT_DEPTH)
    scales, width = linear.scales + number * (4 * PANEL_WIDTH), linear.num_panels * PANEL_WIDTH
    out += number * (4 * PANEL_WIDTH)
    row, left = 0, job.num_rows
    while left > 0:
        levels, starts = (
            job.activations + row * linear.num_steps * STEP_BYTES,
            job.zero_point_sums + 4 * row,
        )
        row_scale, place = row_scales + 4 * row, out + 4 * row * width
        if left >= MAX_TILE_ROWS:
            multiply_tile(
                MAX_TILE_ROWS,
                weights,
                linear.num_steps,
                scales,
                levels,
                starts,
                row_scale,
                place,
                width,
            )
            done = MAX_TILE_ROWS
        elif left >= 4:
            multiply_tile(
                4, weights, linear.num_steps, scales, levels, starts, row_scale, place, width
            )
            done = 4
        elif left >= 2:
            multiply_tile(
                2, weights, linear.num_steps, scales, levels, starts, row_scale, place, width
            )
            done = 2
        else:
            multiply_tile(
                1, weights, linear.num_steps, scales, levels, starts, row_scale, place, width
            )
            done = 1
        row += done
        left -= done


@inner
def _multiply_rows(job: Any, stage: Any, linear: Any, row_scales: Any, out: Any) -> None:
    """Multiply the quantized rows by a weight, to float32 [num_rows, outputs] at `out`."""
    panels_per_item = (linear.num_panels + _MAX_WORK_ITEMS - 1) // _MAX_WORK_ITEMS
    for item in work_items(job.work_counters + 8 * stage, _MAX_WORK_ITEMS):
        for number in range(
            item * panels_per_item, min(item * panels_per_item + panels_per_item, linear.num_panels)
        ):
            _multiply_panel(job, linear, number, row_scales, out)


@inner
def _quantize_attention_input(job: Any, stage: Any) -> None:
    """Apply the norm and quantize for q, k and v."""
    norm = _float_row(job.before_attention, 0, job.width)
    for row in work_items(job.work_counters + 8 * stage, job.num_rows):
        scratch = _float_row(job.product, row, job.width)
        _norm_quantize_row(
            _float_row(job.rows, row, job.width), norm, scratch, job, row, job.qkv.num_steps
        )


@inner
def _rope_and_store(job: Any, stage: Any) -> None:
    """Apply q's and k's norms and RoPE; store keys and values in the pool."""
    for row in work_items(job.work_counters + 8 * stage, job.num_rows):
        states = job.qkv_states + 4 * row * job.qkv.num_panels * PANEL_WIDTH
        cos, sin = _float_row(job.cos, row, job.head_dim), _float_row(job.sin, row, job.head_dim)
        for number in range(job.query_heads + job.kv_heads):
            head, norm = (
                _float_row(states, number, job.head_dim),
                _float_row(job.head_norms, number, job.head_dim),
            )
            _norm_rope(head, norm, cos, sin, job.eps)
        keys, slot = states + 4 * job.query_heads * job.head_dim, job.pool.slot_mapping + 8 * row
        attention_kernel.store_kv(keys, slot, job.pool, job.kv_heads, job.head_dim)


@inner
def _quantize_rows(job: Any, stage: Any, rows: Any, width: Any, steps: Any) -> None:
    """Quantize float32 [num_rows, width]."""
    for row in work_items(job.work_counters + 8 * stage, job.num_rows):
        _quantize_row(_float_row(rows, row, width), job, row, steps)


@inner
def _quantize_mlp_input(job: Any, stage: Any) -> None:
    """Add attention's output, apply the norm and quantize for gate and up."""
    post_norm, pre_norm = (
        _float_row(job.after_attention, 0, job.width),
        _float_row(job.before_mlp, 0, job.width),
    )
    for row in work_items(job.work_counters + 8 * stage, job.num_rows):
        rows = _float_row(job.rows, row, job.width)
        update = carray(
            as_pointer(job.product + 4 * row * job.out.num_panels * PANEL_WIDTH), job.width, _F
        )
        _add_normed(rows, update, post_norm, job.eps)
        _norm_quantize_row(rows, pre_norm, update, job, row, job.gate_up.num_steps)


@inner
def _quantize_gated(job: Any, stage: Any) -> None:
    """Compute gelu(gate) * up and quantize for down."""
    for row in work_items(job.work_counters + 8 * stage, job.num_rows):
        both = job.gated + 4 * row * job.gate_up.num_panels * PANEL_WIDTH
        gate, up = (
            _float_row(both, 0, job.intermediate_size),
            _float_row(both, 1, job.intermediate_size),
        )
        _gelu_gate(gate, up)
        _quantize_row(gate, job, row, job.down.num_steps)


@inner
def _add_mlp_output(job: Any, stage: Any) -> None:
    """Add the MLP's output."""
    norm = _float_row(job.after_mlp, 0, job.width)
    for row in work_items(job.work_counters + 8 * stage, job.num_rows):
        update = carray(
            as_pointer(job.product + 4 * row * job.down.num_panels * PANEL_WIDTH), job.width, _F
        )
        _add_normed(_float_row(job.rows, row, job.width), update, norm, job.eps)


@compile_kernel(_KERNEL)
def run_layers(address: Any) -> None:
    """Run all decoder layers, one job each; updates `rows` in place."""
    for job in carray(address, carray(address, 1)[0].num_layers):
        _quantize_attention_input(job, Stage.QUANTIZE_ATTENTION_INPUT)
        _multiply_rows(job, Stage.QKV_PRODUCT, job.qkv, job.row_scales, job.qkv_states)
        _rope_and_store(job, Stage.ROPE_AND_STORE)
        attention_kernel.attend_rows(job, Stage.ATTENTION)
        _quantize_rows(
            job, Stage.QUANTIZE_ATTENDED, job.attended, job.attention_width, job.out.num_steps
        )
        _multiply_rows(job, Stage.OUT_PRODUCT, job.out, job.row_scales, job.product)
        _quantize_mlp_input(job, Stage.QUANTIZE_MLP_INPUT)
        _multiply_rows(job, Stage.GATE_UP_PRODUCT, job.gate_up, job.row_scales, job.gated)
        _quantize_gated(job, Stage.QUANTIZE_GATED)
        _multiply_rows(job, Stage.DOWN_PRODUCT, job.down, job.row_scales, job.product)
        _add_mlp_output(job, Stage.ADD_MLP_OUTPUT)


@compile_kernel(_KERNEL)
def run_linear(address: Any) -> None:
    """Run one linear layer: `rows` to `product`, not yet multiplied by `row_scales`."""
    job = carray(address, 1)[0]
    _quantize_rows(job, LinearStage.QUANTIZE, job.rows, job.width, job.linear.num_steps)
    _multiply_rows(job, LinearStage.PRODUCT, job.linear, job.unit_scales, job.product)
