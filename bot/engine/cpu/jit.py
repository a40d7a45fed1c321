"""What the CPU kernels are compiled with: instructions, PyTorch's threads, numba's cache.

Two kinds of CPU serve. With AVX512-VNNI (servers since 2019, Zen 4) one instruction adds four 8-bit
products to each of 16 sums. With AVX2 alone (nearly every PC since 2013) the bytes are widened to
16 bits and two products are added to each of 8 sums: the one that multiplies bytes adds up in 16
bits, where two products may not fit. Both give the same whole numbers.

Importing this raises where neither is there, or numba or GNU's OpenMP (PyTorch for Linux) is not.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import cfunc, njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

# What numba compiles for: this CPU, unless NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say another.
_FEATURES = set(cpu_target.target_context.codegen().magic_tuple()[2].split(","))
_VNNI = "+avx512vnni" in _FEATURES

_F = np.float32
ROUNDING_MAGIC = _F(3 << 22)
"""Added and taken off: to the nearest whole number, of two the even one."""
PANEL_WIDTH = 32
"""Outputs whose weights lie together."""
DOT_DEPTH = 4 if _VNNI else 2
"""Products that one instruction adds up for each output."""
ACTIVATION_DTYPE: Any = np.int8 if _VNNI else np.int16
"""What an activation is rounded to, as the instruction wants it."""
STEP_BYTES = 4
"""Bytes of a row's levels that one instruction takes."""
MAX_TILE_ROWS = 8 if _VNNI else 4
"""The most rows of a tile: their sums leave room for what is multiplied."""
_SOURCES = ("jit.py", "attention_kernel.py", "layer_kernels.py")  # what a kernel is made of
LANES = 16 if _VNNI else 8
"""32-bit numbers a register holds."""
_MAX_SUM_REGISTERS = 16 if _VNNI else 8  # registers that may hold sums

# numba tells a type checker nothing. Python's own division would check for 0 in every turn of a
# loop, hence `error_model`.
Decorator = Callable[[Callable[..., Any]], Any]
inner: Decorator = njit(error_model="numpy")
regrouped: Decorator = njit(error_model="numpy", fastmath={"reassoc"})
contracted: Decorator = njit(error_model="numpy", fastmath={"contract"})
native: Decorator = intrinsic
_native_with_literals: Decorator = intrinsic(prefer_literal=True)


def _load_openmp() -> Any:
    """`GOMP_parallel` of the OpenMP that PyTorch has loaded: one pool of threads for both.

    Raises:
        ImportError: this CPU can't run what is compiled below.
        AttributeError: PyTorch has another OpenMP.
    """
    if not _VNNI and "+avx2" not in _FEATURES:
        raise ImportError("this CPU has neither AVX512-VNNI nor AVX2")
    function = ctypes.CDLL(None).GOMP_parallel
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function


_parallel = _load_openmp()
_barrier: Any = types.ExternalFunction("GOMP_barrier", types.void())
thread_number: Any = types.ExternalFunction("omp_get_thread_num", types.int32())
"""The number of the thread that asks, from 0."""


def run_parallel(function: Any, job: int) -> None:
    """Run a kernel on the job at an address, on all of PyTorch's threads."""
    _parallel(function.address, job, torch.get_num_threads(), 0)


def compile_kernel(signature: Any) -> Decorator:
    """A kernel's machine code, from numba's files or made now.

    numba compiles anew when the function's own file has changed; the digest in its name does the
    same for the others.
    """
    digest = hashlib.blake2b(digest_size=6)
    for name in _SOURCES:
        digest.update(Path(__file__).with_name(name).read_bytes())

    def compile_cached(function: Callable[..., Any]) -> Any:
        function.__qualname__ += f"_{digest.hexdigest()}"
        try:
            return cfunc(signature, cache=True)(function)
        except Exception:  # numba may write nowhere, or what it kept is spoilt
            return cfunc(signature)(function)

    return compile_cached


@inner
def work_items(counter: Any, count: Any) -> Any:
    """The shares of a stage that fall to this thread; ends when all threads have done theirs."""
    item = _fetch_increment(counter)
    while item < count:
        yield item
        item = _fetch_increment(counter)
    _barrier()


@native
def as_pointer(typing: Any, address: Any) -> Any:
    """An address as a pointer."""

    def emit_ir(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), emit_ir


@native
def _fetch_increment(typing: Any, counter: Any) -> Any:
    """Add 1 to the int64 at an address, atomically; what was there before."""

    def emit_ir(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = types.int64
        place = builder.inttoptr(arguments[0], context.get_value_type(kind).as_pointer())
        return builder.atomic_rmw("add", place, context.get_constant(kind, 1), "monotonic")

    return types.int64(types.int64), emit_ir


@native
def float_from_bits(typing: Any, bits: Any) -> Any:
    """The float32 with these bits."""

    def emit_ir(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), emit_ir


@inner
def max_magnitude(row: Any) -> Any:
    """The largest value of a float32 row, its sign aside; NaN or infinity if one of them is."""
    bits, top = row.view(np.int32), np.int32(0)
    for i in range(bits.size):  # whole numbers are in the same order, NaN above infinity
        top = max(top, np.int32(bits[i] & np.int32(0x7FFFFFFF)))
    return float_from_bits(top)


_LOG2E = _F(1.44269504)
_LN2_HIGH, _LN2_LOW = _F(0.693359375), _F(2.12194440e-4)  # whose difference is ln 2
_EXP = tuple(
    _F(factor)
    for factor in (
        1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
        5.0000001201e-1,
    )
)  # fmt: skip
"""Factors of a polynomial for (e**r - 1 - r) / r**2, the highest power first (Cephes' expf)."""


@contracted
def fast_exp(x: Any) -> Any:
    """e**x in float32, to a unit in the last place; x within 87 of 0.

    A loop around math.exp is not vectorised, one around this is.
    """
    n = (x * _LOG2E + ROUNDING_MAGIC) - ROUNDING_MAGIC
    r = x - n * _LN2_HIGH + n * _LN2_LOW
    p = _EXP[0]
    for factor in _EXP[1:]:
        p = p * r + factor
    two = float_from_bits(np.int32((np.int32(n) + np.int32(127)) << 23))
    return (p * r * r + r + _F(1)) * two


_BYTE, _SHORT, _WORD, _LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_FLOAT = ir.FloatType()
WORDS, FLOATS = ir.VectorType(_WORD, LANES), ir.VectorType(_FLOAT, LANES)
_BYTES = ir.VectorType(_BYTE, LANES * DOT_DEPTH)
_SHORTS = ir.VectorType(_SHORT, LANES * DOT_DEPTH)
PAIRS = ir.VectorType(_SHORT, LANES * 2)
"""A register of 16-bit numbers."""
_FACTORS = _BYTES if _VNNI else _SHORTS


@_native_with_literals
def multiply_tile(
    typing: Any, rows: Any, panel: Any, steps: Any, scales: Any, levels: Any, starts: Any,
    sizes: Any, out: Any, width: Any,
) -> Any:  # fmt: skip
    """out[r, :32] = (starts[r] + levels[r] @ panel) * scales * sizes[r] for `rows` rows.

    The one loop whose instructions matter, so it is put together by hand: all sums stay in
    registers. Where a panel's sums for all rows are too many, it goes over the panel several times.

    All arguments but `rows` (a literal) are int64.

    Args:
        rows: at most `ROWS`.
        panel: address of uint8 [steps, 32, DEPTH].
        steps: at least 1.
        scales: address of float32 [32].
        levels: address of LEVEL [rows, steps * DEPTH].
        starts, sizes: addresses of int32 [rows] and float32 [rows].
        out: address of float32 [rows, 32], `width` numbers from one row to the next.
    """
    count = rows.literal_value
    registers = PANEL_WIDTH // LANES
    wide = min(registers, _MAX_SUM_REGISTERS // count)

    def emit_ir(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        for first in range(0, registers, wide):
            _emit_tile_loop(b, count, range(first, first + wide), *arguments[1:])
        return context.get_dummy_value()

    return types.void(rows, *[types.int64] * 8), emit_ir


def _emit_tile_loop(
    b: Any, count: int, parts: range, panel: Any, steps: Any, scales: Any, levels: Any,
    starts: Any, sizes: Any, out: Any, width: Any,
) -> None:  # fmt: skip
    """Those registers of a tile, in one loop."""
    where = [(row, part) for row in range(count) for part in range(len(parts))]
    first = [splat_scalar(b, load_vector(b, _WORD, starts, 4 * row), WORDS) for row in range(count)]

    entry, loop, end = b.block, b.append_basic_block("step"), b.append_basic_block("end")
    b.branch(loop)
    b.position_at_end(loop)
    step, sums = b.phi(_LONG), [b.phi(WORDS) for _ in where]
    place = b.add(panel, b.mul(step, _LONG(PANEL_WIDTH * DOT_DEPTH)))
    weights = [
        _widen_weights(b, load_vector(b, _BYTES, place, LANES * DOT_DEPTH * part)) for part in parts
    ]
    added = []
    for row in range(count):
        place = b.add(levels, b.mul(b.add(step, b.mul(steps, _LONG(row))), _LONG(STEP_BYTES)))
        level = b.bitcast(splat_scalar(b, load_vector(b, _WORD, place), WORDS), _FACTORS)
        row_sums = sums[row * len(parts) : (row + 1) * len(parts)]
        added += [_dot_bytes(b, s, w, level) for s, w in zip(row_sums, weights, strict=True)]
    following = b.add(step, _LONG(1))
    step.add_incoming(_LONG(0), entry)
    step.add_incoming(following, loop)
    for (row, _), total, more in zip(where, sums, added, strict=True):
        total.add_incoming(first[row], entry)
        total.add_incoming(more, loop)
    b.cbranch(b.icmp_signed("<", following, steps), loop, end)

    b.position_at_end(end)
    for (row, part), total in zip(where, added, strict=True):
        offset = 4 * LANES * parts[part]
        size = splat_scalar(b, load_vector(b, _FLOAT, sizes, 4 * row), FLOATS)
        product = b.fmul(
            b.fmul(b.sitofp(total, FLOATS), load_vector(b, FLOATS, scales, offset)), size
        )
        place = b.add(b.add(out, b.mul(width, _LONG(4 * row))), _LONG(offset))
        b.store(product, b.inttoptr(place, FLOATS.as_pointer()), align=4)


def load_vector(b: Any, kind: Any, address: Any, offset: int = 0) -> Any:
    """What lies some bytes behind an address, aligned or not."""
    place = b.inttoptr(b.add(address, _LONG(offset)), kind.as_pointer())
    return b.load(place, align=1)


def splat_scalar(b: Any, value: Any, kind: Any) -> Any:
    """A vector of one value."""
    one = b.insert_element(kind(ir.Undefined), value, _WORD(0))
    return b.shuffle_vector(one, one, ir.VectorType(_WORD, kind.count)([0] * kind.count))


def _widen_weights(b: Any, weights: Any) -> Any:
    return weights if _VNNI else b.zext(weights, _SHORTS)


def _dot_bytes(b: Any, sums: Any, weights: Any, levels: Any) -> Any:
    if not _VNNI:
        return dot_pairs(b, sums, weights, levels)
    name = "llvm.x86.avx512.vpdpbusd.512"
    return _call_intrinsic(b, name, WORDS, [sums, weights, levels])


def dot_pairs(b: Any, sums: Any, one: Any, other: Any) -> Any:
    """Two products of 16-bit numbers added to each of the sums."""
    if _VNNI:
        words = [b.bitcast(pairs, WORDS) for pairs in (one, other)]
        return _call_intrinsic(b, "llvm.x86.avx512.vpdpwssd.512", WORDS, [sums, *words])
    return b.add(sums, _call_intrinsic(b, "llvm.x86.avx2.pmadd.wd", WORDS, [one, other]))


def _call_intrinsic(b: Any, name: str, kind: Any, arguments: list[Any]) -> Any:
    function = ir.FunctionType(kind, [argument.type for argument in arguments])
    return b.call(cgutils.get_or_insert_function(b.module, function, name), arguments)


def select_or(b: Any, wanted: Any, vector: Any, other: float) -> Any:
    """A vector of floats where `wanted`, elsewhere a number."""
    return b.select(wanted, vector, ir.Constant(vector.type, [other] * vector.type.count))


def max_signed(b: Any, one: Any, other: Any) -> Any:
    """The larger of two whole numbers, or vectors of them."""
    return b.select(b.icmp_signed(">", one, other), one, other)


def reduce_vectors(b: Any, vectors: list[Any], merge: Callable[[Any, Any, Any], Any]) -> Any:
    """All numbers of some vectors merged two by two, in a fixed order."""
    while len(vectors) > 1:
        vectors = [merge(b, *vectors[at : at + 2]) for at in range(0, len(vectors), 2)]
    (vector,) = vectors
    half: int = vector.type.count // 2
    while half:
        indices = ir.Constant(ir.VectorType(_WORD, half), list(range(half)))
        low = b.shuffle_vector(vector, vector, indices)
        indices = ir.Constant(ir.VectorType(_WORD, half), list(range(half, 2 * half)))
        vector, half = merge(b, low, b.shuffle_vector(vector, vector, indices)), half // 2
    return b.extract_element(vector, _WORD(0))


def emit_exp(b: Any, x: Any) -> Any:
    """`exp` of a vector."""

    def float_constant(value: Any) -> Any:
        return ir.Constant(FLOATS, [float(_F(value))] * LANES)

    def int_constant(value: int) -> Any:
        return ir.Constant(WORDS, [value] * LANES)

    name = f"llvm.fma.v{LANES}f32"

    def emit_fma(one: Any, other: Any, added: Any) -> Any:
        return _call_intrinsic(b, name, FLOATS, [one, other, added])

    n = b.fsub(
        emit_fma(x, float_constant(_LOG2E), float_constant(ROUNDING_MAGIC)),
        float_constant(ROUNDING_MAGIC),
    )
    r = emit_fma(n, float_constant(_LN2_LOW), emit_fma(n, float_constant(-_LN2_HIGH), x))
    p = float_constant(_EXP[0])
    for factor in _EXP[1:]:
        p = emit_fma(p, r, float_constant(factor))
    two = b.shl(b.add(b.fptosi(n, WORDS), int_constant(127)), int_constant(23))
    return b.fmul(b.fadd(emit_fma(b.fmul(p, r), r, r), float_constant(1.0)), b.bitcast(two, FLOATS))
