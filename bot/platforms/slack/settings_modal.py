"""The modal that says how Parley behaves at a place; what is left to "inherit" is not set there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.core.commands.registry import INHERIT
from bot.core.records import ChannelSettings, Mode
from bot.platforms.slack.blocks import Block
from bot.platforms.slack.modals import Metadata, choice, number, plain
from bot.platforms.slack.text import escape

SETTINGS = "parley_settings_modal"

_INHERITED = "As everywhere else"
_MODES = {
    INHERIT: _INHERITED,
    Mode.MENTION.value: "When mentioned, and in its threads",
    Mode.ALWAYS.value: "Everything",
    Mode.STRICT.value: "Only when mentioned, in threads too",
    Mode.NEVER.value: "Never",
}
_SWITCH = {INHERIT: _INHERITED, "on": "Yes", "off": "No"}
_NUMBERS = {
    "retention_days": ("Days until conversations are deleted", "0 keeps them"),
    "max_images": ("Pictures in one prompt", "Never more than the operator allows"),
}
NAMES = ("mode", "inline", "answer_bots", *_NUMBERS)


def settings_modal(now: ChannelSettings, where: str, metadata: Metadata) -> dict[str, Any]:
    """The modal, prefilled with what is set at that place itself."""
    about = f"How Parley behaves in *{escape(where)}*. What is left empty is as everywhere else."
    return {
        "type": "modal",
        "callback_id": SETTINGS,
        "private_metadata": metadata.dump(),
        "title": plain("Settings"),
        "submit": plain("Save"),
        "close": plain("Cancel"),
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": about}},
            choice("mode", "What Parley answers", _MODES, now.mode or INHERIT),
            choice("inline", "In the channel instead of a thread", _SWITCH, _switch(now.inline)),
            choice("answer_bots", "Also what bots write", _SWITCH, _switch(now.answer_bots)),
            *_numbers(now),
        ],
    }


def settings_args(filled: Mapping[str, str], metadata: Metadata) -> dict[str, str]:
    """The arguments of `settings set` for what was filled in; what is empty inherits."""
    return {**{name: filled.get(name, INHERIT) for name in NAMES}, "scope": metadata.scope}


def _numbers(now: ChannelSettings) -> list[Block]:
    return [
        number(name, label, hint, getattr(now, name)) for name, (label, hint) in _NUMBERS.items()
    ]


def _switch(value: bool | None) -> str:
    return INHERIT if value is None else "on" if value else "off"
