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

from bot.engine.cpu.int16_attention import QUERIES
from bot.engine.cpu.jit import (
    FLOATS,
    LANES,
    NEAREST,
    PAIRS,
    PANEL,
    WORDS,
    across,
    dot_pairs,
    exp,
    exps,
    inner,
    larger,
    load,
    magnitude,
    native,
    pointer,
    select,
    shares,
    splat,
    thread,
)

KEYS = 64
"""Tokens between two looks at the largest score."""
TOGETHER = 16
"""Tokens whose keys lie together, and what a block's size and a head's must be multiples of."""
_HEAVIEST = 4096  # what a weight is rounded to at most
_TILE = 4  # rows whose sums are made at once
_PARTS = TOGETHER // LANES

_F = np.float32
_ZERO, _LEAST = _F(0), _F(-np.inf)
_FAR = -87.0  # e to that is as small as float32 gets
_TINY, _INFINITY = 1e-30, math.inf
_WORD, _LONG, _FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()


def bound(dim: int) -> int:
    """The largest whole number in the pool: all sums of products must fit into 32 bits."""
    return min(math.isqrt((2**31 - 1) // dim), (2**31 - 1) // (KEYS * _HEAVIEST))


def room(shared: int, dim: int) -> int:
    """Bytes of scratch for one thread; see `_attend_tile`. `shared`: heads that share keys."""
    rows = -(-QUERIES * shared // _TILE) * _TILE
    return rows * (6 * dim + 6 * KEYS + 16) + 4 * KEYS + 8 * KEYS // TOGETHER + 16


def _sum_products(
    b: Any, groups: Any, factors: Any, apart: Any, vectors: Callable[[Any], tuple[Any, Any]]
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
    before, loop, after = b.block, b.append_basic_block("group"), b.append_basic_block("end")
    b.branch(loop)
    b.position_at_end(loop)
    group = b.phi(_LONG)
    starts = [[b.phi(WORDS) for _ in range(_PARTS)] for _ in range(_TILE)]
    sums = [list(mine) for mine in starts]
    first, pitch = vectors(group)
    rows = [b.add(factors, b.add(b.shl(group, _LONG(5)), b.mul(apart, _LONG(row)))) for row in
            range(_TILE)]  # fmt: skip
    for turn in range(8):
        place = b.add(first, b.mul(pitch, _LONG(turn)))
        pairs = [load(b, PAIRS, place, 4 * LANES * part) for part in range(_PARTS)]
        for mine, row in zip(sums, rows, strict=True):
            factor = b.bitcast(splat(b, load(b, _WORD, row, 4 * turn), WORDS), PAIRS)
            mine[:] = [dot_pairs(b, s, p, factor) for s, p in zip(mine, pairs, strict=True)]
    following = b.add(group, _LONG(1))
    group.add_incoming(_LONG(0), before)
    group.add_incoming(following, loop)
    for mine, more in zip(starts, sums, strict=True):
        for one, other in zip(mine, more, strict=True):
            one.add_incoming(zero, before)
            one.add_incoming(other, loop)
    b.cbranch(b.icmp_signed("<", following, groups), loop, after)
    b.position_at_end(after)
    return [[b.sitofp(total, FLOATS) for total in mine] for mine in sums]


def _put(b: Any, vector: Any, address: Any, offset: int) -> None:
    place = b.inttoptr(b.add(address, _LONG(offset)), vector.type.as_pointer())
    b.store(vector, place, align=4)


@native
def _score(typing: Any, queries: Any, keys: Any, sizes: Any, dim: Any, out: Any) -> Any:
    """out[r, :16] = queries[r] @ keys * sizes for 4 rows and 16 tokens.

    Addresses of int16 [4, dim], int16 [dim / 2, 16, 2], float32 [16] and float32 [4, KEYS].
    """

    def build(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        queries, keys, sizes, dim, out = arguments

        def vectors(group: Any) -> tuple[Any, Any]:
            return b.add(keys, b.mul(group, _LONG(32 * TOGETHER))), _LONG(4 * TOGETHER)

        groups = b.lshr(dim, _LONG(4))
        found = _sum_products(b, groups, queries, b.mul(dim, _LONG(2)), vectors)
        for row, mine in enumerate(found):
            for part, total in enumerate(mine):
                size = load(b, FLOATS, sizes, 4 * LANES * part)
                _put(b, b.fmul(total, size), out, 4 * KEYS * row + 4 * LANES * part)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), build


@native
def _mix(
    typing: Any, weights: Any, sizes: Any, values: Any, first: Any, tokens: Any, dim: Any, out: Any
) -> Any:
    """out[r, :16] += weights[r] @ values * sizes[r] for 4 rows and 16 dimensions.

    `weights`, `sizes` and `out` are addresses of int16 [4, KEYS], float32 [4] and float32
    [4, dim]; `values` is that of an address for every 16 tokens, where int16 [8, dim, 2] lie, of
    which the 16 from dimension `first` on are read.
    """

    def build(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        weights, sizes, values, first, tokens, dim, out = arguments

        def vectors(group: Any) -> tuple[Any, Any]:
            start = load(b, _LONG, b.add(values, b.shl(group, _LONG(3))))
            return b.add(start, b.shl(first, _LONG(2))), b.shl(dim, _LONG(2))

        groups = b.lshr(tokens, _LONG(4))
        found = _sum_products(b, groups, weights, _LONG(2 * KEYS), vectors)
        for row, mine in enumerate(found):
            place = b.add(out, b.mul(dim, _LONG(4 * row)))
            size = splat(b, load(b, _FLOAT, sizes, 4 * row), FLOATS)
            for part, total in enumerate(mine):
                offset = 4 * LANES * part
                there = load(b, FLOATS, place, offset)
                _put(b, b.fadd(there, b.fmul(total, size)), place, offset)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), build


@inner
def _floats(address: Any, length: Any) -> Any:
    return carray(pointer(address), length, _F)


@inner
def _numbers(address: Any, length: Any) -> Any:
    return carray(pointer(address), length, np.int64)


@inner
def _shorts(address: Any, length: Any) -> Any:
    return carray(pointer(address), length, np.int16)


@inner
def _factor(top: Any, most: Any) -> Any:
    """What makes `top` the number `most`; 0 if that isn't finite, or too small to tell from 0."""
    return most / top if _TINY < top < _INFINITY else _ZERO


@inner
def _level(value: Any, factor: Any) -> Any:
    """A float32 as a whole number."""
    return np.int16((value * factor + NEAREST) - NEAREST) if factor > _ZERO else np.int16(0)


@inner
def store(states: Any, slot: Any, pool: Any, kv_heads: Any, dim: Any) -> None:
    """Put a row's keys and values into the pool.

    `states` is the address of float32 [2, kv_heads, dim], `slot` that of where they go.
    """
    number, most = _numbers(slot, 1)[0], _F(pool.most)
    block, place = number // pool.size, number % pool.size
    group, lane = place // TOGETHER, place % TOGETHER
    for head in range(kv_heads):
        tokens = (block * kv_heads + head) * pool.size  # that lie before the block's first
        start = 2 * (tokens + group * TOGETHER) * dim
        row = _floats(states + 4 * head * dim, dim)
        top = magnitude(row)
        factor, keys = _factor(top, most), _shorts(pool.keys + start, TOGETHER * dim)
        for i in range(dim // 2):
            keys[(i * TOGETHER + lane) * 2] = _level(row[2 * i], factor)
            keys[(i * TOGETHER + lane) * 2 + 1] = _level(row[2 * i + 1], factor)
        _floats(pool.key_sizes + 4 * (tokens + place), 1)[0] = top / most

        row = _floats(states + 4 * (kv_heads + head) * dim, dim)
        top = magnitude(row)
        factor = _factor(top, most)
        values = _shorts(pool.values + start + 4 * (lane // 2) * dim, 2 * dim)
        for i in range(dim):
            values[2 * i + lane % 2] = _level(row[i], factor)
        _floats(pool.value_sizes + 4 * (tokens + place), 1)[0] = top / most


@native
def _weigh(
    typing: Any, scores: Any, size: Any, top: Any, value_sizes: Any, weights: Any, out: Any
) -> Any:
    """A row's scores for 64 tokens to whole numbers that its values are to be multiplied by.

    out = the largest score, `size` times it and at least `top`; the sum of all
    e**(scores * size - largest); and what the whole numbers, those times `value_sizes`, have as
    their size. `size` and `top` are float32, all others addresses: float32 [64], float32 [64],
    int16 [64] and float32 [3]. What is nearly 0, NaN or infinitely small is 0.
    """

    def build(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        scores, size, top, value_sizes, weights, out = arguments
        positive = ir.Constant(WORDS, [0x7FFFFFFF] * LANES)
        offsets = range(0, 4 * KEYS, 4 * LANES)
        rows = [load(b, FLOATS, scores, offset) for offset in offsets]

        # As whole numbers, whose maximum a CPU takes at once, in the order of those floats.
        bits = [b.bitcast(row, WORDS) for row in rows]
        sign = ir.Constant(WORDS, [31] * LANES)
        ordered = [b.xor(word, b.and_(b.ashr(word, sign), positive)) for word in bits]
        largest = across(b, ordered, larger)
        magnitude = b.and_(b.ashr(largest, _WORD(31)), _WORD(0x7FFFFFFF))
        largest = b.fmul(b.bitcast(b.xor(largest, magnitude), _FLOAT), size)
        top = b.select(b.fcmp_ordered(">", largest, top), largest, top)

        sizes, tops = splat(b, size, FLOATS), splat(b, top, FLOATS)
        far = ir.Constant(FLOATS, [_FAR] * LANES)
        found = []
        for row in rows:
            x = b.fsub(b.fmul(row, sizes), tops)
            near = b.fcmp_ordered(">", x, far)
            found.append(select(b, near, exps(b, select(b, near, x, _FAR)), 0.0))
        total = across(b, found, ir.IRBuilder.fadd)

        weighed = []
        for one, offset in zip(found, offsets, strict=True):
            # What isn't seen has a size that may be anything.
            seen = b.fcmp_ordered(">", one, ir.Constant(FLOATS, [0.0] * LANES))
            weighed.append(select(b, seen, b.fmul(one, load(b, FLOATS, value_sizes, offset)), 0.0))
        bits = [b.and_(b.bitcast(one, WORDS), positive) for one in weighed]
        heaviest = b.bitcast(across(b, bits, larger), _FLOAT)
        usable = b.and_(
            b.fcmp_ordered(">", heaviest, _FLOAT(_TINY)),
            b.fcmp_ordered("<", heaviest, _FLOAT(float("inf"))),
        )
        factor = b.select(usable, b.fdiv(_FLOAT(float(_HEAVIEST)), heaviest), _FLOAT(0.0))
        factors, wanted = splat(b, factor, FLOATS), _splat_flag(b, usable)
        nearest = ir.Constant(FLOATS, [float(NEAREST)] * LANES)
        for one, offset in zip(weighed, offsets, strict=True):
            level = b.fmul(select(b, wanted, one, 0.0), factors)
            level = b.fsub(b.fadd(level, nearest), nearest)
            shorts = b.trunc(b.fptosi(level, WORDS), ir.VectorType(ir.IntType(16), LANES))
            _put(b, shorts, weights, offset // 2)
        for at, value in enumerate((top, total, b.fdiv(heaviest, _FLOAT(float(_HEAVIEST))))):
            _put(b, value, out, 4 * at)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32, types.float32, *[types.int64] * 3), build


def _splat_flag(b: Any, flag: Any) -> Any:
    """A vector of one truth value."""
    words = splat(b, b.zext(flag, _WORD), WORDS)
    return b.icmp_signed("!=", words, ir.Constant(WORDS, [0] * LANES))


@inner
def _place(job: Any, width: Any, tile: Any, head: Any, row: Any) -> Any:
    """Bytes before a row of a tile in float32 [T, width], whose columns are heads."""
    shared = job.query_heads // job.kv_heads
    return 4 * ((tile[0] + row // shared) * width + (head * shared + row % shared) * job.dim)


@inner
def _attend_tile(job: Any, tile: Any, head: Any, scratch: Any) -> None:
    """One tile's rows over one K/V head: from `states` to `attended`."""
    pool, dim, size = job.pool, job.dim, job.pool.size
    first, count, begin = tile
    shared = job.query_heads // job.kv_heads
    rows = count * shared
    padded = (rows + _TILE - 1) // _TILE * _TILE
    # For each row: the query, what was found so far, scores, weights, and four numbers.
    queries, found = scratch, scratch + 2 * padded * dim
    scores = found + 4 * padded * dim
    weights = scores + 4 * padded * KEYS
    weight_sizes, query_sizes = weights + 2 * padded * KEYS, weights + padded * (2 * KEYS + 4)
    states = query_sizes + 4 * padded
    # For each token: its values' size; for 16 of them: where their values are.
    value_sizes = states + 8 * padded
    values = value_sizes + 4 * KEYS
    news = values + 8 * KEYS // TOGETHER

    for row in range(rows):
        asked = _floats(job.states + _place(job, job.qkv.panels * PANEL, tile, head, row), dim)
        mine, top = _shorts(queries + 2 * row * dim, dim), magnitude(asked)
        factor = _factor(top, _F(pool.most))
        for i in range(dim):
            mine[i] = _level(asked[i], factor)
        _floats(query_sizes, padded)[row] = top / _F(pool.most) * _F(job.scale)
        _floats(found + 4 * row * dim, dim)[:] = _ZERO
        state = _floats(states + 8 * row, 2)
        state[0], state[1] = _LEAST, _ZERO

    lows, highs = _numbers(pool.lows + 8 * first, count), _numbers(pool.highs + 8 * first, count)
    low, high = lows.min(), highs.max() + 1
    for chunk in range(low // KEYS, (high + KEYS - 1) // KEYS):
        origin = chunk * KEYS
        start = max(low - origin, 0) // TOGETHER * TOGETHER
        stop = min((high - origin + TOGETHER - 1) // TOGETHER * TOGETHER, KEYS)
        for at in range(start, stop, TOGETHER):
            block = _numbers(pool.tables + 8 * (begin + (origin + at) // size), 1)[0]
            tokens = (block * job.kv_heads + head) * size + (origin + at) % size
            _numbers(values, KEYS)[at // TOGETHER] = pool.values + 2 * tokens * dim
            sizes = _floats(pool.value_sizes + 4 * tokens, TOGETHER)
            _floats(value_sizes, KEYS)[at : at + TOGETHER] = sizes
            keys, places = pool.keys + 2 * tokens * dim, pool.key_sizes + 4 * tokens
            for row in range(0, padded, _TILE):
                out = scores + 4 * (row * KEYS + at)
                _score(queries + 2 * row * dim, keys, places, dim, out)
        for row in range(rows):
            since, until = lows[row // shared] - origin, highs[row // shared] + 1 - origin
            mine, state = weights + 2 * row * KEYS, _floats(states + 8 * row, 2)
            if since < KEYS and until > 0:
                seen = _floats(scores + 4 * row * KEYS, KEYS)
                seen[: max(since, 0)] = _LEAST
                seen[min(until, KEYS) :] = _LEAST
                query_size = _floats(query_sizes, padded)[row]
                _weigh(scores + 4 * row * KEYS, query_size, state[0], value_sizes, mine, news)
                top, total, weight_size = _floats(news, 3)
                if top != state[0]:
                    x = state[0] - top  # at first infinity below
                    shrunk = exp(x) if x > _FAR else _ZERO
                    before = _floats(found + 4 * row * dim, dim)
                    for i in range(dim):
                        before[i] *= shrunk
                    state[0], state[1] = top, state[1] * shrunk
                state[1] += total
                _floats(weight_sizes, padded)[row] = weight_size
            else:
                _shorts(mine, KEYS)[:] = 0
                _floats(weight_sizes, padded)[row] = _ZERO
        for part in range(0, dim, TOGETHER):  # so that a part of all values stays in the cache
            for row in range(0, padded, _TILE):
                mine, sizes = weights + 2 * (row * KEYS + start), weight_sizes + 4 * row
                out = found + 4 * (row * dim + part)
                _mix(mine, sizes, values + start // 2, part, stop - start, dim, out)

    for row in range(rows):
        mine, total = _floats(found + 4 * row * dim, dim), _floats(states + 8 * row, 2)[1]
        out = _floats(job.attended + _place(job, job.attended_width, tile, head, row), dim)
        for i in range(dim):
            out[i] = mine[i] / total


@inner
def attend(job: Any, stage: Any) -> None:
    """A stage: attention of all rows."""
    scratch = job.scratch + job.scratch_size * thread()
    for share in shares(job.taken + 8 * stage, job.pool.tiles_count * job.kv_heads):
        tile = _numbers(job.pool.tiles + 24 * (share // job.kv_heads), 3)
        _attend_tile(job, (tile[0], tile[1], tile[2]), share % job.kv_heads, scratch)
