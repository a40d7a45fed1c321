"""Recorded decode steps: padded to a recorded batch size, filled with one buffer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bot.engine.attention.base import Row
from bot.engine.cuda.graphs import DecodeGraphs, Outputs
from bot.engine.schedule.block_manager import BlockTable
from tests.support.engine import rerun

BLOCK_SIZE, MAX_CONTEXT = 4, 12


class Backend:
    """Its plan is what it was given."""

    block_size = BLOCK_SIZE

    def decode_plan(self, *inputs: Any) -> Any:
        return inputs


class Step:
    """ "Hidden states" are the tokens and positions; "logits" the first group's slots."""

    def __init__(self) -> None:
        self.plans: list[Any] = []

    def __call__(self, tokens: torch.Tensor, positions: torch.Tensor, plans: Any) -> Outputs:
        self.plans = plans
        return torch.stack([tokens, positions], 1), plans[0][0][:, None]


@pytest.fixture
def step() -> Step:
    return Step()


def graphs(step: Any, record: Any = rerun, max_batch: int = 6) -> DecodeGraphs:
    return DecodeGraphs(
        step,
        Backend(),  # type: ignore[arg-type]
        [None, 8],
        max_context=MAX_CONTEXT,
        max_batch=max_batch,
        device=torch.device("cpu"),
        record=record,
    )


def rows() -> list[Row]:
    tables = [([5, 6], [1, 2]), ([7], [3]), ([8, 9, 4], [0, 10, 11])]
    return [
        Row(BlockTable(blocks, [0, 0]), (), start, 1)
        for blocks, start in zip(tables, (6, 0, 9), strict=True)
    ]


def test_rows_get_their_own_outputs_and_padding_sees_the_null_block(step: Step) -> None:
    outputs = graphs(step).run_step(rows(), [11, 12, 13])
    assert outputs is not None
    hidden, slots = outputs
    assert hidden.tolist() == [[11, 6], [12, 0], [13, 9]]
    assert slots[:, 0].tolist() == [6 * 4 + 2, 7 * 4, 4 * 4 + 1]
    (_, lengths, tables, *rest), (_, _, sliding, window, _) = step.plans
    assert lengths.tolist() == [7, 1, 10, 1]
    assert tables.tolist() == [[5, 6, 0], [7, 0, 0], [8, 9, 4], [0, 0, 0]]
    assert sliding.tolist() == [[1, 2, 0], [3, 0, 0], [0, 10, 11], [0, 0, 0]]
    assert (rest, window) == ([None, MAX_CONTEXT], 8)


def test_tokens_may_be_on_the_device_still(step: Step) -> None:
    outputs = graphs(step).run_step(rows(), torch.tensor([21, 22, 23]))
    assert outputs is not None
    assert outputs[0][:, 0].tolist() == [21, 22, 23]


def test_all_batch_sizes_are_recorded_once_the_largest_first(step: Step) -> None:
    recorded = []

    def record(compute: Any) -> Any:
        replay, outputs = rerun(compute)
        recorded.append(len(outputs[0]))
        return replay, outputs

    recordings = graphs(step, record)
    recordings.record_all()
    assert recorded == [6, 4, 2, 1]
    recordings.run_step(rows(), [1, 2, 3])
    recordings.run_step(rows()[:1], [1])
    assert recorded == [6, 4, 2, 1]


def test_a_batch_that_is_too_large_is_not_a_recorded_step(step: Step) -> None:
    assert graphs(step, max_batch=2).run_step(rows(), [1, 2, 3]) is None
