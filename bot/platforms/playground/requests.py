"""Reads requests: the acting person, row ids, JSON and uploads within limits."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from bot.platforms.playground import texts
from bot.platforms.playground.people import Person, find_person
from bot.platforms.playground.refusal import Refused
from bot.platforms.playground.text import well_formed
from bot.platforms.shared.ids import parse_id

MAX_JSON_BYTES = 128 * 1024
_MAX_FILE_NAME = 200


def acting_person(request: web.Request) -> Person:
    """The person that the tab acts as. Raises Refused (400)."""
    person = find_person(request.query.get("as", ""))
    if person is None:
        raise Refused(400, texts.NO_PERSON)
    return person


def path_id(request: web.Request) -> int:
    """The row id in the path. Raises Refused (404)."""
    row_id = parse_id(request.match_info["id"])
    if row_id is None:
        raise Refused(404, texts.NOT_FOUND)
    return row_id


async def json_body(request: web.Request) -> dict[str, Any]:
    """The request's JSON object. Raises Refused (400, 413, 415)."""
    if request.content_type != "application/json":
        raise Refused(415, texts.JSON_EXPECTED)
    raw = await body(request, MAX_JSON_BYTES, texts.REQUEST_TOO_LARGE)
    return parse_object(raw)


def parse_object(text: str | bytes) -> dict[str, Any]:
    """A JSON object. Raises Refused (400)."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(400, texts.JSON_INVALID) from None
    if not isinstance(value, dict):
        raise Refused(400, texts.JSON_OBJECT_EXPECTED)
    return value


async def body(request: web.Request, limit: int, sentence: str) -> bytes:
    """The request's body; reading stops as soon as it is longer than `limit` bytes.

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
    """A string in a JSON object, "" if it is missing. Raises Refused (400)."""
    value = values.get(name, "")
    if not isinstance(value, str):
        raise Refused(400, texts.string_expected(name))
    if len(value) > limit:
        raise Refused(400, texts.text_too_long(len(value), limit))
    return well_formed(value).strip()


def id_field(values: dict[str, Any], name: str) -> int | None:
    """A row id in a JSON object, None if it is missing. Raises Refused (400)."""
    value = values.get(name)
    if value is None:
        return None
    if not _is_id(value):
        raise Refused(400, texts.id_expected(name))
    return int(value)


def ids_field(values: dict[str, Any], name: str, limit: int) -> list[int]:
    """Row ids in a JSON object, without repetitions. Raises Refused (400)."""
    value = values.get(name, [])
    if not isinstance(value, list) or not all(map(_is_id, value)):
        raise Refused(400, texts.ids_expected(name))
    if len(value) > limit:
        raise Refused(400, texts.too_many_files(limit))
    return list(dict.fromkeys(value))


def file_name(request: web.Request) -> str:
    """The uploaded file's name, without folders and control characters."""
    name = request.query.get("name", "").replace("\\", "/").rpartition("/")[2]
    name = "".join(char for char in name if char.isprintable()).strip()
    return name[-_MAX_FILE_NAME:] or "picture"


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63
