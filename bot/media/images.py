"""Reads uploaded files as pictures, in threads of its own and within limits."""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bot.core.ports import BadImage
from bot.core.records import NormalisedImage
from bot.media.decode import decode, encode

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is let in, and how large a picture is kept. More pixels than Pillow's own limit for
    decompression bombs (about 179 million) are refused whatever is said here."""

    max_bytes: int = 20 * MIB
    max_pixels: int = 50_000_000
    max_aspect: int = 100  # the longer side over the shorter
    max_side: int = 1792  # pixels; larger ones are scaled down to it

    def check_bytes(self, size: int) -> None:
        """Raises BadImage for a file that is empty or has too many bytes."""
        if size == 0:
            raise BadImage("an empty file")
        if size > self.max_bytes:
            raise BadImage(f"too large, {_megabytes(size)}, limit {_megabytes(self.max_bytes)}")

    def check_size(self, width: int, height: int) -> None:
        """Raises BadImage for a picture that has too many pixels or is a mere strip."""
        if width * height > self.max_pixels:
            raise BadImage(
                f"too many pixels, {width} x {height}, "
                f"limit {self.max_pixels / 1_000_000:.3g} megapixels"
            )
        if max(width, height) > self.max_aspect * min(width, height):
            raise BadImage(f"too long and thin, {width} x {height}")


class PillowImageReader:
    """`bot.core.ports.ImageReader` with Pillow. Owns its threads: `close` it.

    `threads` bounds how many pictures are decoded at once, and with it the memory: some 8 bytes
    for each of `limits.max_pixels`, a thread.
    """

    def __init__(self, limits: ImageLimits | None = None, *, threads: int = 2) -> None:
        self.limits = limits or ImageLimits()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="parley-image")

    async def read(self, data: bytes) -> NormalisedImage:
        """Decode and normalise: the first frame, upright, sRGB on white, no metadata.

        The same file always gives the same bytes.

        Raises:
            BadImage: with the reason in a few words.
        """
        self.limits.check_bytes(len(data))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, normalise, data, self.limits)

    def close(self) -> None:
        """Take no more; what waits is dropped, what runs ends by itself. Idempotent."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def normalise(data: bytes, limits: ImageLimits) -> NormalisedImage:
    """What `PillowImageReader.read` does, on the calling thread."""
    limits.check_bytes(len(data))
    image = decode(data, limits.check_size, limits.max_side)
    encoded = encode(image)
    return NormalisedImage(encoded, hashlib.sha256(encoded).hexdigest(), *image.size)


def _megabytes(size: int) -> str:
    megabytes = size / MIB
    return f"{megabytes:.0f} MB" if megabytes >= 10 else f"{megabytes:.1f} MB"
