"""The int16 attention kernel against float64; the same bits in any batch."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.engine.attention.base import Row
from bot.engine.attention.sdpa import SdpaBackend
from bot.engine.cpu.backends import load_kernels
from bot.engine.cpu.int16_attention import QUERY_TILE, Int16Backend, PackedKV, PackedPlan
from bot.engine.cpu.lean_model import LeanGemma
from bot.engine.prompt import ImageSpan
from bot.engine.schedule.block_manager import BlockManager, BlockPool, LayerGroup
from tests.support import models
from tests.support.kernels import PlainLinear, can_run, drawn, inference  # noqa: F401
from tests.support.layers import Layers

fused: Any = load_kernels()[0]
pytestmark = pytest.mark.skipif(not can_run(), reason="this machine can't run the kernels")
WINDOW = 40


class Attention:
    """Attention alone: one layer's pool, and a kernel that stores rows and attends."""

    def __init__(self, heads: int, kv_heads: int, dim: int, size: int) -> None:
        from numba import carray, cfunc

        from bot.engine.cpu import attention_kernel, jit, layer_kernels

        self.heads, self.kv_heads, self.dim = heads, kv_heads, dim
        self.blocks = BlockManager(size, (LayerGroup(None, BlockPool(64)),))
        self.pool: Any = PackedKV(None, 0, kv_heads, dim, 64, size)  # type: ignore[arg-type]
        self.pool.keys.random_(-30000, 30000)  # stale content
        self.pool.key_scales.fill_(float("nan"))
        self.pool.value_scales.fill_(float("nan"))
        self.kernels, self.jit, self.scratch_bytes = (
            layer_kernels,
            jit,
            attention_kernel.scratch_bytes(heads // kv_heads, dim),
        )
        self.qmax = attention_kernel.qmax_for(dim)

        def both(address: Any) -> None:
            job = carray(address, 1)[0]
            width = job.qkv.num_panels * jit.PANEL_WIDTH
            for row in jit.work_items(job.work_counters, job.num_rows):
                keys = job.qkv_states + 4 * (row * width + job.query_heads * job.head_dim)
                attention_kernel.store_kv(
                    keys, job.pool.slot_mapping + 8 * row, job.pool, job.kv_heads, job.head_dim
                )
            attention_kernel.attend_rows(job, 1)

        self.kernel = cfunc(layer_kernels._KERNEL)(both)

    def run(self, rows: list[Row], states: torch.Tensor, window: int | None) -> torch.Tensor:
        """`states` [T, heads + 2 * kv_heads, dim] of the rows, to [T, heads, dim]."""
        plan = PackedPlan.from_rows(rows, 0, window, self.blocks.block_size)
        count, width = len(states), states.shape[1] * self.dim
        wide = torch.zeros(count, -(-width // 32) * 32)
        wide[:, :width] = states.flatten(1)
        out = torch.full((count, self.heads, self.dim), float("nan"))
        scratch = torch.full(
            (torch.get_num_threads() * self.scratch_bytes,), 255, dtype=torch.uint8
        )
        taken = torch.zeros(2, dtype=torch.int64)
        job = np.zeros(1, self.kernels.JOB)
        job["num_rows"], job["head_dim"], job["query_heads"] = count, self.dim, self.heads
        job["kv_heads"], job["attention_scale"], job["attention_width"] = (
            self.kv_heads,
            0.3,
            out[0].numel(),
        )
        job["scratch"], job["scratch_bytes"] = scratch.data_ptr(), self.scratch_bytes
        job["qkv"]["num_panels"] = wide.shape[1] // 32
        job["work_counters"], job["qkv_states"], job["attended"] = (
            part.data_ptr() for part in (taken, wide, out)
        )
        pool = job["pool"]
        pool["block_size"], pool["num_tiles"] = self.blocks.block_size, len(plan.tiles)
        pool["qmax"] = self.qmax
        for name in ("keys", "values", "key_scales", "value_scales"):
            pool[name] = getattr(self.pool, name).data_ptr()
        for name in ("slot_mapping", "first_visible", "last_visible", "block_tables", "tiles"):
            pool[name] = getattr(plan, name).ctypes.data
        self.jit.run_parallel(self.kernel, job.ctypes.data)
        return out


SHAPES = {"270m": (4, 1, 32, 16), "4b": (4, 2, 16, 32), "plain": (3, 3, 48, 16)}


@pytest.fixture(scope="module", params=SHAPES)
def attention(request: pytest.FixtureRequest) -> Attention:
    return Attention(*SHAPES[request.param])


def reference(
    states: torch.Tensor, heads: int, kv_heads: int, window: int | None, spans: list[ImageSpan]
) -> torch.Tensor:
    """All rows of one sequence in float64, with a mask."""
    at = torch.arange(len(states))
    sees = at[None] <= at[:, None]
    for span in spans:
        sees[span.start : span.end, span.start : span.end] = True
    if window is not None:
        sees &= at[None] > at[:, None] - window
    q, k, v = states.double().split([heads, kv_heads, kv_heads], 1)
    k, v = (part.repeat_interleave(heads // kv_heads, 1) for part in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * 0.3
    weights = scores.masked_fill(~sees, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_agrees_with_float64(attention: Attention, seed: int) -> None:
    """Several sequences in chunks, decode and prefill mixed, with windows and pictures."""
    heads, kv_heads, dim = attention.heads, attention.kv_heads, attention.dim
    rng = Random(seed)
    torch.set_num_threads(rng.randint(1, 2))
    window = rng.choice([None, 1, 17, 64, 100])
    sequences: list[tuple[Row, torch.Tensor, list[ImageSpan]]] = []
    for number in range(rng.randint(1, 4)):
        length = rng.randint(1, 150)
        states = drawn(seed + number, length, heads + 2 * kv_heads, dim)
        states *= 10 ** drawn(seed + number + 100, length, 1, 1).clamp(-2, 0)  # some are quiet
        spans = []
        if length > 20 and rng.random() < 0.5:
            start = rng.randint(0, length - 12)
            spans = [ImageSpan(start, rng.randint(1, 12), "p")]
        table = attention.blocks.new_table()
        assert attention.blocks.allocate_blocks(table, length)
        sequences.append((Row(table, tuple(spans), 0, 0), states, spans))
    want = [reference(states, heads, kv_heads, window, spans) for _, states, spans in sequences]
    done = [0] * len(sequences)
    while any(at < len(states) for at, (_, states, _) in zip(done, sequences, strict=True)):
        rows, parts, wanted = [], [], []
        for number, (row, states, spans) in enumerate(sequences):
            start = done[number]
            end = min(len(states), start + rng.choice([0, 1, 5, QUERY_TILE, 33, 70]))
            for span in spans:  # no chunk cuts a picture
                if span.start < end < span.end:
                    end = span.end
            if end > start:
                rows.append(replace(row, start=start, count=end - start))
                parts.append(states[start:end])
                wanted.append(want[number][start:end])
            done[number] = end
        if rows:
            found = attention.run(rows, torch.cat(parts), window)
            expected = torch.cat(wanted)
            error = (found - expected).abs().amax((1, 2))
            size = max(states[:, heads + kv_heads :].abs().max() for _, states, _ in sequences)
            assert (error / size).max() < 1e-3
    for row, _, _ in sequences:
        attention.blocks.free_blocks(row.table)


def test_the_largest_sums_fit(attention: Attention) -> None:
    """All queries, keys and values the same: every product is as large as it can be."""
    states = torch.full((130, attention.heads + 2 * attention.kv_heads, attention.dim), -1.5)
    states[:, : attention.heads] *= -1e-3
    table = attention.blocks.new_table()
    assert attention.blocks.allocate_blocks(table, 130)
    found = attention.run([Row(table, (), 0, 130)], states, None)
    attention.blocks.free_blocks(table)
    torch.testing.assert_close(found, torch.full_like(found, -1.5), rtol=1e-3, atol=0)


def test_nan_reaches_only_rows_that_see_it(attention: Attention) -> None:
    heads, kv_heads = attention.heads, attention.kv_heads
    states = drawn(1, 60, heads + 2 * kv_heads, attention.dim)
    tables = [attention.blocks.new_table() for _ in range(2)]
    for table in tables:
        assert attention.blocks.allocate_blocks(table, 60)
    good = attention.run([Row(tables[0], (), 0, 60)], states, 20)
    states[30, heads:] = float("nan")
    found = attention.run([Row(tables[1], (), 0, 60)], states, 20)
    sees = torch.arange(60).sub(30).ge(0) & torch.arange(60).sub(30).lt(20)
    assert torch.equal(found[~sees], good[~sees])
    assert not torch.equal(found[sees], good[sees])


@pytest.fixture(scope="module", params=[1, 2])
def text_model(request: pytest.FixtureRequest) -> Any:
    """With so many K/V heads, and attention so flat that it doesn't magnify what is rounded."""
    return models.flat_text_model(request.param)


def windows(text_model: Any) -> list[int | None]:
    return [WINDOW if layer.self_attn.sliding_window else None for layer in text_model.layers]


def fused_layers(text_model: Any) -> Layers:
    backend = Int16Backend(text_model.config, 16)
    return Layers(fused.FusedGemma(text_model), backend, windows(text_model))


def test_layers_agree_with_lean(text_model: Any) -> None:
    """Prefilled in chunks with a picture in one, then decoded; in float32 over a plain pool."""
    ours = fused_layers(text_model)
    backend = SdpaBackend(text_model.config, torch.float32, 16)
    theirs = Layers(LeanGemma(text_model, PlainLinear), backend, windows(text_model))
    rows = drawn(1, 130, text_model.config.hidden_size)
    spans = (ImageSpan(70, 9, "p"),)
    texts = [(layers, layers.text(rows, spans)) for layers in (ours, theirs)]
    for start, end in ((0, 33), (33, 100), (100, 129), (129, 130)):
        one, two = (layers.run((text, start, end))[0] for layers, text in texts)
        assert (one - two).norm() / two.norm() < 0.025


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_a_row_has_the_same_bits_in_any_chunk_and_batch(
    text_model: Any, seed: int, sizes: list[int]
) -> None:
    layers = fused_layers(text_model)
    rows = drawn(seed, sum(sizes), text_model.config.hidden_size)
    whole = layers.run((layers.text(rows), 0, len(rows)))[0]
    other = layers.text(drawn(seed + 1, 200, text_model.config.hidden_size))
    text, at = layers.text(rows), 0
    for number, size in enumerate(sizes):
        beside = (other, number * 7, number * 7 + 1 + number % 2 * 6)
        found = layers.run((text, at, at + size), beside)[0]
        assert torch.equal(found, whole[at : at + size])
        at += size
