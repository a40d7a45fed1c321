"""Ids from outside: whatever is sent, the answer is an id that fits a database, or None."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.platforms.shared.ids import MAX_ID, parse_id


@pytest.mark.parametrize(
    ("value", "parsed"), [("12", 12), (12, 12), ("0", 0), (str(MAX_ID), MAX_ID), (MAX_ID, MAX_ID)]
)
def test_an_id(value: object, parsed: int) -> None:
    assert parse_id(value) == parsed


@pytest.mark.parametrize(
    "value",
    ["", "-1", "+1", " 1", "1 ", "1_000", "1.0", "²", "١٢", "0x1", "9" * 4_000, str(MAX_ID + 1),
     -1, MAX_ID + 1, True, 1.0, None, [1], b"1"],
)  # fmt: skip
def test_anything_else_is_none(value: object) -> None:
    assert parse_id(value) is None


@given(st.text() | st.integers() | st.from_regex(r"\d{1,25}"))
def test_whatever_is_sent_it_fits_a_signed_64_bit_column(value: object) -> None:
    parsed = parse_id(value)
    assert parsed is None or 0 <= parsed <= MAX_ID
