"""Reads requests: who asks, which row is meant, JSON and uploads within limits."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from bot.platforms.playground.people import Person, person
from bot.platforms.playground.refusal import Refused
from bot.platforms.playground.text import well_formed
from bot.platforms.shared.ids import parse_id

MAX_JSON_BYTES = 128 * 1024
_MAX_FILE_NAME = 200


def acting_person(request: web.Request) -> Person:
    """The person that the tab acts as. Raises Refused (400)."""
    found = person(request.query.get("as", ""))
    if found is None:
        raise Refused(400, "Say who is acting: ?as=ana, ben, chloe or dev.")
    return found


def path_id(request: web.Request) -> int:
    """The row id in the path. Raises Refused (404)."""
    found = parse_id(request.match_info["id"])
    if found is None:
        raise Refused(404, "There is no such thing.")
    return found


async def json_body(request: web.Request) -> dict[str, Any]:
    """The request's JSON object. Raises Refused (400, 413, 415)."""
    if request.content_type != "application/json":
        raise Refused(415, "Send JSON.")
    raw = await body(request, MAX_JSON_BYTES, "The request is too large.")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refused(400, "That is not JSON.") from None
    if not isinstance(value, dict):
        raise Refused(400, "Send a JSON object.")
    return value


async def body(request: web.Request, limit: int, sentence: str) -> bytes:
    """The request's body, given up as soon as it is longer than `limit` bytes.

    Raises:
        Refused: 413, with `sentence`.
    """
    if request.content_length is not None and request.content_length > limit:
        raise Refused(413, sentence)
    received = bytearray()
    async for chunk in request.content.iter_any():
        received += chunk
        if len(received) > limit:
            raise Refused(413, sentence)
    return bytes(received)


def text_field(values: dict[str, Any], name: str, limit: int) -> str:
    """A text in a JSON object, "" where there is none. Raises Refused (400)."""
    value = values.get(name, "")
    if not isinstance(value, str):
        raise Refused(400, f"`{name}` is a text.")
    if len(value) > limit:
        raise Refused(400, f"That is too long: {len(value)} characters, at most {limit} are taken.")
    return well_formed(value).strip()


def id_field(values: dict[str, Any], name: str) -> int | None:
    """A row id in a JSON object, None where there is none. Raises Refused (400)."""
    value = values.get(name)
    if value is None:
        return None
    if not _is_id(value):
        raise Refused(400, f"`{name}` is a number.")
    return int(value)


def ids_field(values: dict[str, Any], name: str, limit: int) -> list[int]:
    """Row ids in a JSON object, each once. Raises Refused (400)."""
    value = values.get(name, [])
    if not isinstance(value, list) or not all(map(_is_id, value)):
        raise Refused(400, f"`{name}` is a list of numbers.")
    if len(value) > limit:
        raise Refused(400, f"At most {limit} pictures go into one message.")
    return list(dict.fromkeys(value))


def file_name(request: web.Request) -> str:
    """What the uploaded file is called, without folders and control characters."""
    name = request.query.get("name", "").replace("\\", "/").rpartition("/")[2]
    name = "".join(char for char in name if char.isprintable()).strip()
    return name[-_MAX_FILE_NAME:] or "picture"


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63
