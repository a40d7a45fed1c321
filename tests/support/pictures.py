"""Real picture files, made on the spot; also hostile ones."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pillow_heif
from PIL import Image


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    if format == "HEIF":
        # The product reads HEIC with the lean pi-heif; writing one takes the whole library.
        if "exif" in options:
            options["exif"] = options["exif"].tobytes()
        pillow_heif.from_pillow(image.convert("RGB")).save(buffer, **options)
    else:
        image.save(buffer, format, **options)
    return buffer.getvalue()


def plain(
    size: tuple[int, int] = (40, 30), color: Any = (200, 30, 60), mode: str = "RGB"
) -> Image.Image:
    return Image.new(mode, size, color)


def corner(size: tuple[int, int] = (40, 20), mode: str = "RGB") -> Image.Image:
    """White with a red top left quarter, so that one sees which way up it is."""
    image = Image.new("RGB", size, "white")
    image.paste((255, 0, 0), (0, 0, size[0] // 2, size[1] // 2))
    return image.convert(mode)


def noise(size: tuple[int, int]) -> Image.Image:
    """A photograph, as far as encoders are concerned; always the same one."""
    low = Image.effect_noise(size, 80)
    return Image.merge("RGB", (low, Image.linear_gradient("L").resize(size), low))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to no data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )
