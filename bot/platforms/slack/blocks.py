"""Slack's blocks as Parley uses them: a reply's text, its foot, its buttons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from bot.core.records import Turn, TurnState
from bot.platforms.slack.text import escape

Block: TypeAlias = dict[str, Any]

STOP, REGENERATE, FEEDBACK, GOOD, BAD = (
    "parley_stop",
    "parley_regenerate",
    "parley_feedback",
    "parley_good",
    "parley_bad",
)
SECTION_AT_MOST = 3_000
CONTEXT_AT_MOST = 1_900


def markdown(text: str) -> Block:
    """A block of Slack's markdown."""
    return {"type": "markdown", "text": text}


def section(text: str) -> Block:
    """A paragraph of mrkdwn."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:SECTION_AT_MOST]}}


def context(lines: Sequence[str]) -> list[Block]:
    """Small print; nothing where there is nothing to say."""
    if not lines:
        return []
    text = escape("\n".join(lines))[:CONTEXT_AT_MOST]
    return [{"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}]


def button(label: str, action_id: str, value: str, style: str = "") -> Block:
    """A button."""
    made: Block = {
        "type": "button",
        "text": {"type": "plain_text", "text": label[:75], "emoji": True},
        "action_id": action_id,
        "value": value,
    }
    return {**made, "style": style} if style else made


def actions(*elements: Block) -> Block:
    """A row of buttons."""
    return {"type": "actions", "elements": list(elements)}


def stop_controls(turn: Turn) -> list[Block]:
    """What stands under a reply that is being written."""
    return [actions(button("Stop", STOP, str(turn.id)))]


def end_controls(turn: Turn, state: TurnState, *, feedback: bool) -> list[Block]:
    """What stands under a reply that has ended. `feedback`: Slack knows feedback buttons here."""
    again = "Regenerate" if state is TurnState.DELIVERED else "Try again"
    row = [button(again, REGENERATE, str(turn.id))]
    if state is not TurnState.DELIVERED:
        return [actions(*row)]
    if not feedback:
        row += [button("👍", GOOD, str(turn.id)), button("👎", BAD, str(turn.id))]
        return [actions(*row)]
    return [actions(*row), _feedback(turn)]


def _feedback(turn: Turn) -> Block:
    def choice(label: str, word: str) -> Block:
        return {
            "text": {"type": "plain_text", "text": label},
            "value": f"{word}:{turn.id}",
            "accessibility_label": f"{label} reply",
        }

    element = {
        "type": "feedback_buttons",
        "action_id": FEEDBACK,
        "positive_button": choice("Good", "good"),
        "negative_button": choice("Bad", "bad"),
    }
    return {"type": "context_actions", "elements": [element]}
