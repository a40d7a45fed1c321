"""8-bit decoder layer kernels for `fused_model.py` (attention is `attention_kernel.py`).

Compiled by numba once and kept on disk. A *job* is a C struct of addresses and sizes (`JOB`). A
function that is given one runs on every thread of PyTorch's own OpenMP pool at once (`run`): its
stages are cut into shares, a thread takes the next when it has done its last, and between two
stages all wait for one another. Python's lock is free meanwhile.

Every stage works on one row at a time, in the same order whoever else is in the batch, and sums of
8-bit products are whole numbers. So a row's result depends on that row alone, to the last bit.

Importing this raises where `jit.py` does.
"""

from __future__ import annotations

import math
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

_MAX_WORK_ITEMS = 32  # into how many shares a product is cut, at most
_PANELS_PER_SLICE = 512  # panels packed at once
NUM_STAGES = 11
"""Stages of a layer."""

LINEAR = np.dtype([(name, np.int64) for name in ("weights", "scales", "num_panels", "num_steps")])
"""A packed weight: uint8 [panels, steps, 32, DEPTH], float32 [panels * 32], and the sizes."""
POOL = np.dtype(
    [
        # As attention_kernel.py lays them: int16, and float32 [blocks, kv_heads, size].
        ("keys", np.int64),
        ("values", np.int64),
        ("key_scales", np.int64),
        ("value_scales", np.int64),
        ("block_size", np.int64),  # tokens a block
        ("qmax", np.int64),  # the largest key or value
        # `PackedPlan`'s.
        ("slot_mapping", np.int64),
        ("first_visible", np.int64),
        ("last_visible", np.int64),
        ("block_tables", np.int64),
        ("tiles", np.int64),
        ("num_tiles", np.int64),
    ]
)
"""A layer's K/V and who reads what of it in this step."""

JOB = np.dtype(
    [
        ("num_layers", np.int64),  # jobs that lie one behind another, this one included
        (
            "work_counters",
            np.int64,
        ),  # int64 [STAGES]: how many shares of each stage are taken; zeros
        ("num_rows", np.int64),  # rows
        ("rows", np.int64),  # float32 [count, width]: what flows through the model
        ("width", np.int64),
        ("eps", np.float64),
        # For whichever linear layer is at hand: its rows in 8 bits, LEVEL [count, inputs]; what
        # each is to be multiplied by, float32 [count]; where its sums start, int32 [count]; and
        # its product, float32 [count, outputs].
        ("activations", np.int64),
        ("row_scales", np.int64),
        ("zero_points", np.int64),
        ("product", np.int64),
        # A linear layer alone.
        ("linear", LINEAR),
        ("unit_scales", np.int64),  # float32 [count]
        # Attention and before.
        ("before_attention", np.int64),  # norms: float32 [width]
        ("qkv", LINEAR),
        ("qkv_states", np.int64),  # float32 [count, outputs of qkv]
        ("head_norms", np.int64),  # float32 [query_heads + kv_heads, dim]
        ("head_dim", np.int64),
        ("cos", np.int64),  # float32 [count, dim]
        ("sin", np.int64),  # the same; the first half carries the rotation's minus
        ("query_heads", np.int64),
        ("kv_heads", np.int64),
        ("attention_scale", np.float64),
        ("scratch", np.int64),  # of each thread, `scratch_bytes` bytes
        ("scratch_bytes", np.int64),
        ("pool", POOL),
        # After attention.
        ("attended", np.int64),  # float32 [count, attention_width]
        ("attention_width", np.int64),
        ("out", LINEAR),
        ("after_attention", np.int64),
        ("before_mlp", np.int64),
        ("gate_up", LINEAR),
        ("gated", np.int64),  # float32 [count, outputs of gate_up]: gate, then up
        ("intermediate_size", np.int64),  # how many each
        ("down", LINEAR),
        ("after_mlp", np.int64),
    ]
)
_KERNEL = types.void(types.CPointer(from_dtype(JOB)))

_F = np.float32
_ZERO, _ONE = _F(0), _F(1)
_TINY, _INFINITY = _F(1e-30), _F(np.inf)


def pack_weight(weight: torch.Tensor) -> torch.Tensor:
    """An int8 weight [out, in] as the kernels read it: uint8 [panels, steps, 32, DEPTH].

    The instruction multiplies unsigned by signed bytes, so 128 is added here and taken off where
    the sums start. What fills up the last panel and the last step is 0: it adds nothing to the
    sum, whatever it is multiplied by.
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
    """Row `row` of a float32 matrix of `length` columns."""
    return carray(as_pointer(address + 4 * row * length), length, _F)


@regrouped
def _inv_rms(row: Any, eps: Any) -> Any:
    """What makes the root mean square of a row 1. In 16 sums at once, hence `reassoc`."""
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
        t = t if t < _F(87) else _F(87)  # NaN too: x itself carries it on
        t = t if t > _F(-87) else _F(-87)
        gate[i] = x / (_ONE + fast_exp(t)) * up[i]


@inner
def _quantize_row(row: Any, job: Any, at: Any, steps: Any) -> None:
    """Row `at` of a linear layer's input into 8 bits, by its own largest value.

    What isn't finite makes the row's size so, and with it all of its product. A row smaller than
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
    # The weights lie there with 128 added.
    carray(as_pointer(job.zero_points + 4 * at), 1, np.int32)[0] = np.int32(-128) * total


@inner
def _norm_quantize_row(row: Any, norm: Any, scratch: Any, job: Any, at: Any, steps: Any) -> None:
    """A row through an RMS norm and into 8 bits."""
    inv_rms = _inv_rms(row, job.eps)
    for i in range(row.size):
        scratch[i] = row[i] * inv_rms * norm[i]
    _quantize_row(scratch, job, at, steps)


@inner
def _add_normed(row: Any, update: Any, norm: Any, eps: Any) -> None:
    """row += norm(found)"""
    inv_rms = _inv_rms(update, eps)
    for i in range(row.size):
        row[i] += update[i] * inv_rms * norm[i]


@inner
def _norm_rope(head: Any, norm: Any, cos: Any, sin: Any, eps: Any) -> None:
    """One head's norm and rotation by halves, in place."""
    inv_rms = _inv_rms(head, eps)
    half = head.size // 2
    for i in range(half):
        one, two = head[i] * inv_rms * norm[i], head[i + half] * inv_rms * norm[i + half]
        head[i] = one * cos[i] + two * sin[i]
        head[i + half] = two * cos[i + half] + one * sin[i + half]


@inner
def _multiply_panel(job: Any, linear: Any, number: Any, row_scales: Any, out: Any) -> None:
    """One panel's outputs for all rows."""
    weights = linear.weights + number * linear.num_steps * (PANEL_WIDTH * DOT_DEPTH)
    scales, width = linear.scales + number * (4 * PANEL_WIDTH), linear.num_panels * PANEL_WIDTH
    out += number * (4 * PANEL_WIDTH)
    row, left = 0, job.num_rows
    while left > 0:
        levels, starts = (
            job.activations + row * linear.num_steps * STEP_BYTES,
            job.zero_points + 4 * row,
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
    """The rows in 8 bits times a weight, to float32 [count, outputs] at `out`."""
    panels_per_item = (linear.num_panels + _MAX_WORK_ITEMS - 1) // _MAX_WORK_ITEMS
    for item in work_items(job.work_counters + 8 * stage, _MAX_WORK_ITEMS):
        for number in range(
            item * panels_per_item, min(item * panels_per_item + panels_per_item, linear.num_panels)
        ):
            _multiply_panel(job, linear, number, row_scales, out)


@inner
def _quantize_attention_input(job: Any, stage: Any) -> None:
    """A norm, then 8 bits for q, k and v."""
    norm = _float_row(job.before_attention, 0, job.width)
    for row in work_items(job.work_counters + 8 * stage, job.num_rows):
        scratch = _float_row(job.product, row, job.width)
        _norm_quantize_row(
            _float_row(job.rows, row, job.width), norm, scratch, job, row, job.qkv.num_steps
        )


@inner
def _rope_and_store(job: Any, stage: Any) -> None:
    """q's and k's norms and rotation; keys and values go into the pool."""
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
    """8 bits of float32 [count, width]."""
    for row in work_items(job.work_counters + 8 * stage, job.num_rows):
        _quantize_row(_float_row(rows, row, width), job, row, steps)


@inner
def _quantize_mlp_input(job: Any, stage: Any) -> None:
    """What attention gave is added, then a norm and 8 bits for gate and up."""
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
    """GELU of the gate times up, then 8 bits for down."""
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
    """What the MLP gave is added."""
    norm = _float_row(job.after_mlp, 0, job.width)
    for row in work_items(job.work_counters + 8 * stage, job.num_rows):
        update = carray(
            as_pointer(job.product + 4 * row * job.down.num_panels * PANEL_WIDTH), job.width, _F
        )
        _add_normed(_float_row(job.rows, row, job.width), update, norm, job.eps)


@compile_kernel(_KERNEL)
def run_layers(address: Any) -> None:
    """All decoder layers, a job each; `rows` is changed."""
    for job in carray(address, carray(address, 1)[0].num_layers):
        _quantize_attention_input(job, 0)
        _multiply_rows(job, 1, job.qkv, job.row_scales, job.qkv_states)
        _rope_and_store(job, 2)
        attention_kernel.attend_rows(job, 3)
        _quantize_rows(job, 4, job.attended, job.attention_width, job.out.num_steps)
        _multiply_rows(job, 5, job.out, job.row_scales, job.product)
        _quantize_mlp_input(job, 6)
        _multiply_rows(job, 7, job.gate_up, job.row_scales, job.gated)
        _quantize_gated(job, 8)
        _multiply_rows(job, 9, job.down, job.row_scales, job.product)
        _add_mlp_output(job, 10)


@compile_kernel(_KERNEL)
def run_linear(address: Any) -> None:
    """One linear layer alone: `rows` to `product`, whose rows are still to be scaled by `sizes`."""
    job = carray(address, 1)[0]
    _quantize_rows(job, 0, job.rows, job.width, job.linear.num_steps)
    _multiply_rows(job, 1, job.linear, job.unit_scales, job.product)
