"""Parley's Triton kernels launched for real: what is compiled, counted, captured and uploaded."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from benchmarks import gpu_ops
from benchmarks.gemma_shapes import SHAPES
from bot.engine.attention.base import BackendQuery, Row, Step
from bot.engine.cuda import backends, kernel_check
from bot.engine.cuda.graphs import record_cuda
from bot.engine.cuda.triton_backend import TritonBackend
from bot.engine.prompt import ImageSpan
from bot.engine.schedule.block_manager import BlockTable
from tests.gpu.pretend_gpu.counters import counts, kernels, reset

ARCHITECTURE = int(os.environ.get("FAKE_ARCH", "90"))
AMPERE = pytest.mark.skipif(ARCHITECTURE < 80, reason="compute capability below 8.0")


def config(model: str = "4b") -> Any:
    from transformers import Gemma3TextConfig

    return Gemma3TextConfig(**SHAPES[model])


def rows(*shapes: tuple[int, int], spans: tuple[ImageSpan, ...] = ()) -> list[Row]:
    return [
        Row(BlockTable((list(range(1, -(-(start + count) // 16) + 1)),), [0]), spans, start, count)
        for start, count in shapes
    ]


def attend(device: str, step_rows: list[Row], window: int | None, model: str = "4b") -> None:
    on = torch.device(device)
    like = torch.empty(0, dtype=torch.bfloat16, device=on)
    shape = config(model)
    backend = TritonBackend(shape, on, torch.bfloat16, 16)
    step = Step()
    pool = backend.new_pool(step, 0, 600, like)
    count = sum(row.count for row in step_rows)
    heads = [shape.num_attention_heads, shape.num_key_value_heads, shape.num_key_value_heads]
    new = [like.new_zeros((count, number, shape.head_dim)) for number in heads]
    reset()
    step.begin([backend.plan(step_rows, 0, window)])
    pool.attend(*new, scale=0.0625)


@AMPERE
@pytest.mark.parametrize("model", SHAPES)
@pytest.mark.parametrize("window", [None, 1024])
def test_a_decode_step(model: str, window: int | None) -> None:
    attend("cuda:0", rows((2000, 1), (300, 1)), window, model)
    assert kernels() == {
        "write_kv_kernel": 1, "paged_attention_kernel": 1, "merge_splits_kernel": 1,
    }  # fmt: skip
    assert "refused" not in counts()


@AMPERE
@pytest.mark.parametrize("model", SHAPES)
def test_a_mixed_step_with_a_picture(model: str) -> None:
    step = rows((100, 1), (0, 400), spans=(ImageSpan(40, 256, "x"),))
    attend("cuda:0", step, 1024, model)
    assert kernels()["paged_attention_kernel"] == 1
    assert "refused" not in counts()


@AMPERE
def test_a_plan_is_one_pinned_copy_and_nothing_waits() -> None:
    attend("cuda:0", rows((2000, 1), (300, 40)), None)
    seen = counts()
    assert seen["h2d_pinned"] == 1
    assert not {"h2d_pageable", "streamsync", "devsync", "eventsync", "memcpysync"} & set(seen)


@AMPERE
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="FAKE_GPUS=1")
def test_the_second_card() -> None:
    with torch.cuda.device(1):
        attend("cuda:1", rows((2000, 1), (300, 40)), None)
    assert "refused" not in counts()


@AMPERE
def test_every_kernel_is_tried_and_a_wrong_one_rejected() -> None:
    """Kernels compute nothing here, so the first one tried is wrong."""
    query = BackendQuery(config("270m"), torch.device("cuda:0"), torch.bfloat16)
    with pytest.raises(kernel_check.BackendRejected, match="attention of decode rows is wrong"):
        backends.propose_triton(query)
    assert "refused" not in counts()


def test_older_cards_are_refused() -> None:
    if ARCHITECTURE >= 80:
        pytest.skip("this card is new enough")
    query = BackendQuery(config("270m"), torch.device("cuda:0"), torch.float32)
    with pytest.raises(kernel_check.BackendRejected, match=r"the card has 7\.5"):
        backends.propose_triton(query)


@AMPERE
def test_a_recorded_step_of_the_4b_has_few_nodes() -> None:
    reset()
    nodes = gpu_ops.count_nodes("4b", 16, 8192)
    assert nodes is not None
    assert 300 < nodes <= 450
    assert "capture_errors" not in counts()
    assert "refused" not in counts()


@AMPERE
def test_a_replay_launches_the_nodes_again() -> None:
    x = torch.zeros(4, device="cuda")
    replay, _ = record_cuda(lambda: (x + 1, x + 2))
    reset()
    replay()
    assert counts()["replayed"] == 2
