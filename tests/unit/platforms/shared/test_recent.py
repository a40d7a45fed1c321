"""A bounded dict against a plain model of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.platforms.shared.recent import RecentDict


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["set", "delete", "get"]), st.integers(0, 6))),
)
def test_it_holds_the_keys_set_last(limit: int, steps: list[tuple[str, int]]) -> None:
    recent: RecentDict[int, int] = RecentDict(limit)
    newest_last: list[tuple[int, int]] = []
    for number, (action, key) in enumerate(steps):
        if action == "set":
            recent[key] = number
            newest_last = [entry for entry in newest_last if entry[0] != key]
            newest_last = [*newest_last, (key, number)][-limit:]
        elif action == "delete":
            recent.pop(key, None)
            newest_last = [entry for entry in newest_last if entry[0] != key]
        else:
            recent.get(key)
        assert list(recent.items()) == newest_last


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RecentDict(0)
