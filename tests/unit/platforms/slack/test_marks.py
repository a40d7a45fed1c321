"""Marks: found wherever Slack lets them stand, and never believed when they are nonsense."""

from __future__ import annotations

from typing import Any

import pytest

from bot.platforms.slack import marks


@pytest.mark.parametrize(
    "message",
    [
        {"metadata": marks.reply_mark(12)},
        {"metadata": {"event_type": "parley_reply", "event_payload": {"turn": 12}}},
        {"blocks": [{"elements": [{"action_id": "parley_stop", "value": "12"}]}]},
        {"files": [{"name": marks.file_name(12)}]},
    ],
)
def test_a_turn_is_known_by_each_of_its_marks(message: dict[str, Any]) -> None:
    assert marks.turn_of(message) == 12
    assert marks.is_marked(message)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"metadata": None, "blocks": None, "files": "x"},
        {"metadata": {"event_type": "other", "event_payload": {"turn": "12"}}},
        {"metadata": {"event_type": "parley_reply", "event_payload": {"turn": "²"}}},
        {"metadata": {"event_type": "parley_reply", "event_payload": ["12"]}},
        {"blocks": [{"elements": [{"action_id": "approve", "value": "12"}]}]},
        {"blocks": [{"elements": [{"action_id": "parley_stop", "value": "9" * 40}]}]},
        {"files": [{"name": "reply-.md"}, {"name": "12"}, None]},
    ],
)
def test_nonsense_names_no_turn(message: dict[str, Any]) -> None:
    assert marks.turn_of(message) is None
    assert not marks.is_marked(message)


def test_an_answer_to_a_command_is_marked_as_no_turn_s() -> None:
    message = {"metadata": marks.answer_mark()}
    assert marks.turn_of(message) is None
    assert marks.is_marked(message)
