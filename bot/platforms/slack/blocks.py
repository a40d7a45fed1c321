"""Slack's blocks as Parley uses them: a reply's text, its notes, its buttons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from bot.core.records import Turn, TurnState
from bot.platforms.slack import texts
from bot.platforms.slack.text import escape

Block: TypeAlias = dict[str, Any]

STOP, REGENERATE, FEEDBACK, GOOD, BAD = (
    "parley_stop",
    "parley_regenerate",
    "parley_feedback",
    "parley_good",
    "parley_bad",
)
MAX_SECTION = 3_000
MAX_CONTEXT = 1_900
MAX_BUTTON = 75


def markdown(text: str) -> Block:
    """A block of Slack's markdown."""
    return {"type": "markdown", "text": text}


def section(text: str) -> Block:
    """A paragraph of mrkdwn."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:MAX_SECTION]}}


def context(lines: Sequence[str]) -> list[Block]:
    """Small print; no block without a line."""
    if not lines:
        return []
    text = escape("\n".join(lines))[:MAX_CONTEXT]
    return [{"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}]


def header(text: str) -> Block:
    return {"type": "header", "text": plain_text(text)}


def plain_text(text: str) -> dict[str, str]:
    """A text object without markup."""
    return {"type": "plain_text", "text": text}


def button(label: str, action_id: str, value: str) -> Block:
    return {
        "type": "button",
        "text": {**plain_text(label[:MAX_BUTTON]), "emoji": True},
        "action_id": action_id,
        "value": value,
    }


def actions(*elements: Block) -> Block:
    """A row of buttons."""
    return {"type": "actions", "elements": list(elements)}


def stop_controls(turn: Turn) -> list[Block]:
    """Below a reply that is being written."""
    return [actions(button(texts.STOP_BUTTON, STOP, str(turn.id)))]


def end_controls(turn: Turn, state: TurnState, *, has_feedback: bool) -> list[Block]:
    """Below a reply that has ended. `has_feedback`: the workspace has Slack's feedback buttons."""
    if state is not TurnState.DELIVERED:
        return [actions(button(texts.RETRY_BUTTON, REGENERATE, str(turn.id)))]
    row = [button(texts.REGENERATE_BUTTON, REGENERATE, str(turn.id))]
    if has_feedback:
        return [actions(*row), _feedback(turn)]
    row += [button("👍", GOOD, str(turn.id)), button("👎", BAD, str(turn.id))]
    return [actions(*row)]


def _feedback(turn: Turn) -> Block:
    def choice(label: str, rating: str) -> Block:
        return {
            "text": plain_text(label),
            "value": f"{rating}:{turn.id}",
            "accessibility_label": texts.rate_reply(label),
        }

    element = {
        "type": "feedback_buttons",
        "action_id": FEEDBACK,
        "positive_button": choice(texts.GOOD, "good"),
        "negative_button": choice(texts.BAD, "bad"),
    }
    return {"type": "context_actions", "elements": [element]}
