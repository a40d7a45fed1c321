"""How the reader and its worker processes talk: a JSON head and raw bytes, never pickles.

A worker handles hostile files, so what comes back from it is not trusted with more than data.
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
    """What came is no frame."""


def pack(head: dict[str, Any], body: bytes = b"") -> bytes:
    """A frame up to its body, which follows it as it is."""
    encoded = json.dumps(head).encode()
    return _LENGTHS.pack(len(encoded), len(body)) + encoded


def lengths(prefix: bytes) -> tuple[int, int]:
    """The lengths of head and body. Raises BadFrame."""
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
