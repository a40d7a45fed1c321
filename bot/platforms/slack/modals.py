"""Slack's forms: a persona with its sampling, a channel's settings, a question about a message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from bot.core.events import ThreadKey
from bot.core.personas import PersonaError, parse_sampling
from bot.core.records import ChannelSettings, ResolvedPersona
from bot.core.scoped_settings import INHERIT
from bot.platforms.slack import texts
from bot.platforms.slack.blocks import Block, plain_text, section
from bot.platforms.slack.normalize import PLATFORM
from bot.platforms.slack.text import escape

PERSONA, SETTINGS, ASK = "parley_persona_modal", "parley_settings_modal", "parley_ask_modal"
MAX_INPUT = 3_000  # characters, Slack's limit of a text input
MAX_EXCERPT = 600
_MAX_JOINT = 100
_DECIMAL_FIELDS = frozenset({"temperature", "top_p"})
_SETTINGS_FIELDS = ("mode", "inline", "answer_bots", *texts.NUMBER_SETTINGS)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a form carries from its opening to its submission. Slack returns it unchanged, but the
    rights of the submitter are checked again all the same."""

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
        """From `private_metadata`; what is malformed is empty."""
        try:
            values = json.loads(text) if isinstance(text, str) else {}
        except ValueError:
            values = {}
        if not isinstance(values, dict):
            values = {}
        return cls(**{name: str(values.get(name) or "") for name in cls.__slots__})

    @property
    def scope(self) -> str:
        """The narrowest scope that the form can be about."""
        return "thread" if self.thread else "channel" if self.channel else "workspace"

    def key(self, team_id: str) -> ThreadKey:
        """The place that the form is about."""
        return ThreadKey(PLATFORM, team_id, self.channel, self.thread)


def persona_modal(
    persona: ResolvedPersona, place: str, metadata: Metadata, scope: str = "channel"
) -> dict[str, Any]:
    """The form that sets a persona, prefilled with the one that applies now."""
    scopes = [name for name in texts.SCOPES if name != "thread" or metadata.thread]
    if not metadata.channel:
        scopes = ["workspace"]
    scope = scope if scope in scopes else scopes[0]
    sampling = asdict(persona.sampling)
    intro = texts.persona_intro(escape(place), is_built_in=persona.source is None)
    text, joint, more = split_text(persona.text)
    blocks = [section(intro), _text_input("text", texts.PERSONA_FIELD, text)]
    if more:
        continued = _text_input("more", texts.PERSONA_CONTINUED_FIELD, more)
        blocks.append({**continued, "optional": True})
    blocks.append(
        _select("scope", texts.SCOPE_FIELD, {name: texts.SCOPES[name] for name in scopes}, scope)
    )
    for name, (label, hint) in texts.SAMPLING_FIELDS.items():
        is_decimal = name in _DECIMAL_FIELDS
        blocks.append(_number_input(name, label, hint, sampling[name], is_decimal=is_decimal))
    return _modal(PERSONA, replace(metadata, joint=joint), texts.PERSONA_TITLE, texts.SAVE, blocks)


def settings_modal(settings: ChannelSettings, place: str, metadata: Metadata) -> dict[str, Any]:
    """The form that sets a place's settings, prefilled with those of the place itself."""
    inherited = {INHERIT: texts.INHERITED}
    switch = {**inherited, "on": texts.YES, "off": texts.NO}
    blocks = [
        section(texts.settings_intro(escape(place))),
        _select("mode", texts.MODE_FIELD, {**inherited, **texts.MODES}, settings.mode or INHERIT),
        _select("inline", texts.INLINE_FIELD, switch, _switch_value(settings.inline)),
        _select(
            "answer_bots", texts.ANSWER_BOTS_FIELD, switch, _switch_value(settings.answer_bots)
        ),
    ]
    blocks += [
        _number_input(name, label, hint, getattr(settings, name))
        for name, (label, hint) in texts.NUMBER_SETTINGS.items()
    ]
    return _modal(SETTINGS, metadata, texts.SETTINGS_TITLE, texts.SAVE, blocks)


def ask_modal(excerpt: str, metadata: Metadata) -> dict[str, Any]:
    """The form of the shortcut "Ask about this"."""
    lines = (excerpt or texts.A_PICTURE)[:MAX_EXCERPT].splitlines()
    question = _text_input("question", texts.QUESTION_FIELD, "")
    question["element"]["placeholder"] = plain_text(texts.QUESTION_EXAMPLE)
    blocks = [
        section("\n".join(f">{escape(line)}" for line in lines)),
        question,
        {"type": "context", "elements": [plain_text(texts.ONLY_YOU)]},
    ]
    return _modal(ASK, metadata, texts.ASK_TITLE, texts.ASK_BUTTON, blocks)


def split_text(text: str) -> tuple[str, str, str]:
    """A text for two inputs: its start, the white space at the cut, and the rest, which is "" if
    one input has room for all."""
    text = text.strip()
    if len(text) <= MAX_INPUT:
        return text, "", ""
    least = max(1, len(text) - MAX_INPUT)  # the rest has to fit as well
    cut = max(text.rfind(space, least, MAX_INPUT + 1) for space in " \n")
    cut = cut if cut > 0 else MAX_INPUT
    head, rest = text[:cut].rstrip(), text[cut:].lstrip()
    return head, text[len(head) : len(text) - len(rest)][:_MAX_JOINT], rest


def submitted_values(view: Mapping[str, Any]) -> dict[str, str]:
    """The values of a submitted form by block id, without empty ones."""
    values: dict[str, str] = {}
    state = view.get("state")
    blocks = state.get("values") if isinstance(state, Mapping) else None
    for block_id, elements in (blocks or {}).items():
        for element in elements.values():
            option = element.get("selected_option")
            value = option.get("value") if isinstance(option, Mapping) else element.get("value")
            if isinstance(value, str) and value.strip():
                values[str(block_id)] = value.strip()
    return values


def persona_problems(values: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with a submitted persona, by block id: Slack shows it at the input."""
    problems: dict[str, str] = {}
    if not values.get("text"):
        problems["text"] = texts.PERSONA_MISSING
    for name in texts.SAMPLING_FIELDS:
        try:
            parse_sampling({name: values.get(name, "")})
        except PersonaError as error:
            problems[name] = str(error)
    return problems


def persona_args(values: Mapping[str, str], metadata: Metadata) -> dict[str, str]:
    """The arguments of `persona set`, with a continued text in one piece again."""
    args = {"scope": "channel", **values}
    if "more" in args:
        parts = (values.get("text"), args.pop("more"))
        args["text"] = metadata.joint.join(part for part in parts if part)
    return args


def settings_args(values: Mapping[str, str], metadata: Metadata) -> dict[str, str]:
    """The arguments of `settings set`; what is empty inherits."""
    args = {name: values.get(name, INHERIT) for name in _SETTINGS_FIELDS}
    return {**args, "scope": metadata.scope}


def _modal(
    callback_id: str, metadata: Metadata, title: str, submit: str, blocks: list[Block]
) -> dict[str, Any]:
    return {
        "type": "modal",
        "callback_id": callback_id,
        "private_metadata": metadata.dump(),
        "title": plain_text(title),
        "submit": plain_text(submit),
        "close": plain_text(texts.CANCEL),
        "blocks": blocks,
    }


def _text_input(name: str, label: str, initial: str) -> Block:
    element: Block = {
        "type": "plain_text_input",
        "action_id": name,
        "multiline": True,
        "max_length": MAX_INPUT,
    }
    if initial:
        element["initial_value"] = initial
    return {"type": "input", "block_id": name, "label": plain_text(label), "element": element}


def _number_input(
    name: str, label: str, hint: str, value: object, *, is_decimal: bool = False
) -> Block:
    """An input for a number, which may be left empty."""
    element: Block = {
        "type": "number_input",
        "action_id": name,
        "is_decimal_allowed": is_decimal,
    }
    if value is not None:
        element["initial_value"] = str(value)
    return {
        "type": "input",
        "block_id": name,
        "optional": True,
        "label": plain_text(label),
        "hint": plain_text(hint),
        "element": element,
    }


def _select(name: str, label: str, labels: Mapping[str, str], selected: str) -> Block:
    """An input that takes one of the keys of `labels`."""
    options = {value: {"text": plain_text(text), "value": value} for value, text in labels.items()}
    return {
        "type": "input",
        "block_id": name,
        "label": plain_text(label),
        "element": {
            "type": "static_select",
            "action_id": name,
            "options": list(options.values()),
            "initial_option": options[selected],
        },
    }


def _switch_value(value: bool | None) -> str:
    return INHERIT if value is None else "on" if value else "off"
