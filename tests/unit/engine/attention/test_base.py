"""A step belongs to the thread that began it; rows know their tokens."""

from __future__ import annotations

import threading

import pytest

from bot.engine.attention.base import Row, StaleStep, Step, slot_mapping
from bot.engine.prompt import ImageSpan
from bot.engine.schedule.block_manager import BlockTable


def test_another_threads_step_is_not_touched() -> None:
    step = Step()
    other = threading.Thread(target=step.begin, args=([],))
    other.start()
    other.join()
    with pytest.raises(StaleStep):
        step.plan(0)


def test_a_step_hands_each_group_its_plan() -> None:
    step, plans = Step(), [object(), object()]
    step.begin(plans)
    assert [step.plan(0), step.plan(1)] == plans


@pytest.mark.parametrize(
    ("start", "count", "expected"), [(0, 5, False), (0, 6, True), (8, 1, True), (9, 3, False)]
)
def test_a_row_knows_whether_a_picture_is_in_it(start: int, count: int, expected: bool) -> None:
    """The picture's soft tokens are at 5 to 8."""
    row = Row(BlockTable(([],), [0]), (ImageSpan(5, 4, "p"),), start, count)
    assert row.has_image_tokens == expected


def test_slots_are_blocks_times_their_size_and_the_offset() -> None:
    table = BlockTable(([7, 3], [4, 9]), [0, 0])
    rows = [Row(table, (), 3, 1), Row(table, (), 2, 4)]
    assert slot_mapping(rows, 0, 4) == [31, 30, 31, 12, 13]
    assert slot_mapping(rows, 1, 4) == [19, 18, 19, 36, 37]
