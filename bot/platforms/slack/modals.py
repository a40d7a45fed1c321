"""The modals: a persona with its sampling, and a question about a message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bot.core.events import ThreadKey
from bot.core.personas import Resolved
from bot.platforms.slack.blocks import Block
from bot.platforms.slack.normalise import PLATFORM
from bot.platforms.slack.text import escape

PERSONA, ASK = "parley_persona_modal", "parley_ask_modal"
TEXT_AT_MOST = 3_000  # Slack's limit of a text input

_FIELDS = {
    "temperature": ("Temperature", "0 always takes the likeliest word; 0.7 is usual", True),
    "top_p": ("Top p", "Only the likeliest words, up to this share; 1 is off", True),
    "top_k": ("Top k", "Only the k likeliest words; 0 is off", False),
    "max_new_tokens": ("Longest reply, in tokens", "Never more than the operator allows", False),
}
_SCOPES = {
    "channel": "This channel",
    "thread": "This thread only",
    "workspace": "All channels that have none of their own",
}


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a modal carries from its opening to its submission. Slack hands it back unchanged, but
    the rights of who submits are checked again all the same."""

    channel: str
    thread: str = ""
    response_url: str = ""
    message_ts: str = ""

    def dump(self) -> str:
        """As `private_metadata`."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: object) -> Metadata:
        """From `private_metadata`."""
        try:
            found = json.loads(text) if isinstance(text, str) else {}
        except ValueError:
            found = {}
        if not isinstance(found, dict):
            found = {}
        return cls(**{name: str(found.get(name) or "") for name in cls.__slots__})

    def key(self, team_id: str) -> ThreadKey:
        """Where it was opened."""
        return ThreadKey(PLATFORM, team_id, self.channel, self.thread)


def persona_modal(
    persona: Resolved, where: str, metadata: Metadata, scope: str = "channel"
) -> dict[str, Any]:
    """The modal that sets a persona, prefilled with the one that counts now."""
    scopes = [name for name in _SCOPES if name != "thread" or metadata.thread]
    if not metadata.channel:
        scopes = ["workspace"]
    scope = scope if scope in scopes else scopes[0]
    sampling = asdict(persona.sampling)
    source = "The built-in persona counts now." if persona.source is None else ""
    about = f"Who Parley is in *{escape(where)}*, from the next message on. {source}"
    return {
        "type": "modal",
        "callback_id": PERSONA,
        "private_metadata": metadata.dump(),
        "title": _plain("Persona"),
        "submit": _plain("Save"),
        "close": _plain("Cancel"),
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": about}},
            _input("text", "Persona", persona.text[:TEXT_AT_MOST], multiline=True),
            _choice("scope", "Where it counts", scopes, scope),
            *(_number(name, sampling[name]) for name in _FIELDS),
        ],
    }


def ask_modal(excerpt: str, metadata: Metadata) -> dict[str, Any]:
    """The modal of the shortcut "Ask about this"."""
    quote = "\n".join(f">{escape(line)}" for line in (excerpt or "a picture")[:600].splitlines())
    return {
        "type": "modal",
        "callback_id": ASK,
        "private_metadata": metadata.dump(),
        "title": _plain("Ask about this"),
        "submit": _plain("Ask"),
        "close": _plain("Cancel"),
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": quote}},
            _input("question", "Your question", "", multiline=True, placeholder="What is this?"),
            {
                "type": "context",
                "elements": [_plain("Only you will see the answer.")],
            },
        ],
    }


def values(view: Mapping[str, Any]) -> dict[str, str]:
    """What was filled in, by block id; what is empty is left out."""
    found: dict[str, str] = {}
    state = view.get("state")
    blocks = state.get("values") if isinstance(state, Mapping) else None
    for block_id, elements in (blocks or {}).items():
        for element in elements.values():
            chosen = element.get("selected_option")
            value = chosen.get("value") if isinstance(chosen, Mapping) else element.get("value")
            if isinstance(value, str) and value.strip():
                found[str(block_id)] = value.strip()
    return found


def problems(filled: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with a filled-in persona, by block id: what the core would refuse as well,
    said where it was typed."""
    found: dict[str, str] = {}
    if not filled.get("text"):
        found["text"] = "Tell me who to be."
    for name, (_, _, decimal) in _FIELDS.items():
        value = filled.get(name)
        if value is None:
            continue
        try:
            number = float(value) if decimal else int(value)
        except ValueError:
            found[name] = "This has to be a number."
            continue
        found.update(_range_problem(name, number))
    return found


def _range_problem(name: str, number: float) -> dict[str, str]:
    least, most = {"temperature": (0, 5), "top_p": (0, 1), "top_k": (0, 1_000_000)}.get(
        name, (1, 1_000_000)
    )
    if least <= number <= most and (name != "top_p" or number > 0):
        return {}
    return {name: f"This has to be from {least} to {most}."}


def _input(
    name: str, label: str, initial: str, *, multiline: bool = False, placeholder: str = ""
) -> Block:
    element: Block = {
        "type": "plain_text_input",
        "action_id": name,
        "multiline": multiline,
        "max_length": TEXT_AT_MOST,
    }
    if initial:
        element["initial_value"] = initial
    if placeholder:
        element["placeholder"] = _plain(placeholder)
    return {"type": "input", "block_id": name, "label": _plain(label), "element": element}


def _number(name: str, value: object) -> Block:
    label, hint, decimal = _FIELDS[name]
    element: Block = {
        "type": "number_input",
        "action_id": name,
        "is_decimal_allowed": decimal,
    }
    if value is not None:
        element["initial_value"] = str(value)
    return {
        "type": "input",
        "block_id": name,
        "optional": True,
        "label": _plain(label),
        "hint": _plain(hint),
        "element": element,
    }


def _choice(name: str, label: str, names: list[str], chosen: str) -> Block:
    options = {value: {"text": _plain(_SCOPES[value]), "value": value} for value in names}
    return {
        "type": "input",
        "block_id": name,
        "label": _plain(label),
        "element": {
            "type": "static_select",
            "action_id": name,
            "options": list(options.values()),
            "initial_option": options[chosen],
        },
    }


def _plain(text: str) -> dict[str, str]:
    return {"type": "plain_text", "text": text}
