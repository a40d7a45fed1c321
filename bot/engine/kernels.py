"""Machine code for `fused.py`: all of a decoder layer but its attention, in 8 bits.

Compiled by numba once and kept on disk. A *job* is a C struct of addresses and sizes (`JOB`). A
function that is given one runs on every thread of PyTorch's own OpenMP pool at once (`run`): its
stages are cut into shares, a thread takes the next when it has done its last, and between two
stages all wait for one another. Python's lock is free meanwhile.

Every stage works on one row at a time, in the same order whoever else is in the batch, and sums of
8-bit products are whole numbers. So a row's result depends on that row alone, to the last bit.

For CPUs with AVX512-VNNI (servers since 2019, Zen 4) and GNU's OpenMP (PyTorch for Linux).
Importing this raises where one of them or numba is missing. It is one file because numba
compiles anew when the file of a function that it keeps has changed, that file alone.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from llvmlite import binding, ir
from numba import carray, cfunc, from_dtype, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16  # 32-bit numbers a register holds
HALVES = 2  # registers a panel is wide
PANEL = LANES * HALVES
"""Outputs whose weights lie together."""
DEPTH = 4
"""Products that one instruction adds up for each output."""
_SHARES = 32  # into how many shares a product is cut, at most
_SLICE = 512  # panels packed at once
STAGES = 10
"""Stages of a layer, of both its functions."""

LINEAR = np.dtype([(name, np.int64) for name in ("weights", "scales", "panels", "steps")])
"""A packed weight: uint8 [panels, steps, 32, 4], float32 [panels * 32], and the sizes."""

JOB = np.dtype(
    [
        ("taken", np.int64),  # int64 [STAGES]: how many shares of each stage are taken; zeros
        ("count", np.int64),  # rows
        ("rows", np.int64),  # float32 [count, width]: what flows through the model
        ("width", np.int64),
        ("eps", np.float64),
        # For whichever linear layer is at hand: its rows in 8 bits, int8 [count, inputs]; what
        # each is to be multiplied by, float32 [count]; where its sums start, int32 [count]; and
        # its product, float32 [count, outputs].
        ("levels", np.int64),
        ("sizes", np.int64),
        ("starts", np.int64),
        ("product", np.int64),
        # A linear layer alone.
        ("linear", LINEAR),
        ("ones", np.int64),  # float32 [count]
        # Before attention.
        ("before_attention", np.int64),  # norms: float32 [width]
        ("qkv", LINEAR),
        ("states", np.int64),  # float32 [count, outputs of qkv]
        ("heads", np.int64),  # those with a norm and rotation: q's, then k's
        ("head_norms", np.int64),  # float32 [heads, dim]
        ("dim", np.int64),
        ("cos", np.int64),  # float32 [count, dim]
        ("sin", np.int64),  # the same; the first half carries the rotation's minus
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
_NEAREST = _F(3 << 22)  # added and taken off: to the nearest whole number, of two the even one
_MAGNITUDE = np.int32(0x7FFFFFFF)  # all bits of a float32 but the sign

# numba tells a type checker nothing. Python's own division would check for 0 in every turn of a
# loop, hence `error_model`.
_Decorator = Callable[[Callable[..., Any]], Any]
_inner: _Decorator = njit(error_model="numpy")
_regrouped: _Decorator = njit(error_model="numpy", fastmath={"reassoc"})
_native: _Decorator = intrinsic
_native_with_literals: _Decorator = intrinsic(prefer_literal=True)


def _openmp() -> Any:
    """`GOMP_parallel` of the OpenMP that PyTorch has loaded: one pool of threads for both.

    Raises:
        ImportError: this CPU can't run what is compiled below.
        AttributeError: PyTorch has another OpenMP.
    """
    if not binding.get_host_cpu_features().get("avx512vnni"):
        raise ImportError("this CPU has no AVX512-VNNI")
    function = ctypes.CDLL(None).GOMP_parallel
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function


_parallel = _openmp()
_barrier: Any = types.ExternalFunction("GOMP_barrier", types.void())


def pack(weight: torch.Tensor) -> torch.Tensor:
    """An int8 weight [out, in] as the kernels read it: uint8 [panels, steps, 32, 4].

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


def run(function: Any, job: int) -> None:
    """Run `before_attention`, `after_attention` or `linear` on the job at an address."""
    _parallel(function.address, job, torch.get_num_threads(), 0)


@_native
def _pointer(typing: Any, address: Any) -> Any:
    """An address as a pointer."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), build


@_native
def _take(typing: Any, counter: Any) -> Any:
    """Add 1 to the int64 at an address, atomically; what was there before."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = types.int64
        place = builder.inttoptr(arguments[0], context.get_value_type(kind).as_pointer())
        return builder.atomic_rmw("add", place, context.get_constant(kind, 1), "monotonic")

    return types.int64(types.int64), build


@_native
def _float_of(typing: Any, bits: Any) -> Any:
    """The float32 with these bits."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), build


_BYTE, _WORD, _LONG, _FLOAT = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
_BYTES = ir.VectorType(_BYTE, LANES * DEPTH)
_WORDS = ir.VectorType(_WORD, LANES)
_FLOATS = ir.VectorType(_FLOAT, LANES)
_DOT = "llvm.x86.avx512.vpdpbusd.512"


@_native_with_literals
def _tile(
    typing: Any, rows: Any, panel: Any, steps: Any, scales: Any, levels: Any, starts: Any,
    sizes: Any, out: Any, width: Any,
) -> Any:  # fmt: skip
    """out[r, :32] = (starts[r] + levels[r] @ panel) * scales * sizes[r] for `rows` rows.

    The one loop whose instructions matter, so it is put together by hand: all sums stay in
    registers, and `vpdpbusd` adds four products of unsigned by signed bytes to each of 16.

    All arguments but `rows` (a literal) are int64.

    Args:
        rows: at most 8: their sums fill half of the registers.
        panel: address of uint8 [steps, 32, 4].
        steps: at least 1.
        scales: address of float32 [32].
        levels: address of int8 [rows, steps * 4].
        starts, sizes: addresses of int32 [rows] and float32 [rows].
        out: address of float32 [rows, 32], `width` numbers from one row to the next.
    """
    count = rows.literal_value

    def build(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        _, panel, steps, scales, levels, starts, sizes, out, width = arguments
        where = [(row, half) for row in range(count) for half in range(HALVES)]
        first = [_splat(b, _load(b, _WORD, starts, 4 * row), _WORDS) for row in range(count)]

        before, loop, after = b.block, b.append_basic_block("step"), b.append_basic_block("end")
        b.branch(loop)
        b.position_at_end(loop)
        step, sums = b.phi(_LONG), [b.phi(_WORDS) for _ in where]
        place = b.add(panel, b.mul(step, _LONG(PANEL * DEPTH)))
        weights = [_load(b, _BYTES, place, LANES * DEPTH * half) for half in range(HALVES)]
        added = []
        for row in range(count):
            place = b.add(levels, b.mul(b.add(step, b.mul(steps, _LONG(row))), _LONG(DEPTH)))
            four = b.bitcast(_splat(b, _load(b, _WORD, place), _WORDS), _BYTES)
            mine = sums[row * HALVES : (row + 1) * HALVES]
            added += [_dot(b, s, w, four) for s, w in zip(mine, weights, strict=True)]
        following = b.add(step, _LONG(1))
        step.add_incoming(_LONG(0), before)
        step.add_incoming(following, loop)
        for (row, _), total, more in zip(where, sums, added, strict=True):
            total.add_incoming(first[row], before)
            total.add_incoming(more, loop)
        b.cbranch(b.icmp_signed("<", following, steps), loop, after)

        b.position_at_end(after)
        for (row, half), total in zip(where, added, strict=True):
            scale = _load(b, _FLOATS, scales, 4 * LANES * half)
            size = _splat(b, _load(b, _FLOAT, sizes, 4 * row), _FLOATS)
            product = b.fmul(b.fmul(b.sitofp(total, _FLOATS), scale), size)
            place = b.add(b.add(out, b.mul(width, _LONG(4 * row))), _LONG(4 * LANES * half))
            b.store(product, b.inttoptr(place, _FLOATS.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(rows, *[types.int64] * 8), build


def _load(b: Any, kind: Any, address: Any, offset: int = 0) -> Any:
    place = b.inttoptr(b.add(address, _LONG(offset)), kind.as_pointer())
    return b.load(place, align=1)


def _splat(b: Any, value: Any, kind: Any) -> Any:
    """A vector of one value."""
    one = b.insert_element(kind(ir.Undefined), value, _WORD(0))
    return b.shuffle_vector(one, one, _WORDS([0] * LANES))


def _dot(b: Any, sums: Any, unsigned: Any, signed: Any) -> Any:
    kind = ir.FunctionType(_WORDS, [_WORDS, _BYTES, _BYTES])
    return b.call(cgutils.get_or_insert_function(b.module, kind, _DOT), [sums, unsigned, signed])


@_inner
def _floats(address: Any, row: Any, length: Any) -> Any:
    """Row `row` of a float32 matrix of `length` columns."""
    return carray(_pointer(address + 4 * row * length), length, _F)


@_regrouped
def _unit(row: Any, eps: Any) -> Any:
    """What makes the root mean square of a row 1. In 16 sums at once, hence `reassoc`."""
    total = _ZERO
    for value in row:
        total += value * value
    return _ONE / _F(math.sqrt(_F(total / _F(row.size)) + _F(eps)))


@_inner
def _exp(x: Any) -> Any:
    """e**x in float32, to some 2 units in the last place; x within 87 of 0.

    A loop around math.exp is not vectorised, one around this is.
    """
    n = (x * _F(1.44269504) + _NEAREST) - _NEAREST
    r = x - n * _F(0.693359375) + n * _F(2.12194440e-4)
    p = _F(1.9875691500e-4)
    p = p * r + _F(1.3981999507e-3)
    p = p * r + _F(8.3334519073e-3)
    p = p * r + _F(4.1665795894e-2)
    p = p * r + _F(1.6666665459e-1)
    p = p * r + _F(5.0000001201e-1)
    return (p * r * r + r + _ONE) * _float_of(np.int32((np.int32(n) + np.int32(127)) << 23))


@_inner
def _gate(gate: Any, up: Any) -> None:
    """gate = gelu(gate) * up, with the tanh of `gelu_pytorch_tanh` written as exp."""
    for i in range(gate.size):
        x = gate[i]
        t = _F(-1.5957691) * (x + _F(0.044715) * x * x * x)
        t = t if t < _F(87) else _F(87)  # NaN too: x itself carries it on
        t = t if t > _F(-87) else _F(-87)
        gate[i] = x / (_ONE + _exp(t)) * up[i]


@_inner
def _round(row: Any, job: Any, at: Any, steps: Any) -> None:
    """Row `at` of a linear layer's input into 8 bits, by its own largest value.

    What isn't finite makes the row's size so, and with it all of its product. A row smaller than
    1e-30 counts as zeros.
    """
    bits = row.view(np.int32)
    top = np.int32(0)
    for value in bits:  # as whole numbers, magnitudes are in order, and NaN is above infinity
        top = max(top, np.int32(value & _MAGNITUDE))
    largest = _float_of(top)
    levels = carray(_pointer(job.levels + at * steps * DEPTH), row.size, np.int8)
    total = np.int32(0)
    if _TINY < largest < _INFINITY:
        factor = _F(127) / largest
        for i in range(row.size):
            level = np.int32((row[i] * factor + _NEAREST) - _NEAREST)
            levels[i] = level
            total = np.int32(total + level)
    else:
        levels[:] = 0
    _floats(job.sizes, at, 1)[0] = largest * _F(1 / 127)
    # The weights lie there with 128 added.
    carray(_pointer(job.starts + 4 * at), 1, np.int32)[0] = np.int32(-128) * total


@_inner
def _norm_round(row: Any, norm: Any, scratch: Any, job: Any, at: Any, steps: Any) -> None:
    """A row through an RMS norm and into 8 bits."""
    unit = _unit(row, job.eps)
    for i in range(row.size):
        scratch[i] = row[i] * unit * norm[i]
    _round(scratch, job, at, steps)


@_inner
def _add(row: Any, found: Any, norm: Any, eps: Any) -> None:
    """row += norm(found)"""
    unit = _unit(found, eps)
    for i in range(row.size):
        row[i] += found[i] * unit * norm[i]


@_inner
def _turn(head: Any, norm: Any, cos: Any, sin: Any, eps: Any) -> None:
    """One head's norm and rotation by halves, in place."""
    unit = _unit(head, eps)
    half = head.size // 2
    for i in range(half):
        one, two = head[i] * unit * norm[i], head[i + half] * unit * norm[i + half]
        head[i] = one * cos[i] + two * sin[i]
        head[i + half] = two * cos[i + half] + one * sin[i + half]


@_inner
def _panel(job: Any, linear: Any, number: Any, sizes: Any, out: Any) -> None:
    """One panel's outputs for all rows."""
    weights = linear.weights + number * linear.steps * (PANEL * DEPTH)
    scales, width = linear.scales + number * (4 * PANEL), linear.panels * PANEL
    out += number * (4 * PANEL)
    row, left = 0, job.count
    while left > 0:
        levels, starts = job.levels + row * linear.steps * DEPTH, job.starts + 4 * row
        size, place = sizes + 4 * row, out + 4 * row * width
        if left >= 8:
            _tile(8, weights, linear.steps, scales, levels, starts, size, place, width)
            done = 8
        elif left >= 4:
            _tile(4, weights, linear.steps, scales, levels, starts, size, place, width)
            done = 4
        elif left >= 2:
            _tile(2, weights, linear.steps, scales, levels, starts, size, place, width)
            done = 2
        else:
            _tile(1, weights, linear.steps, scales, levels, starts, size, place, width)
            done = 1
        row += done
        left -= done


@_inner
def _shares(taken: Any, count: Any) -> Any:
    """The shares of a stage that fall to this thread; ends when all threads have done theirs."""
    share = _take(taken)
    while share < count:
        yield share
        share = _take(taken)
    _barrier()


@_inner
def _multiply(job: Any, stage: Any, linear: Any, sizes: Any, out: Any) -> None:
    """The rows in 8 bits times a weight, to float32 [count, outputs] at `out`."""
    size = (linear.panels + _SHARES - 1) // _SHARES
    for share in _shares(job.taken + 8 * stage, _SHARES):
        for number in range(share * size, min(share * size + size, linear.panels)):
            _panel(job, linear, number, sizes, out)


@_inner
def _enter_attention(job: Any, stage: Any) -> None:
    """A norm, then 8 bits for q, k and v."""
    norm = _floats(job.before_attention, 0, job.width)
    for row in _shares(job.taken + 8 * stage, job.count):
        scratch = _floats(job.product, row, job.width)
        _norm_round(_floats(job.rows, row, job.width), norm, scratch, job, row, job.qkv.steps)


@_inner
def _turn_heads(job: Any, stage: Any) -> None:
    """q's and k's norms and rotation."""
    for row in _shares(job.taken + 8 * stage, job.count):
        states = job.states + 4 * row * job.qkv.panels * PANEL
        cos, sin = _floats(job.cos, row, job.dim), _floats(job.sin, row, job.dim)
        for number in range(job.heads):
            head, norm = _floats(states, number, job.dim), _floats(job.head_norms, number, job.dim)
            _turn(head, norm, cos, sin, job.eps)


@_inner
def _round_rows(job: Any, stage: Any, rows: Any, width: Any, steps: Any) -> None:
    """8 bits of float32 [count, width]."""
    for row in _shares(job.taken + 8 * stage, job.count):
        _round(_floats(rows, row, width), job, row, steps)


@_inner
def _enter_mlp(job: Any, stage: Any) -> None:
    """What attention gave is added, then a norm and 8 bits for gate and up."""
    after, before = (
        _floats(job.after_attention, 0, job.width),
        _floats(job.before_mlp, 0, job.width),
    )
    for row in _shares(job.taken + 8 * stage, job.count):
        rows = _floats(job.rows, row, job.width)
        found = carray(_pointer(job.product + 4 * row * job.out.panels * PANEL), job.width, _F)
        _add(rows, found, after, job.eps)
        _norm_round(rows, before, found, job, row, job.gate_up.steps)


@_inner
def _apply_gate(job: Any, stage: Any) -> None:
    """GELU of the gate times up, then 8 bits for down."""
    for row in _shares(job.taken + 8 * stage, job.count):
        both = job.gated + 4 * row * job.gate_up.panels * PANEL
        gate, up = _floats(both, 0, job.hidden), _floats(both, 1, job.hidden)
        _gate(gate, up)
        _round(gate, job, row, job.down.steps)


@_inner
def _leave_mlp(job: Any, stage: Any) -> None:
    """What the MLP gave is added."""
    norm = _floats(job.after_mlp, 0, job.width)
    for row in _shares(job.taken + 8 * stage, job.count):
        found = carray(_pointer(job.product + 4 * row * job.down.panels * PANEL), job.width, _F)
        _add(_floats(job.rows, row, job.width), found, norm, job.eps)


def _compiled(function: Any) -> Any:
    """A kernel's machine code, from numba's files or made now."""
    try:
        return cfunc(_KERNEL, cache=True)(function)
    except Exception:  # numba may write nowhere, or what it kept is spoilt
        return cfunc(_KERNEL)(function)


@_compiled
def before_attention(pointer: Any) -> None:
    """Norm, q, k and v, the heads' norms and rotation: `rows` to `states`."""
    job = carray(pointer, 1)[0]
    _enter_attention(job, 0)
    _multiply(job, 1, job.qkv, job.sizes, job.states)
    _turn_heads(job, 2)


@_compiled
def after_attention(pointer: Any) -> None:
    """Output projection and MLP, each added to `rows` through a norm of its own."""
    job = carray(pointer, 1)[0]
    _round_rows(job, 3, job.attended, job.attended_width, job.out.steps)
    _multiply(job, 4, job.out, job.sizes, job.product)
    _enter_mlp(job, 5)
    _multiply(job, 6, job.gate_up, job.sizes, job.gated)
    _apply_gate(job, 7)
    _multiply(job, 8, job.down, job.sizes, job.product)
    _leave_mlp(job, 9)


@_compiled
def linear(pointer: Any) -> None:
    """One linear layer alone: `rows` to `product`, whose rows are still to be scaled by `sizes`."""
    job = carray(pointer, 1)[0]
    _round_rows(job, 0, job.rows, job.width, job.linear.steps)
    _multiply(job, 1, job.linear, job.ones, job.product)
