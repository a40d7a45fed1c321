"""Attention kernel over the K/V pool: int16 keys and values, online softmax.

A token's keys for one head are quantized to integers of at most `qmax_for(dim)` with one float32
scale, and so are its values and the queries. Their products are summed exactly. bfloat16 has 8
significant bits where these have 11, and takes twice as long on a CPU without instructions for it.
The pool's layout keeps together what one instruction reads:

    keys    int16 [blocks, kv_heads, block_size / 16, dim / 2, 16, 2]   two dimensions of 16 tokens
    values  int16 [blocks, kv_heads, block_size / 2, dim, 2]            two tokens of a dimension
    scales  float32 [blocks, kv_heads, block_size]                      of keys, and of values

Several rows of one sequence form a tile that is attended at once; query heads that share a K/V head
count as rows. For 64 keys at a time, scores become softmax weights and the weighted values are
added to running sums, which decay when a larger score turns up (Milakov and Gimelshein,
arXiv:1805.02867; Dao et al., arXiv:2205.14135). Key tiles start at multiples of 64 in every
sequence, so a row's result is the same to the last bit in any tile and any chunk.

A key outside a row's mask has the integer weight 0, so NaN in its value can't reach the row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types

from bot.engine.cpu.int16_attention import QUERY_TILE
from bot.engine.cpu.jit import (
    FLOATS,
    LANES,
    PAIRS,
    PANEL_WIDTH,
    ROUNDING_MAGIC,
    WORDS,
    as_pointer,
    dot_pairs,
    emit_exp,
    fast_exp,
    inner,
    load_value,
    max_magnitude,
    max_signed,
    native,
    reduce_vectors,
    select_or,
    splat_scalar,
    thread_number,
    work_items,
)

KEY_TILE = 64
"""Keys per step of the online softmax."""
KEY_GROUP = 16
"""Tokens whose keys are interleaved; the block size and the head size must be multiples of it."""
_WEIGHT_QMAX = 4096  # the largest quantized softmax weight
_ROW_TILE = 4  # rows whose sums are computed at once
_GROUP_REGISTERS = KEY_GROUP // LANES

_F = np.float32
_ZERO, _MINUS_INFINITY = _F(0), _F(-np.inf)
_MIN_EXPONENT = -87.0  # exp of anything smaller underflows float32
_TINY, _INFINITY = 1e-30, math.inf
_WORD, _LONG, _FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()


def qmax_for(dim: int) -> int:
    """The largest quantized value in the pool: sums of products must fit into 32 bits."""
    return min(math.isqrt((2**31 - 1) // dim), (2**31 - 1) // (KEY_TILE * _WEIGHT_QMAX))


def scratch_bytes(shared: int, dim: int) -> int:
    """Scratch memory of one thread, see `_attend_tile`. `shared`: query heads per K/V head."""
    rows = -(-QUERY_TILE * shared // _ROW_TILE) * _ROW_TILE
    return rows * (6 * dim + 6 * KEY_TILE + 16) + 4 * KEY_TILE + 8 * KEY_TILE // KEY_GROUP + 16


def _sum_products(
    b: Any, groups: Any, factors: Any, apart: Any, vector_address: Callable[[Any], tuple[Any, Any]]
) -> list[list[Any]]:
    """Emit a loop that sums factors[r][i] * vectors[i] over i < 8 * groups.

    Args:
        groups: at least 1.
        factors: address of int16 [groups, 8, 2] for each of `_TILE` rows, `apart` bytes from one
            row to the next.
        vector_address: for a group's index, returns the address of the first of its 8 vectors,
            int16 [16, 2] each, and the bytes from one to the next.

    Returns:
        For each row, the registers with its 16 sums, as float32.
    """
    zero = ir.Constant(WORDS, [0] * LANES)
    entry, loop, end = b.block, b.append_basic_block("group"), b.append_basic_block("end")
    b.branch(loop)
    b.position_at_end(loop)
    group = b.phi(_LONG)
    starts = [[b.phi(WORDS) for _ in range(_GROUP_REGISTERS)] for _ in range(_ROW_TILE)]
    sums = [list(row_sums) for row_sums in starts]
    first, pitch = vector_address(group)
    rows = [b.add(factors, b.add(b.shl(group, _LONG(5)), b.mul(apart, _LONG(row)))) for row in
            range(_ROW_TILE)]  # fmt: skip
    for turn in range(8):
        place = b.add(first, b.mul(pitch, _LONG(turn)))
        pairs = [load_value(b, PAIRS, place, 4 * LANES * part) for part in range(_GROUP_REGISTERS)]
        for row_sums, row in zip(sums, rows, strict=True):
            factor = b.bitcast(splat_scalar(b, load_value(b, _WORD, row, 4 * turn), WORDS), PAIRS)
            row_sums[:] = [dot_pairs(b, s, p, factor) for s, p in zip(row_sums, pairs, strict=True)]
    following = b.add(group, _LONG(1))
    group.add_incoming(_LONG(0), entry)
    group.add_incoming(following, loop)
    for row_starts, row_sums in zip(starts, sums, strict=True):
        for phi, total in zip(row_starts, row_sums, strict=True):
            phi.add_incoming(zero, entry)
            phi.add_incoming(total, loop)
    b.cbranch(b.icmp_signed("<", following, groups), loop, end)
    b.position_at_end(end)
    return [[b.sitofp(total, FLOATS) for total in row_sums] for row_sums in sums]


def _store_vector(b: Any, vector: Any, address: Any, offset: int) -> None:
    place = b.inttoptr(b.add(address, _LONG(offset)), vector.type.as_pointer())
    b.store(vector, place, align=4)


@native
def _score_keys(typing: Any, queries: Any, keys: Any, key_scales: Any, dim: Any, out: Any) -> Any:
    """out[r, :16] = queries[r] @ keys * key_scales for 4 rows and 16 tokens.

    Addresses of int16 [4, dim], int16 [dim / 2, 16, 2], float32 [16] and float32 [4, KEY_TILE].
    """

    def emit_ir(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        queries, keys, key_scales, dim, out = arguments

        def vector_address(group: Any) -> tuple[Any, Any]:
            return b.add(keys, b.mul(group, _LONG(32 * KEY_GROUP))), _LONG(4 * KEY_GROUP)

        groups = b.lshr(dim, _LONG(4))
        sums = _sum_products(b, groups, queries, b.mul(dim, _LONG(2)), vector_address)
        for row, row_sums in enumerate(sums):
            for part, total in enumerate(row_sums):
                key_scale = load_value(b, FLOATS, key_scales, 4 * LANES * part)
                _store_vector(
                    b, b.fmul(total, key_scale), out, 4 * KEY_TILE * row + 4 * LANES * part
                )
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), emit_ir


@native
def _accumulate_values(
    typing: Any,
    weights: Any,
    weight_scales: Any,
    values: Any,
    first: Any,
    tokens: Any,
    dim: Any,
    out: Any,
) -> Any:
    """out[r, :16] += weights[r] @ values * weight_scales[r] for 4 rows and 16 dimensions.

    `weights`, `weight_scales` and `out` are addresses of int16 [4, KEY_TILE], float32 [4] and
    float32 [4, dim]. `values` is the address of one pointer per 16 tokens, each to int16
    [8, dim, 2], of which the 16 dimensions from `first` on are read.
    """

    def emit_ir(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        weights, weight_scales, values, first, tokens, dim, out = arguments

        def vector_address(group: Any) -> tuple[Any, Any]:
            start = load_value(b, _LONG, b.add(values, b.shl(group, _LONG(3))))
            return b.add(start, b.shl(first, _LONG(2))), b.shl(dim, _LONG(2))

        groups = b.lshr(tokens, _LONG(4))
        sums = _sum_products(b, groups, weights, _LONG(2 * KEY_TILE), vector_address)
        for row, row_sums in enumerate(sums):
            place = b.add(out, b.mul(dim, _LONG(4 * row)))
            weight_scale = splat_scalar(b, load_value(b, _FLOAT, weight_scales, 4 * row), FLOATS)
            for part, total in enumerate(row_sums):
                offset = 4 * LANES * part
                previous = load_value(b, FLOATS, place, offset)
                _store_vector(b, b.fadd(previous, b.fmul(total, weight_scale)), place, offset)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), emit_ir


@inner
def _float_array(address: Any, length: Any) -> Any:
    return carray(as_pointer(address), length, _F)


@inner
def _int64_array(address: Any, length: Any) -> Any:
    return carray(as_pointer(address), length, np.int64)


@inner
def _int16_array(address: Any, length: Any) -> Any:
    return carray(as_pointer(address), length, np.int16)


@inner
def _inverse_scale(largest: Any, qmax: Any) -> Any:
    """1 / scale such that `largest` becomes `qmax`; 0 if `largest` is not finite or is tiny."""
    return qmax / largest if _TINY < largest < _INFINITY else _ZERO


@inner
def _quantize_value(value: Any, factor: Any) -> Any:
    """Round a float32 to its quantized value."""
    return (
        np.int16((value * factor + ROUNDING_MAGIC) - ROUNDING_MAGIC)
        if factor > _ZERO
        else np.int16(0)
    )


@inner
def store_kv(states: Any, slot: Any, pool: Any, kv_heads: Any, head_dim: Any) -> None:
    """Quantize a row's keys and values into the pool.

    Args:
        states: address of float32 [2, kv_heads, head_dim].
        slot: address of the row's entry in the slot mapping.
    """
    number, qmax = _int64_array(slot, 1)[0], _F(pool.qmax)
    block, place = number // pool.block_size, number % pool.block_size
    group, lane = place // KEY_GROUP, place % KEY_GROUP
    for head in range(kv_heads):
        tokens = (block * kv_heads + head) * pool.block_size  # before the block's first one
        start = 2 * (tokens + group * KEY_GROUP) * head_dim
        row = _float_array(states + 4 * head * head_dim, head_dim)
        largest = max_magnitude(row)
        factor, keys = (
            _inverse_scale(largest, qmax),
            _int16_array(pool.keys + start, KEY_GROUP * head_dim),
        )
        for i in range(head_dim // 2):
            keys[(i * KEY_GROUP + lane) * 2] = _quantize_value(row[2 * i], factor)
            keys[(i * KEY_GROUP + lane) * 2 + 1] = _quantize_value(row[2 * i + 1], factor)
        _float_array(pool.key_scales + 4 * (tokens + place), 1)[0] = largest / qmax

        row = _float_array(states + 4 * (kv_heads + head) * head_dim, head_dim)
        largest = max_magnitude(row)
        factor = _inverse_scale(largest, qmax)
        values = _int16_array(pool.values + start + 4 * (lane // 2) * head_dim, 2 * head_dim)
        for i in range(head_dim):
            values[2 * i + lane % 2] = _quantize_value(row[i], factor)
        _float_array(pool.value_scales + 4 * (tokens + place), 1)[0] = largest / qmax


@native
def _softmax_weights(
    typing: Any, scores: Any, query_scale: Any, top: Any, value_scales: Any, weights: Any, out: Any
) -> Any:
    """Turn a row's scores for 64 keys into int16 weights for their values.

    Writes to `out` the running maximum m = max(top, query_scale * max(scores)), the sum of all
    exp(query_scale * scores - m), and the scale of the weights, which are those exponentials times
    `value_scales`, quantized. `query_scale` and `top` are float32; the others are addresses of
    float32 [64], float32 [64], int16 [64] and float32 [3]. Exponentials that underflow, and those
    of NaN or minus infinity, are 0.
    """

    def emit_ir(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        scores, query_scale, top, value_scales, weights, out = arguments
        positive = ir.Constant(WORDS, [0x7FFFFFFF] * LANES)
        offsets = range(0, 4 * KEY_TILE, 4 * LANES)
        rows = [load_value(b, FLOATS, scores, offset) for offset in offsets]

        # Integers in the order of the floats, since CPUs have a fast integer maximum.
        bits = [b.bitcast(row, WORDS) for row in rows]
        sign = ir.Constant(WORDS, [31] * LANES)
        ordered = [b.xor(word, b.and_(b.ashr(word, sign), positive)) for word in bits]
        largest = reduce_vectors(b, ordered, max_signed)
        magnitude = b.and_(b.ashr(largest, _WORD(31)), _WORD(0x7FFFFFFF))
        largest = b.fmul(b.bitcast(b.xor(largest, magnitude), _FLOAT), query_scale)
        top = b.select(b.fcmp_ordered(">", largest, top), largest, top)

        query_scales, tops = splat_scalar(b, query_scale, FLOATS), splat_scalar(b, top, FLOATS)
        min_exponent = ir.Constant(FLOATS, [_MIN_EXPONENT] * LANES)
        exponentials = []
        for row in rows:
            x = b.fsub(b.fmul(row, query_scales), tops)
            in_range = b.fcmp_ordered(">", x, min_exponent)
            exponentials.append(
                select_or(b, in_range, emit_exp(b, select_or(b, in_range, x, _MIN_EXPONENT)), 0.0)
            )
        total = reduce_vectors(b, exponentials, ir.IRBuilder.fadd)

        weighted = []
        for one, offset in zip(exponentials, offsets, strict=True):
            # The value scale of a masked key may be anything, even NaN.
            visible = b.fcmp_ordered(">", one, ir.Constant(FLOATS, [0.0] * LANES))
            weighted.append(
                select_or(b, visible, b.fmul(one, load_value(b, FLOATS, value_scales, offset)), 0.0)
            )
        bits = [b.and_(b.bitcast(one, WORDS), positive) for one in weighted]
        heaviest = b.bitcast(reduce_vectors(b, bits, max_signed), _FLOAT)
        usable = b.and_(
            b.fcmp_ordered(">", heaviest, _FLOAT(_TINY)),
            b.fcmp_ordered("<", heaviest, _FLOAT(float("inf"))),
        )
        factor = b.select(usable, b.fdiv(_FLOAT(float(_WEIGHT_QMAX)), heaviest), _FLOAT(0.0))
        factors, usable_lanes = splat_scalar(b, factor, FLOATS), _splat_flag(b, usable)
        nearest = ir.Constant(FLOATS, [float(ROUNDING_MAGIC)] * LANES)
        for one, offset in zip(weighted, offsets, strict=True):
            level = b.fmul(select_or(b, usable_lanes, one, 0.0), factors)
            level = b.fsub(b.fadd(level, nearest), nearest)
            shorts = b.trunc(b.fptosi(level, WORDS), ir.VectorType(ir.IntType(16), LANES))
            _store_vector(b, shorts, weights, offset // 2)
        for at, value in enumerate((top, total, b.fdiv(heaviest, _FLOAT(float(_WEIGHT_QMAX))))):
            _store_vector(b, value, out, 4 * at)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32, types.float32, *[types.int64] * 3), emit_ir


def _splat_flag(b: Any, flag: Any) -> Any:
    """A mask vector of one boolean."""
    words = splat_scalar(b, b.zext(flag, _WORD), WORDS)
    return b.icmp_signed("!=", words, ir.Constant(WORDS, [0] * LANES))


@inner
def _head_offset(job: Any, width: Any, tile: Any, head: Any, row: Any) -> Any:
    """Byte offset of one head of a tile's row in float32 [T, width]."""
    shared = job.query_heads // job.kv_heads
    return 4 * ((tile[0] + row // shared) * width + (head * shared + row % shared) * job.head_dim)


@inner
def _attend_tile(job: Any, tile: Any, head: Any, scratch: Any) -> None:
    """Attend one tile's rows over one K/V head: from `qkv_states` to `attended`."""
    pool, head_dim, block_size = job.pool, job.head_dim, job.pool.block_size
    first, count, begin = tile
    query_group = job.query_heads // job.kv_heads
    rows = count * query_group
    padded = (rows + _ROW_TILE - 1) // _ROW_TILE * _ROW_TILE
    # Scratch per row: quantized query, running sums, scores, weights, two scales, max and total.
    queries, sums = scratch, scratch + 2 * padded * head_dim
    scores = sums + 4 * padded * head_dim
    weights = scores + 4 * padded * KEY_TILE
    weight_scales, query_scales = (
        weights + 2 * padded * KEY_TILE,
        weights + padded * (2 * KEY_TILE + 4),
    )
    states = query_scales + 4 * padded
    # Scratch per key: the scale of its value; per 16 keys: the address of their values.
    value_scales = states + 8 * padded
    values = value_scales + 4 * KEY_TILE
    softmax_out = values + 8 * KEY_TILE // KEY_GROUP

    for row in range(rows):
        query = _float_array(
            job.qkv_states + _head_offset(job, job.qkv.num_panels * PANEL_WIDTH, tile, head, row),
            head_dim,
        )
        quantized = _int16_array(queries + 2 * row * head_dim, head_dim)
        largest = max_magnitude(query)
        factor = _inverse_scale(largest, _F(pool.qmax))
        for i in range(head_dim):
            quantized[i] = _quantize_value(query[i], factor)
        _float_array(query_scales, padded)[row] = largest / _F(pool.qmax) * _F(job.attention_scale)
        _float_array(sums + 4 * row * head_dim, head_dim)[:] = _ZERO
        state = _float_array(states + 8 * row, 2)
        state[0], state[1] = _MINUS_INFINITY, _ZERO

    lows, highs = (
        _int64_array(pool.first_visible + 8 * first, count),
        _int64_array(pool.last_visible + 8 * first, count),
    )
    low, high = lows.min(), highs.max() + 1
    for chunk in range(low // KEY_TILE, (high + KEY_TILE - 1) // KEY_TILE):
        origin = chunk * KEY_TILE
        start = max(low - origin, 0) // KEY_GROUP * KEY_GROUP
        stop = min((high - origin + KEY_GROUP - 1) // KEY_GROUP * KEY_GROUP, KEY_TILE)
        for at in range(start, stop, KEY_GROUP):
            entry = pool.block_tables + 8 * (begin + (origin + at) // block_size)
            block = _int64_array(entry, 1)[0]
            tokens = (block * job.kv_heads + head) * block_size + (origin + at) % block_size
            _int64_array(values, KEY_TILE)[at // KEY_GROUP] = pool.values + 2 * tokens * head_dim
            group_scales = _float_array(pool.value_scales + 4 * tokens, KEY_GROUP)
            _float_array(value_scales, KEY_TILE)[at : at + KEY_GROUP] = group_scales
            keys, key_scales = pool.keys + 2 * tokens * head_dim, pool.key_scales + 4 * tokens
            for row in range(0, padded, _ROW_TILE):
                out = scores + 4 * (row * KEY_TILE + at)
                _score_keys(queries + 2 * row * head_dim, keys, key_scales, head_dim, out)
        for row in range(rows):
            since = lows[row // query_group] - origin
            until = highs[row // query_group] + 1 - origin
            row_weights, state = weights + 2 * row * KEY_TILE, _float_array(states + 8 * row, 2)
            if since < KEY_TILE and until > 0:
                row_scores = _float_array(scores + 4 * row * KEY_TILE, KEY_TILE)
                row_scores[: max(since, 0)] = _MINUS_INFINITY
                row_scores[min(until, KEY_TILE) :] = _MINUS_INFINITY
                query_scale = _float_array(query_scales, padded)[row]
                _softmax_weights(
                    scores + 4 * row * KEY_TILE,
                    query_scale,
                    state[0],
                    value_scales,
                    row_weights,
                    softmax_out,
                )
                top, total, weight_scale = _float_array(softmax_out, 3)
                if top != state[0]:
                    x = state[0] - top  # minus infinity at first
                    decay = fast_exp(x) if x > _MIN_EXPONENT else _ZERO
                    row_sums = _float_array(sums + 4 * row * head_dim, head_dim)
                    for i in range(head_dim):
                        row_sums[i] *= decay
                    state[0], state[1] = top, state[1] * decay
                state[1] += total
                _float_array(weight_scales, padded)[row] = weight_scale
            else:
                _int16_array(row_weights, KEY_TILE)[:] = 0
                _float_array(weight_scales, padded)[row] = _ZERO
        # Dimensions outermost: this part of all values then stays in the cache.
        for part in range(0, head_dim, KEY_GROUP):
            for row in range(0, padded, _ROW_TILE):
                tile_weights = weights + 2 * (row * KEY_TILE + start)
                scales, out = weight_scales + 4 * row, sums + 4 * (row * head_dim + part)
                _accumulate_values(
                    tile_weights, scales, values + start // 2, part, stop - start, head_dim, out
                )

    for row in range(rows):
        final_sums = _float_array(sums + 4 * row * head_dim, head_dim)
        total = _float_array(states + 8 * row, 2)[1]
        out = _float_array(
            job.attended + _head_offset(job, job.attention_width, tile, head, row), head_dim
        )
        for i in range(head_dim):
            out[i] = final_sums[i] / total


@inner
def attend_rows(job: Any, stage: Any) -> None:
    """Stage: attention of all rows."""
    scratch = job.scratch + job.scratch_bytes * thread_number()
    for item in work_items(job.work_counters + 8 * stage, job.pool.num_tiles * job.kv_heads):
        tile = _int64_array(job.pool.tiles + 24 * (item // job.kv_heads), 3)
        _attend_tile(job, (tile[0], tile[1], tile[2]), item % job.kv_heads, scratch)
