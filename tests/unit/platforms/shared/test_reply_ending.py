"""How a reply's end reads, the same on every platform."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.ports import FinishedReply
from bot.core.records import TurnState
from bot.platforms.shared.reply_ending import (
    NO_ANSWER,
    REST_IN_FILE,
    STOPPED,
    ReplyEnding,
    reply_ending,
)

DELIVERED, CANCELLED, FAILED = TurnState.DELIVERED, TurnState.CANCELLED, TurnState.FAILED


@pytest.mark.parametrize(
    ("reply", "ending"),
    [
        (FinishedReply(DELIVERED, "Hi"), ReplyEnding(None, ())),
        (FinishedReply(DELIVERED, "Hi", ("cut",)), ReplyEnding(None, ("cut",))),
        (FinishedReply(DELIVERED, " \n"), ReplyEnding(None, (NO_ANSWER,))),
        (FinishedReply(DELIVERED, "", ("cut",)), ReplyEnding(None, (NO_ANSWER, "cut"))),
        (FinishedReply(CANCELLED, "Hi"), ReplyEnding(None, (STOPPED,))),
        (FinishedReply(CANCELLED, ""), ReplyEnding(None, (STOPPED,))),
        # a note says why it was stopped
        (FinishedReply(CANCELLED, "", ("restarting",)), ReplyEnding(None, ("restarting",))),
        (FinishedReply(FAILED, "Hi", ("cut",), "Sorry."), ReplyEnding("Sorry.", ("cut",))),
        (FinishedReply(FAILED, "", (), "Sorry."), ReplyEnding("Sorry.", ())),
    ],
)
def test_how_a_reply_ends(reply: FinishedReply, ending: ReplyEnding) -> None:
    assert reply_ending(reply) == ending


def test_a_reply_that_is_cut_points_to_its_file() -> None:
    ending = reply_ending(FinishedReply(DELIVERED, "Hi", ("note",)), rest_in_file=True)
    assert ending.notes == ("note", REST_IN_FILE)


@given(
    st.sampled_from(TurnState),
    st.text(max_size=3),
    st.lists(st.text(min_size=1, max_size=3), max_size=2),
    st.none() | st.just("Sorry."),
)
def test_a_reply_never_ends_in_silence(
    state: TurnState, text: str, notes: list[str], error: str | None
) -> None:
    ending = reply_ending(FinishedReply(state, text, tuple(notes), error))
    assert text.strip() or ending.marked_error or ending.notes
