"""The protocol between the reader and its worker processes: a JSON head and raw bytes.

Workers handle hostile files, so their answers are parsed as data only and never unpickled.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

_LENGTHS = struct.Struct(">II")
PREFIX = _LENGTHS.size
MAX_HEAD = 4 * 1024 * 1024
MAX_BODY = 512 * 1024 * 1024


class BadFrame(Exception):
    """The received bytes aren't a valid frame."""


def pack(head: dict[str, Any], body: bytes = b"") -> bytes:
    """Encode a frame's lengths and head; the body follows unchanged."""
    encoded = json.dumps(head).encode()
    return _LENGTHS.pack(len(encoded), len(body)) + encoded


def lengths(prefix: bytes) -> tuple[int, int]:
    """Decode the lengths of head and body. Raises BadFrame."""
    head, body = _LENGTHS.unpack(prefix)
    if head > MAX_HEAD or body > MAX_BODY:
        raise BadFrame(f"{head} and {body} bytes")
    return head, body


def unpack_head(encoded: bytes) -> dict[str, Any]:
    """Raises BadFrame."""
    try:
        head = json.loads(encoded)
    except ValueError as error:
        raise BadFrame("no JSON") from error
    if not isinstance(head, dict):
        raise BadFrame("no object")
    return head


def receive(source: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next frame of a blocking stream; None at its end."""
    prefix = source.read(PREFIX)
    if len(prefix) < PREFIX:
        return None
    head, body = lengths(prefix)
    return unpack_head(source.read(head)), source.read(body)


def send(target: BinaryIO, head: dict[str, Any], body: bytes = b"") -> None:
    """Write a frame to a blocking stream."""
    target.write(pack(head, body))
    target.write(body)
    target.flush()
