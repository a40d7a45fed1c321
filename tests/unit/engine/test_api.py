"""What a sampling setting takes is defined once, and everything out of it is refused."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from bot.core.records import SamplingOverrides
from bot.engine.api import SAMPLING_RANGES, Range, SamplingParams


@pytest.mark.parametrize(
    ("allowed", "inside", "outside"),
    [
        (Range(0, 5), (0, 2.5, 5), (-0.1, 5.1, float("nan"), float("inf"))),
        (Range(0, 1, excludes_low=True), (0.1, 1), (0, 1.1)),
        (Range(0, 1, excludes_high=True), (0, 0.9), (1, -0.1)),
        (Range(1, 9, whole=True), (1, 9, 2.0), (0, 10, 1.5)),
    ],
)
def test_a_range_knows_its_ends(
    allowed: Range, inside: tuple[float, ...], outside: tuple[float, ...]
) -> None:
    assert all(value in allowed for value in inside)
    assert not any(value in allowed for value in outside)


def test_every_sampling_setting_has_a_range() -> None:
    assert set(SAMPLING_RANGES) == {field.name for field in fields(SamplingOverrides)}
    assert set(SAMPLING_RANGES) == {field.name for field in fields(SamplingParams)} - {"stop"}


@pytest.mark.parametrize("name", SAMPLING_RANGES)
def test_what_is_out_of_range_is_refused(name: str) -> None:
    values: dict[str, Any] = {name: SAMPLING_RANGES[name].high + 1}
    with pytest.raises(ValueError, match=f"{name} is .*, must be {SAMPLING_RANGES[name]}"):
        SamplingParams(**values)


def test_stop_strings_are_not_empty() -> None:
    with pytest.raises(ValueError, match="empty strings"):
        SamplingParams(stop=("a", ""))
