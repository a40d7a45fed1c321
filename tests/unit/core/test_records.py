"""A turn knows whom it answers, also when its messages were deleted."""

from __future__ import annotations

from datetime import UTC, datetime

from bot.core.events import ThreadKey
from bot.core.records import Turn, TurnState, UserMessage

KEY = ThreadKey("p", "w", "c", "t")
NOW = datetime(2026, 5, 1, tzinfo=UTC)


def message(number: int, author: str) -> UserMessage:
    return UserMessage(number, f"m{number}", author, author.title(), "hi", (), NOW)


def test_a_burst_is_answered_to_whoever_wrote_last() -> None:
    turn = Turn(1, 1, KEY, TurnState.ACCEPTED, (message(1, "ana"), message(2, "bob")))
    assert (turn.asker, turn.question_id) == ("bob", "m2")


def test_a_turn_without_messages_has_no_asker() -> None:
    turn = Turn(1, 1, KEY, TurnState.ANSWERING, ())
    assert (turn.asker, turn.question_id) == ("", "")
