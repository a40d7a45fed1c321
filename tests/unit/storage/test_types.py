"""Column types give back what went in, or refuse it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from bot.storage.types import SafeText, TokenIds, UtcDateTime, storable

DIALECT = sqlite.dialect()


@given(st.lists(st.integers(min_value=-(2**31), max_value=2**31 - 1)))
def test_token_ids_round_trip_in_four_bytes_each(ids: list[int]) -> None:
    column = TokenIds()
    packed = column.process_bind_param(ids, DIALECT)
    assert packed is not None
    assert len(packed) == 4 * len(ids)
    assert column.process_result_value(packed, DIALECT) == tuple(ids)


def test_token_ids_are_little_endian() -> None:
    assert TokenIds().process_bind_param([1, 262_144], DIALECT) == bytes([1, 0, 0, 0, 0, 0, 4, 0])


def test_token_ids_beyond_32_bits_are_refused() -> None:
    with pytest.raises(OverflowError):
        TokenIds().process_bind_param([2**31], DIALECT)


def test_times_become_utc() -> None:
    there = datetime(2026, 3, 29, 1, 30, tzinfo=timezone(timedelta(hours=-5)))
    stored = UtcDateTime().process_bind_param(there, DIALECT)
    assert stored == there
    assert stored is not None
    assert stored.tzinfo is UTC


def test_a_time_that_comes_back_naive_is_utc() -> None:
    found = UtcDateTime().process_result_value(datetime(2026, 1, 1), DIALECT)
    assert found == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="timezone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), DIALECT)


@given(st.text(st.characters()))
def test_any_text_becomes_storable_and_stays_as_long(text: str) -> None:
    stored = storable(text)
    stored.encode()
    assert "\0" not in stored
    assert len(stored) == len(text)
    assert storable(stored) == stored


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_ordinary_text_is_not_touched(text: str) -> None:
    assert storable(text) == text


def test_none_stays_none() -> None:
    for column in (SafeText(), UtcDateTime(), TokenIds()):
        assert column.process_bind_param(None, DIALECT) is None
    assert UtcDateTime().process_result_value(None, DIALECT) is None
    assert TokenIds().process_result_value(None, DIALECT) is None
