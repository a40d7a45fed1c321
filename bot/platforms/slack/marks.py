"""Marks on the bot's own messages: the turn whose reply they carry, so that recovery finds them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bot.platforms.shared.ids import parse_id

REPLY, ANSWER = "parley_reply", "parley_answer"
_FILE = re.compile(r"reply-([0-9]{1,18})\.md")


def reply_mark(turn_id: int) -> dict[str, Any]:
    """The metadata of a message that carries a turn's reply, or a part of it."""
    return {"event_type": REPLY, "event_payload": {"turn": str(turn_id)}}


def answer_mark() -> dict[str, Any]:
    """The metadata of a message without a turn: the answer to a command, a refusal."""
    return {"event_type": ANSWER, "event_payload": {"turn": ""}}


def file_name(turn_id: int) -> str:
    """The name of the file with a long reply: a file's message takes no metadata."""
    return f"reply-{turn_id}.md"


def is_file(message: Mapping[str, Any]) -> bool:
    return bool(message.get("files"))


def is_marked(message: Mapping[str, Any]) -> bool:
    """Whether a message says what it belongs to. A running stream can't."""
    return turn_of(message) is not None or _metadata(message).get("event_type") == ANSWER


def turn_of(message: Mapping[str, Any]) -> int | None:
    """The turn that one of the bot's messages belongs to: by its metadata, buttons or file."""
    metadata = _metadata(message)
    payload = metadata.get("event_payload")
    if metadata.get("event_type") == REPLY and isinstance(payload, Mapping):
        return parse_id(payload.get("turn"))
    for block in _mappings(message.get("blocks")):
        for element in _mappings(block.get("elements")):
            if str(element.get("action_id", "")).startswith("parley_"):
                turn_id = parse_id(element.get("value"))
                if turn_id is not None:
                    return turn_id
    for file in _mappings(message.get("files")):
        match = _FILE.fullmatch(str(file.get("name", "")))
        if match is not None:
            return parse_id(match[1])
    return None


def _metadata(message: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = message.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [part for part in value if isinstance(part, Mapping)] if isinstance(value, list) else []
