"""Machine code for attention over the K/V pool: in 16 bits, and softmax piece by piece.

A token's keys for one head are whole numbers of at most `bound(dim)` times a float32 of their own
(its size), and so are its values, and the queries. Products of two such are added up without
rounding: in bfloat16, which has 8 bits where these have 11, they would take a CPU without
instructions for it twice as long. In the pool lie together what one instruction reads:

    keys    int16 [blocks, kv_heads, size / 16, dim / 2, 16, 2]   two dimensions of 16 tokens
    values  int16 [blocks, kv_heads, size / 2, dim, 2]            two tokens of a dimension
    sizes   float32 [blocks, kv_heads, size]                      of keys, and of values

Some rows of one sequence (a tile) are attended at once; the heads that share keys count as rows.
For 64 keys at a time the scores are made and turned into weights, and the weighted values are
added to what was found so far, which shrinks as larger scores come up (Milakov and Gimelshein,
arXiv:1805.02867; Dao et al., arXiv:2205.14135). The 64 begin at multiples of 64 in every sequence,
so a row's result is the same to the last bit in any tile and any chunk.

What a row does not see, it doesn't multiply by 0 either: its weight is the whole number 0, so that
NaN in somebody's keys or values stays where it is.
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
    load_vector,
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
"""Tokens between two looks at the largest score."""
KEY_GROUP = 16
"""Tokens whose keys lie together, and what a block's size and a head's must be multiples of."""
_WEIGHT_QMAX = 4096  # what a weight is rounded to at most
_ROW_TILE = 4  # rows whose sums are made at once
_GROUP_REGISTERS = KEY_GROUP // LANES

_F = np.float32
_ZERO, _MINUS_INFINITY = _F(0), _F(-np.inf)
_MIN_EXPONENT = -87.0  # e to that is as small as float32 gets
_TINY, _INFINITY = 1e-30, math.inf
_WORD, _LONG, _FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()


def qmax_for(dim: int) -> int:
    """The largest whole number in the pool: all sums of products must fit into 32 bits."""
    return min(math.isqrt((2**31 - 1) // dim), (2**31 - 1) // (KEY_TILE * _WEIGHT_QMAX))


def scratch_bytes(shared: int, dim: int) -> int:
    """Bytes of scratch for one thread; see `_attend_tile`. `shared`: heads that share keys."""
    rows = -(-QUERY_TILE * shared // _ROW_TILE) * _ROW_TILE
    return rows * (6 * dim + 6 * KEY_TILE + 16) + 4 * KEY_TILE + 8 * KEY_TILE // KEY_GROUP + 16


def _sum_products(
    b: Any, groups: Any, factors: Any, apart: Any, vector_address: Callable[[Any], tuple[Any, Any]]
) -> list[list[Any]]:
    """Sums over i < 8 * groups of factors[r][i] * vectors[i], in one loop.

    Args:
        groups: at least 1.
        factors: address of int16 [groups, 8, 2] for each of `_TILE` rows, `apart` bytes from one
            row to the next.
        vectors: of a group's number, the address of the first of its 8, int16 [16, 2] each, and
            the bytes from one to the next.

    Returns:
        For each row a list of registers that hold its 16 sums, as float32.
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
        pairs = [load_vector(b, PAIRS, place, 4 * LANES * part) for part in range(_GROUP_REGISTERS)]
        for mine, row in zip(sums, rows, strict=True):
            factor = b.bitcast(splat_scalar(b, load_vector(b, _WORD, row, 4 * turn), WORDS), PAIRS)
            mine[:] = [dot_pairs(b, s, p, factor) for s, p in zip(mine, pairs, strict=True)]
    following = b.add(group, _LONG(1))
    group.add_incoming(_LONG(0), entry)
    group.add_incoming(following, loop)
    for mine, more in zip(starts, sums, strict=True):
        for one, other in zip(mine, more, strict=True):
            one.add_incoming(zero, entry)
            one.add_incoming(other, loop)
    b.cbranch(b.icmp_signed("<", following, groups), loop, end)
    b.position_at_end(end)
    return [[b.sitofp(total, FLOATS) for total in mine] for mine in sums]


def _store_vector(b: Any, vector: Any, address: Any, offset: int) -> None:
    place = b.inttoptr(b.add(address, _LONG(offset)), vector.type.as_pointer())
    b.store(vector, place, align=4)


@native
def _score_keys(typing: Any, queries: Any, keys: Any, key_scales: Any, dim: Any, out: Any) -> Any:
    """out[r, :16] = queries[r] @ keys * sizes for 4 rows and 16 tokens.

    Addresses of int16 [4, dim], int16 [dim / 2, 16, 2], float32 [16] and float32 [4, KEYS].
    """

    def emit_ir(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        queries, keys, key_scales, dim, out = arguments

        def vector_address(group: Any) -> tuple[Any, Any]:
            return b.add(keys, b.mul(group, _LONG(32 * KEY_GROUP))), _LONG(4 * KEY_GROUP)

        groups = b.lshr(dim, _LONG(4))
        sums = _sum_products(b, groups, queries, b.mul(dim, _LONG(2)), vector_address)
        for row, row_sums in enumerate(sums):
            for part, total in enumerate(row_sums):
                key_scale = load_vector(b, FLOATS, key_scales, 4 * LANES * part)
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
    """out[r, :16] += weights[r] @ values * sizes[r] for 4 rows and 16 dimensions.

    `weights`, `sizes` and `out` are addresses of int16 [4, KEYS], float32 [4] and float32
    [4, dim]; `values` is that of an address for every 16 tokens, where int16 [8, dim, 2] lie, of
    which the 16 from dimension `first` on are read.
    """

    def emit_ir(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        weights, weight_scales, values, first, tokens, dim, out = arguments

        def vector_address(group: Any) -> tuple[Any, Any]:
            start = load_vector(b, _LONG, b.add(values, b.shl(group, _LONG(3))))
            return b.add(start, b.shl(first, _LONG(2))), b.shl(dim, _LONG(2))

        groups = b.lshr(tokens, _LONG(4))
        sums = _sum_products(b, groups, weights, _LONG(2 * KEY_TILE), vector_address)
        for row, row_sums in enumerate(sums):
            place = b.add(out, b.mul(dim, _LONG(4 * row)))
            weight_scale = splat_scalar(b, load_vector(b, _FLOAT, weight_scales, 4 * row), FLOATS)
            for part, total in enumerate(row_sums):
                offset = 4 * LANES * part
                previous = load_vector(b, FLOATS, place, offset)
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
    """What makes `top` the number `most`; 0 if that isn't finite, or too small to tell from 0."""
    return qmax / largest if _TINY < largest < _INFINITY else _ZERO


@inner
def _quantize_value(value: Any, factor: Any) -> Any:
    """A float32 as a whole number."""
    return (
        np.int16((value * factor + ROUNDING_MAGIC) - ROUNDING_MAGIC)
        if factor > _ZERO
        else np.int16(0)
    )


@inner
def store_kv(states: Any, slot: Any, pool: Any, kv_heads: Any, head_dim: Any) -> None:
    """Put a row's keys and values into the pool.

    `states` is the address of float32 [2, kv_heads, dim], `slot` that of where they go.
    """
    number, qmax = _int64_array(slot, 1)[0], _F(pool.qmax)
    block, place = number // pool.block_size, number % pool.block_size
    group, lane = place // KEY_GROUP, place % KEY_GROUP
    for head in range(kv_heads):
        tokens = (block * kv_heads + head) * pool.block_size  # that lie before the block's first
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
    """A row's scores for 64 tokens to whole numbers that its values are to be multiplied by.

    out = the largest score, `size` times it and at least `top`; the sum of all
    e**(scores * size - largest); and what the whole numbers, those times `value_scales`, have as
    their size. `size` and `top` are float32, all others addresses: float32 [64], float32 [64],
    int16 [64] and float32 [3]. What is nearly 0, NaN or infinitely small is 0.
    """

    def emit_ir(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        scores, query_scale, top, value_scales, weights, out = arguments
        positive = ir.Constant(WORDS, [0x7FFFFFFF] * LANES)
        offsets = range(0, 4 * KEY_TILE, 4 * LANES)
        rows = [load_vector(b, FLOATS, scores, offset) for offset in offsets]

        # As whole numbers, whose maximum a CPU takes at once, in the order of those floats.
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
            # What isn't seen has a size that may be anything.
            visible = b.fcmp_ordered(">", one, ir.Constant(FLOATS, [0.0] * LANES))
            weighted.append(
                select_or(
                    b, visible, b.fmul(one, load_vector(b, FLOATS, value_scales, offset)), 0.0
                )
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
    """A vector of one truth value."""
    words = splat_scalar(b, b.zext(flag, _WORD), WORDS)
    return b.icmp_signed("!=", words, ir.Constant(WORDS, [0] * LANES))


@inner
def _head_offset(job: Any, width: Any, tile: Any, head: Any, row: Any) -> Any:
    """Bytes before a row of a tile in float32 [T, width], whose columns are heads."""
    shared = job.query_heads // job.kv_heads
    return 4 * ((tile[0] + row // shared) * width + (head * shared + row % shared) * job.head_dim)


@inner
def _attend_tile(job: Any, tile: Any, head: Any, scratch: Any) -> None:
    """One tile's rows over one K/V head: from `states` to `attended`."""
    pool, head_dim, block_size = job.pool, job.head_dim, job.pool.block_size
    first, count, begin = tile
    query_group = job.query_heads // job.kv_heads
    rows = count * query_group
    padded = (rows + _ROW_TILE - 1) // _ROW_TILE * _ROW_TILE
    # For each row: the query, what was found so far, scores, weights, and four numbers.
    queries, sums = scratch, scratch + 2 * padded * head_dim
    scores = sums + 4 * padded * head_dim
    weights = scores + 4 * padded * KEY_TILE
    weight_scales, query_scales = (
        weights + 2 * padded * KEY_TILE,
        weights + padded * (2 * KEY_TILE + 4),
    )
    states = query_scales + 4 * padded
    # For each token: its values' size; for 16 of them: where their values are.
    value_scales = states + 8 * padded
    values = value_scales + 4 * KEY_TILE
    softmax_out = values + 8 * KEY_TILE // KEY_GROUP

    for row in range(rows):
        query = _float_array(
            job.qkv_states + _head_offset(job, job.qkv.num_panels * PANEL_WIDTH, tile, head, row),
            head_dim,
        )
        mine, top = _int16_array(queries + 2 * row * head_dim, head_dim), max_magnitude(query)
        factor = _inverse_scale(top, _F(pool.qmax))
        for i in range(head_dim):
            mine[i] = _quantize_value(query[i], factor)
        _float_array(query_scales, padded)[row] = top / _F(pool.qmax) * _F(job.attention_scale)
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
            block = _int64_array(pool.block_tables + 8 * (begin + (origin + at) // block_size), 1)[
                0
            ]
            tokens = (block * job.kv_heads + head) * block_size + (origin + at) % block_size
            _int64_array(values, KEY_TILE)[at // KEY_GROUP] = pool.values + 2 * tokens * head_dim
            sizes = _float_array(pool.value_scales + 4 * tokens, KEY_GROUP)
            _float_array(value_scales, KEY_TILE)[at : at + KEY_GROUP] = sizes
            keys, places = pool.keys + 2 * tokens * head_dim, pool.key_scales + 4 * tokens
            for row in range(0, padded, _ROW_TILE):
                out = scores + 4 * (row * KEY_TILE + at)
                _score_keys(queries + 2 * row * head_dim, keys, places, head_dim, out)
        for row in range(rows):
            since, until = lows[row // query_group] - origin, highs[row // query_group] + 1 - origin
            mine, state = weights + 2 * row * KEY_TILE, _float_array(states + 8 * row, 2)
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
                    mine,
                    softmax_out,
                )
                top, total, weight_scale = _float_array(softmax_out, 3)
                if top != state[0]:
                    x = state[0] - top  # at first infinity below
                    decay = fast_exp(x) if x > _MIN_EXPONENT else _ZERO
                    row_sums = _float_array(sums + 4 * row * head_dim, head_dim)
                    for i in range(head_dim):
                        row_sums[i] *= decay
                    state[0], state[1] = top, state[1] * decay
                state[1] += total
                _float_array(weight_scales, padded)[row] = weight_scale
            else:
                _int16_array(mine, KEY_TILE)[:] = 0
                _float_array(weight_scales, padded)[row] = _ZERO
        for part in range(
            0, head_dim, KEY_GROUP
        ):  # so that a part of all values stays in the cache
            for row in range(0, padded, _ROW_TILE):
                mine, sizes = weights + 2 * (row * KEY_TILE + start), weight_scales + 4 * row
                out = sums + 4 * (row * head_dim + part)
                _accumulate_values(
                    mine, sizes, values + start // 2, part, stop - start, head_dim, out
                )

    for row in range(rows):
        mine, total = (
            _float_array(sums + 4 * row * head_dim, head_dim),
            _float_array(states + 8 * row, 2)[1],
        )
        out = _float_array(
            job.attended + _head_offset(job, job.attention_width, tile, head, row), head_dim
        )
        for i in range(head_dim):
            out[i] = mine[i] / total


@inner
def attend_rows(job: Any, stage: Any) -> None:
    """A stage: attention of all rows."""
    scratch = job.scratch + job.scratch_bytes * thread_number()
    for item in work_items(job.work_counters + 8 * stage, job.pool.num_tiles * job.kv_heads):
        tile = _int64_array(job.pool.tiles + 24 * (item // job.kv_heads), 3)
        _attend_tile(job, (tile[0], tile[1], tile[2]), item % job.kv_heads, scratch)
