"""A long text cut in its middle."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bot.core.excerpts import excerpt, excerpt_within


def test_short_ones_stay() -> None:
    assert excerpt("abc", 3) == "abc"


def test_start_and_end_stay() -> None:
    assert excerpt("a" * 50 + "b" * 50, 9) == "a" * 6 + "\n[... 91 characters left out ...]\nbbb"


@given(st.text(max_size=300), st.integers(0, 300))
def test_never_longer_than_asked(text: str, limit: int) -> None:
    found = excerpt(text, limit)
    if len(text) <= limit:
        assert found == text
    else:
        head, line, tail = found.rpartition("[... ")
        assert len(head) + len(tail) <= limit + len(line) + len("123 characters left out ...]\n")
        assert text.startswith(head[:-1])


@given(st.text(max_size=500), st.integers(20, 200))
def test_within_tokens(text: str, limit: int) -> None:
    def count(shown: str) -> int:
        return len(shown.encode()) // 2

    found = excerpt_within(text, limit, count)
    assert count(found) <= limit
    if count(text) <= limit:
        assert found == text


def test_no_room_at_all() -> None:
    assert "left out" in excerpt_within("word " * 100, 0, lambda text: len(text))
