"""The modals: a persona with its sampling, and a question about a message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from bot.core.events import ThreadKey
from bot.core.personas import PersonaError, parse_sampling
from bot.core.records import ResolvedPersona
from bot.platforms.slack.blocks import Block
from bot.platforms.slack.normalize import PLATFORM
from bot.platforms.slack.text import escape

PERSONA, ASK = "parley_persona_modal", "parley_ask_modal"
TEXT_AT_MOST = 3_000  # Slack's limit of a text input
_JOINT_AT_MOST = 100

_FIELDS = {
    "temperature": ("Temperature", "0 always takes the likeliest word; 0.7 is usual", True),
    "top_p": ("Top p", "Only the likeliest words, up to this share; 1 is off", True),
    "top_k": ("Top k", "Only the k likeliest words; 0 is off", False),
    "max_new_tokens": ("Longest reply, in tokens", "Never more than the operator allows", False),
}
_MORE = "Persona, continued"
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
    joint: str = ""  # the white space between a text and its continuation

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

    @property
    def scope(self) -> str:
        """The narrowest scope that it can be about."""
        return "thread" if self.thread else "channel" if self.channel else "workspace"

    def key(self, team_id: str) -> ThreadKey:
        """Where it was opened."""
        return ThreadKey(PLATFORM, team_id, self.channel, self.thread)


def persona_modal(
    persona: ResolvedPersona, where: str, metadata: Metadata, scope: str = "channel"
) -> dict[str, Any]:
    """The modal that sets a persona, prefilled with the one that counts now."""
    scopes = [name for name in _SCOPES if name != "thread" or metadata.thread]
    if not metadata.channel:
        scopes = ["workspace"]
    scope = scope if scope in scopes else scopes[0]
    sampling = asdict(persona.sampling)
    source = "The built-in persona counts now." if persona.source is None else ""
    about = f"Who Parley is in *{escape(where)}*, from the next message on. {source}"
    text, joint, more = halves(persona.text)
    metadata = replace(metadata, joint=joint)
    return {
        "type": "modal",
        "callback_id": PERSONA,
        "private_metadata": metadata.dump(),
        "title": plain("Persona"),
        "submit": plain("Save"),
        "close": plain("Cancel"),
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": about}},
            _input("text", "Persona", text, multiline=True),
            *([_input("more", _MORE, more, multiline=True, optional=True)] if more else ()),
            choice("scope", "Where it counts", {n: _SCOPES[n] for n in scopes}, scope),
            *(
                number(name, label, hint, sampling[name], decimal=decimal)
                for name, (label, hint, decimal) in _FIELDS.items()
            ),
        ],
    }


def ask_modal(excerpt: str, metadata: Metadata) -> dict[str, Any]:
    """The modal of the shortcut "Ask about this"."""
    quote = "\n".join(f">{escape(line)}" for line in (excerpt or "a picture")[:600].splitlines())
    return {
        "type": "modal",
        "callback_id": ASK,
        "private_metadata": metadata.dump(),
        "title": plain("Ask about this"),
        "submit": plain("Ask"),
        "close": plain("Cancel"),
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": quote}},
            _input("question", "Your question", "", multiline=True, placeholder="What is this?"),
            {
                "type": "context",
                "elements": [plain("Only you will see the answer.")],
            },
        ],
    }


def halves(text: str) -> tuple[str, str, str]:
    """A text as two inputs hold it: its beginning, the white space at the cut, and the rest, which
    is "" where Slack's limit leaves room for all."""
    text = text.strip()
    if len(text) <= TEXT_AT_MOST:
        return text, "", ""
    least = max(1, len(text) - TEXT_AT_MOST)  # the rest has to fit as well
    cut = max(text.rfind(space, least, TEXT_AT_MOST + 1) for space in " \n")
    cut = cut if cut > 0 else TEXT_AT_MOST
    head, rest = text[:cut].rstrip(), text[cut:].lstrip()
    return head, text[len(head) : len(text) - len(rest)][:_JOINT_AT_MOST], rest


def joined(filled: Mapping[str, str], metadata: Metadata) -> dict[str, str]:
    """What was filled in, a continued text in one piece again."""
    whole = {name: value for name, value in filled.items() if name != "more"}
    if "more" in filled:
        whole["text"] = metadata.joint.join(filter(None, (filled.get("text"), filled["more"])))
    return whole


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
    wrong: dict[str, str] = {}
    if not filled.get("text"):
        wrong["text"] = "Tell me who to be."
    for name in _FIELDS.keys() & filled.keys():
        try:
            parse_sampling({name: filled[name]})
        except PersonaError as error:
            wrong[name] = str(error)
    return wrong


def _input(
    name: str,
    label: str,
    initial: str,
    *,
    multiline: bool = False,
    optional: bool = False,
    placeholder: str = "",
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
        element["placeholder"] = plain(placeholder)
    block = {"type": "input", "block_id": name, "label": plain(label), "element": element}
    return {**block, "optional": True} if optional else block


def number(name: str, label: str, hint: str, value: object, *, decimal: bool = False) -> Block:
    """An input of a number, which may be left empty."""
    element: Block = {"type": "number_input", "action_id": name, "is_decimal_allowed": decimal}
    if value is not None:
        element["initial_value"] = str(value)
    return {
        "type": "input",
        "block_id": name,
        "optional": True,
        "label": plain(label),
        "hint": plain(hint),
        "element": element,
    }


def choice(name: str, label: str, labels: Mapping[str, str], chosen: str) -> Block:
    """An input that takes one of `labels`' keys."""
    options = {value: {"text": plain(text), "value": value} for value, text in labels.items()}
    return {
        "type": "input",
        "block_id": name,
        "label": plain(label),
        "element": {
            "type": "static_select",
            "action_id": name,
            "options": list(options.values()),
            "initial_option": options[chosen],
        },
    }


def plain(text: str) -> dict[str, str]:
    """Text without any markup."""
    return {"type": "plain_text", "text": text}
