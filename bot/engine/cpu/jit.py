"""Compiles the CPU kernels: hand-picked instructions, PyTorch's threads, numba's disk cache.

Two kinds of CPU are supported. With AVX512-VNNI (servers since 2019, Zen 4) one instruction adds
four 8-bit products to each of 16 sums. With only AVX2 (nearly every PC since 2013), bytes are
widened to 16 bits and two products are added to each of 8 sums, since AVX2's byte multiplication
sums in 16 bits, where two products may overflow. Both compute the same integers.

Importing this raises if the CPU has neither, or if numba or GNU OpenMP (used by PyTorch for Linux)
is missing.
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

# The CPU numba compiles for: this one, unless NUMBA_CPU_NAME and NUMBA_CPU_FEATURES are set.
_FEATURES = set(cpu_target.target_context.codegen().magic_tuple()[2].split(","))
_VNNI = "+avx512vnni" in _FEATURES

_F = np.float32
ROUNDING_MAGIC = _F(3 << 22)
"""Adding and subtracting it rounds a small float32 to the nearest integer, ties to even."""
PANEL_WIDTH = 32
"""Outputs whose weights are interleaved."""
DOT_DEPTH = 4 if _VNNI else 2
"""Products that one instruction adds to each sum."""
ACTIVATION_DTYPE: Any = np.int8 if _VNNI else np.int16
"""The type of quantized activations that the instruction takes."""
STEP_BYTES = 4
"""Bytes of a row's activations that one instruction takes."""
MAX_TILE_ROWS = 8 if _VNNI else 4
"""The most rows in a tile: their sums must leave registers for the operands."""
_SOURCES = (
    "jit.py",
    "attention_kernel.py",
    "layer_kernels.py",
)  # the files whose code a kernel may contain
LANES = 16 if _VNNI else 8
"""32-bit lanes of a register."""
_MAX_SUM_REGISTERS = 16 if _VNNI else 8  # registers that may hold sums

# numba is untyped. `error_model="numpy"` avoids a zero check for every division in a loop.
Decorator = Callable[[Callable[..., Any]], Any]
inner: Decorator = njit(error_model="numpy")
regrouped: Decorator = njit(error_model="numpy", fastmath={"reassoc"})
contracted: Decorator = njit(error_model="numpy", fastmath={"contract"})
native: Decorator = intrinsic
_native_with_literals: Decorator = intrinsic(prefer_literal=True)


def _load_openmp() -> Any:
    """`GOMP_parallel` from PyTorch's own OpenMP, so that both share one pool of threads.

    Raises:
        ImportError: this CPU can't run the kernels.
        AttributeError: PyTorch uses another OpenMP.
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
"""The calling thread's number, from 0."""


def run_parallel(function: Any, job: int) -> None:
    """Run a kernel on all of PyTorch's threads. `job`: the address of its job."""
    _parallel(function.address, job, torch.get_num_threads(), 0)


def compile_kernel(signature: Any) -> Decorator:
    """Decorator that compiles a kernel or loads it from numba's disk cache.

    numba recompiles when the function's own file changes; the digest added to the function's name
    does the same for the other source files.
    """
    digest = hashlib.blake2b(digest_size=6)
    for name in _SOURCES:
        digest.update(Path(__file__).with_name(name).read_bytes())

    def compile_cached(function: Callable[..., Any]) -> Any:
        function.__qualname__ += f"_{digest.hexdigest()}"
        try:
            return cfunc(signature, cache=True)(function)
        except Exception:  # the cache isn't writable or is corrupt
            return cfunc(signature)(function)

    return compile_cached


@inner
def work_items(counter: Any, count: Any) -> Any:
    """Yield work items of a stage to this thread; returns once all threads have finished theirs."""
    item = _fetch_increment(counter)
    while item < count:
        yield item
        item = _fetch_increment(counter)
    _barrier()


@native
def as_pointer(typing: Any, address: Any) -> Any:
    """Convert an address to a pointer."""

    def emit_ir(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), emit_ir


@native
def _fetch_increment(typing: Any, counter: Any) -> Any:
    """Atomically increment the int64 at an address and return its previous value."""

    def emit_ir(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = types.int64
        place = builder.inttoptr(arguments[0], context.get_value_type(kind).as_pointer())
        return builder.atomic_rmw("add", place, context.get_constant(kind, 1), "monotonic")

    return types.int64(types.int64), emit_ir


@native
def float_from_bits(typing: Any, bits: Any) -> Any:
    """Reinterpret an int32 as a float32."""

    def emit_ir(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), emit_ir


@inner
def max_magnitude(row: Any) -> Any:
    """The largest absolute value of a float32 row; NaN or infinity if it has any."""
    bits, top = row.view(np.int32), np.int32(0)
    for i in range(bits.size):  # integers sort like the floats, NaN above infinity
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
"""Coefficients of (exp(r) - 1 - r) / r**2, highest power first (from Cephes' expf)."""


@contracted
def fast_exp(x: Any) -> Any:
    """exp(x) in float32, accurate to one unit in the last place, for |x| <= 87.

    Unlike math.exp, it is vectorized in loops.
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
"""A register of 16-bit lanes."""
_FACTORS = _BYTES if _VNNI else _SHORTS


@_native_with_literals
def multiply_tile(
    typing: Any, rows: Any, panel: Any, steps: Any, scales: Any, activations: Any, starts: Any,
    row_scales: Any, out: Any, width: Any,
) -> Any:  # fmt: skip
    """out[r, :32] = (starts[r] + activations[r] @ panel) * scales * row_scales[r] for `rows` rows.

    The kernels' inner loop, written in LLVM IR so that all sums stay in registers. If a panel has
    more sums than there are registers, the loop runs over the panel several times.

    All arguments but `rows` (a literal) are int64.

    Args:
        rows: at most `MAX_TILE_ROWS`.
        panel: address of uint8 [steps, 32, DOT_DEPTH].
        steps: at least 1.
        scales: address of float32 [32].
        activations: address of ACTIVATION_DTYPE [rows, steps * DOT_DEPTH].
        starts, row_scales: addresses of int32 [rows] and float32 [rows].
        out: address of float32 [rows, 32]; rows are `width` floats apart.
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
    b: Any, count: int, parts: range, panel: Any, steps: Any, scales: Any, activations: Any,
    starts: Any, row_scales: Any, out: Any, width: Any,
) -> None:  # fmt: skip
    """Emit the loop for some of a tile's registers."""
    where = [(row, part) for row in range(count) for part in range(len(parts))]
    first = [splat_scalar(b, load_value(b, _WORD, starts, 4 * row), WORDS) for row in range(count)]

    entry, loop, end = b.block, b.append_basic_block("step"), b.append_basic_block("end")
    b.branch(loop)
    b.position_at_end(loop)
    step, sums = b.phi(_LONG), [b.phi(WORDS) for _ in where]
    place = b.add(panel, b.mul(step, _LONG(PANEL_WIDTH * DOT_DEPTH)))
    weights = [
        _widen_weights(b, load_value(b, _BYTES, place, LANES * DOT_DEPTH * part)) for part in parts
    ]
    added = []
    for row in range(count):
        place = b.add(activations, b.mul(b.add(step, b.mul(steps, _LONG(row))), _LONG(STEP_BYTES)))
        activation = b.bitcast(splat_scalar(b, load_value(b, _WORD, place), WORDS), _FACTORS)
        row_sums = sums[row * len(parts) : (row + 1) * len(parts)]
        added += [_dot_bytes(b, s, w, activation) for s, w in zip(row_sums, weights, strict=True)]
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
        row_scale = splat_scalar(b, load_value(b, _FLOAT, row_scales, 4 * row), FLOATS)
        product = b.fmul(
            b.fmul(b.sitofp(total, FLOATS), load_value(b, FLOATS, scales, offset)), row_scale
        )
        place = b.add(b.add(out, b.mul(width, _LONG(4 * row))), _LONG(offset))
        b.store(product, b.inttoptr(place, FLOATS.as_pointer()), align=4)


def load_value(b: Any, kind: Any, address: Any, offset: int = 0) -> Any:
    """Load from an address plus some bytes, aligned or not."""
    place = b.inttoptr(b.add(address, _LONG(offset)), kind.as_pointer())
    return b.load(place, align=1)


def splat_scalar(b: Any, value: Any, kind: Any) -> Any:
    """A vector with the value in every lane."""
    one = b.insert_element(kind(ir.Undefined), value, _WORD(0))
    return b.shuffle_vector(one, one, ir.VectorType(_WORD, kind.count)([0] * kind.count))


def _widen_weights(b: Any, weights: Any) -> Any:
    return weights if _VNNI else b.zext(weights, _SHORTS)


def _dot_bytes(b: Any, sums: Any, weights: Any, activations: Any) -> Any:
    if not _VNNI:
        return dot_pairs(b, sums, weights, activations)
    name = "llvm.x86.avx512.vpdpbusd.512"
    return _call_intrinsic(b, name, WORDS, [sums, weights, activations])


def dot_pairs(b: Any, sums: Any, one: Any, other: Any) -> Any:
    """Add two products of 16-bit numbers to each sum."""
    if _VNNI:
        words = [b.bitcast(pairs, WORDS) for pairs in (one, other)]
        return _call_intrinsic(b, "llvm.x86.avx512.vpdpwssd.512", WORDS, [sums, *words])
    return b.add(sums, _call_intrinsic(b, "llvm.x86.avx2.pmadd.wd", WORDS, [one, other]))


def _call_intrinsic(b: Any, name: str, kind: Any, arguments: list[Any]) -> Any:
    function = ir.FunctionType(kind, [argument.type for argument in arguments])
    return b.call(cgutils.get_or_insert_function(b.module, function, name), arguments)


def select_or(b: Any, mask: Any, vector: Any, other: float) -> Any:
    """A vector of floats where the mask is set, elsewhere a constant."""
    return b.select(mask, vector, ir.Constant(vector.type, [other] * vector.type.count))


def max_signed(b: Any, one: Any, other: Any) -> Any:
    """The larger of two integers or integer vectors."""
    return b.select(b.icmp_signed(">", one, other), one, other)


def reduce_vectors(b: Any, vectors: list[Any], merge: Callable[[Any, Any, Any], Any]) -> Any:
    """Reduce all lanes of some vectors pairwise, in a fixed order."""
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
    """`fast_exp` of a vector."""

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
