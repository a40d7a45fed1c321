"""From any file's bytes to a picture or a text for the model. Blocking; for the worker processes.

What a file is, its bytes say; its name and declared type are not even looked at.
"""

from __future__ import annotations

import hashlib

from bot.core.ports import BadImage
from bot.core.records import FileContent, NormalisedImage
from bot.media import kinds
from bot.media.decode import DAMAGED, UNREADABLE, decode, encode, opens
from bot.media.documents import read_pdf, read_text
from bot.media.limits import FileLimits

SVG = "an SVG drawing, which I can't read; please send a PNG"


def read_file(data: bytes, limits: FileLimits) -> FileContent:
    """A picture normalised, or a text or PDF as text.

    Raises:
        BadImage: with the reason in a few words.
    """
    limits.check_bytes(len(data))
    if kinds.is_picture(data) or opens(data):
        return read_picture(data, limits)
    if kinds.is_pdf(data):
        return read_pdf(data, limits)
    if kinds.is_svg(data):
        raise BadImage(SVG)
    if (name := kinds.unsupported(data)) is not None:
        raise BadImage(f"{name}, which I can't read")
    text = read_text(data, limits)
    if text is None:
        raise BadImage("not a kind of file that I can read")
    return text


def read_picture(data: bytes, limits: FileLimits) -> NormalisedImage:
    """The first frame, upright, sRGB on white, no metadata; the same file gives the same bytes.

    Raises:
        BadImage: with the reason in a few words.
    """
    limits.check_bytes(len(data))
    if kinds.is_svg(data):
        raise BadImage(SVG)
    if not opens(data):
        raise BadImage(DAMAGED if kinds.is_picture(data) else UNREADABLE)
    picture = decode(data, limits.check_size, limits.max_side)
    encoded = encode(picture.image)
    digest = hashlib.sha256(encoded).hexdigest()
    return NormalisedImage(encoded, digest, *picture.image.size, note=picture.note)
