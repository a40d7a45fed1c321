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
    DEPTH,
    LEVEL,
    NEAREST,
    PANEL,
    ROWS,
    STEP_BYTES,
    compiled,
    exp,
    inner,
    magnitude,
    pointer,
    regrouped,
    shares,
    tile,
)

_SHARES = 32  # into how many shares a product is cut, at most
_SLICE = 512  # panels packed at once
STAGES = 11
"""Stages of a layer."""

LINEAR = np.dtype([(name, np.int64) for name in ("weights", "scales", "panels", "steps")])
"""A packed weight: uint8 [panels, steps, 32, DEPTH], float32 [panels * 32], and the sizes."""
POOL = np.dtype(
    [
        # As attention_kernel.py lays them: int16, and float32 [blocks, kv_heads, size].
        ("keys", np.int64),
        ("values", np.int64),
        ("key_sizes", np.int64),
        ("value_sizes", np.int64),
        ("size", np.int64),  # tokens a block
        ("most", np.int64),  # the largest key or value
        # `PackedPlan`'s.
        ("slots", np.int64),
        ("lows", np.int64),
        ("highs", np.int64),
        ("tables", np.int64),
        ("tiles", np.int64),
        ("tiles_count", np.int64),
    ]
)
"""A layer's K/V and who reads what of it in this step."""

JOB = np.dtype(
    [
        ("layers", np.int64),  # jobs that lie one behind another, this one included
        ("taken", np.int64),  # int64 [STAGES]: how many shares of each stage are taken; zeros
        ("count", np.int64),  # rows
        ("rows", np.int64),  # float32 [count, width]: what flows through the model
        ("width", np.int64),
        ("eps", np.float64),
        # For whichever linear layer is at hand: its rows in 8 bits, LEVEL [count, inputs]; what
        # each is to be multiplied by, float32 [count]; where its sums start, int32 [count]; and
        # its product, float32 [count, outputs].
        ("levels", np.int64),
        ("sizes", np.int64),
        ("starts", np.int64),
        ("product", np.int64),
        # A linear layer alone.
        ("linear", LINEAR),
        ("ones", np.int64),  # float32 [count]
        # Attention and before.
        ("before_attention", np.int64),  # norms: float32 [width]
        ("qkv", LINEAR),
        ("states", np.int64),  # float32 [count, outputs of qkv]
        ("head_norms", np.int64),  # float32 [query_heads + kv_heads, dim]
        ("dim", np.int64),
        ("cos", np.int64),  # float32 [count, dim]
        ("sin", np.int64),  # the same; the first half carries the rotation's minus
        ("query_heads", np.int64),
        ("kv_heads", np.int64),
        ("scale", np.float64),
        ("scratch", np.int64),  # of each thread, `scratch_size` bytes
        ("scratch_size", np.int64),
        ("pool", POOL),
        # After attention.
        ("attended", np.int64),  # float32 [count, attended_width]
        ("attended_width", np.int64),
        ("out", LINEAR),
        ("after_attention", np.int64),
        ("before_mlp", np.int64),
        ("gate_up", LINEAR),
        ("gated", np.int64),  # float32 [count, outputs of gate_up]: gate, then up
        ("hidden", np.int64),  # how many each
        ("down", LINEAR),
        ("after_mlp", np.int64),
    ]
)
_KERNEL = types.void(types.CPointer(from_dtype(JOB)))

_F = np.float32
_ZERO, _ONE = _F(0), _F(1)
_TINY, _INFINITY = _F(1e-30), _F(np.inf)


def pack(weight: torch.Tensor) -> torch.Tensor:
    """An int8 weight [out, in] as the kernels read it: uint8 [panels, steps, 32, DEPTH].

    The instruction multiplies unsigned by signed bytes, so 128 is added here and taken off where
    the sums start. What fills up the last panel and the last step is 0: it adds nothing to the
    sum, whatever it is multiplied by.
    """
    outputs, inputs = weight.shape
    panels, steps = -(-outputs // PANEL), -(-inputs // DEPTH)
    packed = torch.zeros((panels, steps, PANEL, DEPTH), dtype=torch.uint8)
    slabs, parts = torch.split(packed, _SLICE), torch.split(weight, _SLICE * PANEL)
    for slab, rows in zip(slabs, parts, strict=True):
        filled = torch.zeros((len(slab) * PANEL, steps * DEPTH), dtype=torch.uint8)
        torch.bitwise_xor(rows.view(torch.uint8), 128, out=filled[: len(rows), :inputs])
        slab.copy_(filled.view(-1, PANEL, steps, DEPTH).transpose(1, 2))
    return packed


@inner
def _floats(address: Any, row: Any, length: Any) -> Any:
    """Row `row` of a float32 matrix of `length` columns."""
    return carray(pointer(address + 4 * row * length), length, _F)


@regrouped
def _unit(row: Any, eps: Any) -> Any:
    """What makes the root mean square of a row 1. In 16 sums at once, hence `reassoc`."""
    total = _ZERO
    for value in row:
        total += value * value
    return _ONE / _F(math.sqrt(_F(total / _F(row.size)) + _F(eps)))


@inner
def _gate(gate: Any, up: Any) -> None:
    """gate = gelu(gate) * up, with the tanh of `gelu_pytorch_tanh` written as exp."""
    for i in range(gate.size):
        x = gate[i]
        t = _F(-1.5957691) * (x + _F(0.044715) * x * x * x)
        t = t if t < _F(87) else _F(87)  # NaN too: x itself carries it on
        t = t if t > _F(-87) else _F(-87)
        gate[i] = x / (_ONE + exp(t)) * up[i]


@inner
def _round(row: Any, job: Any, at: Any, steps: Any) -> None:
    """Row `at` of a linear layer's input into 8 bits, by its own largest value.

    What isn't finite makes the row's size so, and with it all of its product. A row smaller than
    1e-30 counts as zeros.
    """
    largest = magnitude(row)
    levels = carray(pointer(job.levels + at * steps * STEP_BYTES), row.size, LEVEL)
    total = np.int32(0)
    if _TINY < largest < _INFINITY:
        factor = _F(127) / largest
        for i in range(row.size):
            level = np.int32((row[i] * factor + NEAREST) - NEAREST)
            levels[i] = level
            total = np.int32(total + level)
    else:
        levels[:] = 0
    _floats(job.sizes, at, 1)[0] = largest * _F(1 / 127)
    # The weights lie there with 128 added.
    carray(pointer(job.starts + 4 * at), 1, np.int32)[0] = np.int32(-128) * total


@inner
def _norm_round(row: Any, norm: Any, scratch: Any, job: Any, at: Any, steps: Any) -> None:
    """A row through an RMS norm and into 8 bits."""
    unit = _unit(row, job.eps)
    for i in range(row.size):
        scratch[i] = row[i] * unit * norm[i]
    _round(scratch, job, at, steps)


@inner
def _add(row: Any, found: Any, norm: Any, eps: Any) -> None:
    """row += norm(found)"""
    unit = _unit(found, eps)
    for i in range(row.size):
        row[i] += found[i] * unit * norm[i]


@inner
def _turn(head: Any, norm: Any, cos: Any, sin: Any, eps: Any) -> None:
    """One head's norm and rotation by halves, in place."""
    unit = _unit(head, eps)
    half = head.size // 2
    for i in range(half):
        one, two = head[i] * unit * norm[i], head[i + half] * unit * norm[i + half]
        head[i] = one * cos[i] + two * sin[i]
        head[i + half] = two * cos[i + half] + one * sin[i + half]


@inner
def _panel(job: Any, linear: Any, number: Any, sizes: Any, out: Any) -> None:
    """One panel's outputs for all rows."""
    weights = linear.weights + number * linear.steps * (PANEL * DEPTH)
    scales, width = linear.scales + number * (4 * PANEL), linear.panels * PANEL
    out += number * (4 * PANEL)
    row, left = 0, job.count
    while left > 0:
        levels, starts = job.levels + row * linear.steps * STEP_BYTES, job.starts + 4 * row
        size, place = sizes + 4 * row, out + 4 * row * width
        if left >= ROWS:
            tile(ROWS, weights, linear.steps, scales, levels, starts, size, place, width)
            done = ROWS
        elif left >= 4:
            tile(4, weights, linear.steps, scales, levels, starts, size, place, width)
            done = 4
        elif left >= 2:
            tile(2, weights, linear.steps, scales, levels, starts, size, place, width)
            done = 2
        else:
            tile(1, weights, linear.steps, scales, levels, starts, size, place, width)
            done = 1
        row += done
        left -= done


@inner
def _multiply(job: Any, stage: Any, linear: Any, sizes: Any, out: Any) -> None:
    """The rows in 8 bits times a weight, to float32 [count, outputs] at `out`."""
    size = (linear.panels + _SHARES - 1) // _SHARES
    for share in shares(job.taken + 8 * stage, _SHARES):
        for number in range(share * size, min(share * size + size, linear.panels)):
            _panel(job, linear, number, sizes, out)


@inner
def _enter_attention(job: Any, stage: Any) -> None:
    """A norm, then 8 bits for q, k and v."""
    norm = _floats(job.before_attention, 0, job.width)
    for row in shares(job.taken + 8 * stage, job.count):
        scratch = _floats(job.product, row, job.width)
        _norm_round(_floats(job.rows, row, job.width), norm, scratch, job, row, job.qkv.steps)


@inner
def _turn_heads(job: Any, stage: Any) -> None:
    """q's and k's norms and rotation; keys and values go into the pool."""
    for row in shares(job.taken + 8 * stage, job.count):
        states = job.states + 4 * row * job.qkv.panels * PANEL
        cos, sin = _floats(job.cos, row, job.dim), _floats(job.sin, row, job.dim)
        for number in range(job.query_heads + job.kv_heads):
            head, norm = _floats(states, number, job.dim), _floats(job.head_norms, number, job.dim)
            _turn(head, norm, cos, sin, job.eps)
        keys, slot = states + 4 * job.query_heads * job.dim, job.pool.slots + 8 * row
        attention_kernel.store(keys, slot, job.pool, job.kv_heads, job.dim)


@inner
def _round_rows(job: Any, stage: Any, rows: Any, width: Any, steps: Any) -> None:
    """8 bits of float32 [count, width]."""
    for row in shares(job.taken + 8 * stage, job.count):
        _round(_floats(rows, row, width), job, row, steps)


@inner
def _enter_mlp(job: Any, stage: Any) -> None:
    """What attention gave is added, then a norm and 8 bits for gate and up."""
    after, before = (
        _floats(job.after_attention, 0, job.width),
        _floats(job.before_mlp, 0, job.width),
    )
    for row in shares(job.taken + 8 * stage, job.count):
        rows = _floats(job.rows, row, job.width)
        found = carray(pointer(job.product + 4 * row * job.out.panels * PANEL), job.width, _F)
        _add(rows, found, after, job.eps)
        _norm_round(rows, before, found, job, row, job.gate_up.steps)


@inner
def _apply_gate(job: Any, stage: Any) -> None:
    """GELU of the gate times up, then 8 bits for down."""
    for row in shares(job.taken + 8 * stage, job.count):
        both = job.gated + 4 * row * job.gate_up.panels * PANEL
        gate, up = _floats(both, 0, job.hidden), _floats(both, 1, job.hidden)
        _gate(gate, up)
        _round(gate, job, row, job.down.steps)


@inner
def _leave_mlp(job: Any, stage: Any) -> None:
    """What the MLP gave is added."""
    norm = _floats(job.after_mlp, 0, job.width)
    for row in shares(job.taken + 8 * stage, job.count):
        found = carray(pointer(job.product + 4 * row * job.down.panels * PANEL), job.width, _F)
        _add(_floats(job.rows, row, job.width), found, norm, job.eps)


@compiled(_KERNEL)
def layers(address: Any) -> None:
    """All decoder layers, a job each; `rows` is changed."""
    for job in carray(address, carray(address, 1)[0].layers):
        _enter_attention(job, 0)
        _multiply(job, 1, job.qkv, job.sizes, job.states)
        _turn_heads(job, 2)
        attention_kernel.attend(job, 3)
        _round_rows(job, 4, job.attended, job.attended_width, job.out.steps)
        _multiply(job, 5, job.out, job.sizes, job.product)
        _enter_mlp(job, 6)
        _multiply(job, 7, job.gate_up, job.sizes, job.gated)
        _apply_gate(job, 8)
        _multiply(job, 9, job.down, job.sizes, job.product)
        _leave_mlp(job, 10)


@compiled(_KERNEL)
def linear(address: Any) -> None:
    """One linear layer alone: `rows` to `product`, whose rows are still to be scaled by `sizes`."""
    job = carray(address, 1)[0]
    _round_rows(job, 0, job.rows, job.width, job.linear.steps)
    _multiply(job, 1, job.linear, job.ones, job.product)
