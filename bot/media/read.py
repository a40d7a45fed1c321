"""Turns any file's bytes into a picture or text for the model. Blocking; for the worker processes.

A file's kind is determined by its bytes alone, never by its name or declared type.
"""

from __future__ import annotations

import hashlib

from bot.core.ports import BadImage
from bot.core.records import FileContent, NormalizedImage
from bot.media import kinds, texts
from bot.media.decode import decode, encode, opens
from bot.media.documents import read_pdf, read_text
from bot.media.limits import FileLimits


def read_file(data: bytes, limits: FileLimits) -> FileContent:
    """A normalized picture, or the text of a text file or PDF.

    Raises:
        BadImage: the message is the reason, in a few words.
    """
    limits.check_bytes(len(data))
    if kinds.is_picture(data) or opens(data):
        return read_picture(data, limits)
    if kinds.is_pdf(data):
        return read_pdf(data, limits)
    if kinds.is_svg(data):
        raise BadImage(texts.SVG)
    if (name := kinds.unsupported(data)) is not None:
        raise BadImage(texts.unsupported_kind(name))
    text = read_text(data, limits)
    if text is None:
        raise BadImage(texts.UNKNOWN_KIND)
    return text


def read_picture(data: bytes, limits: FileLimits) -> NormalizedImage:
    """The first frame, upright, sRGB on white, no metadata; the same file gives the same bytes.

    Raises:
        BadImage: the message is the reason, in a few words.
    """
    limits.check_bytes(len(data))
    if kinds.is_svg(data):
        raise BadImage(texts.SVG)
    if not opens(data):
        raise BadImage(texts.DAMAGED_PICTURE if kinds.is_picture(data) else texts.NOT_A_PICTURE)
    picture = decode(data, limits.check_size, limits.max_side)
    encoded = encode(picture.image)
    digest = hashlib.sha256(encoded).hexdigest()
    return NormalizedImage(encoded, digest, *picture.image.size, note=picture.note)
