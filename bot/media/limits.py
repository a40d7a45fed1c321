"""Limits on the size of files, and on how much of them is kept."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.ports import BadImage
from bot.media import texts

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Files over these limits are rejected, scaled down or cut.

    Pillow's own limit for decompression bombs (about 179 million pixels) applies as well.
    """

    max_bytes: int = 20 * MIB
    max_pixels: int = 50_000_000
    max_aspect: int = 100  # the longer side over the shorter
    max_side: int = 1792  # pixels; larger pictures are scaled down
    max_chars: int = 24_000  # longer texts are cut in the middle
    max_pages: int = 100  # of a PDF; further pages are skipped

    @property
    def memory(self) -> int:
        """Bytes of address space a worker may use to read one file, the program included."""
        return 1024 * MIB + 24 * self.max_pixels

    def check_bytes(self, size: int) -> None:
        """Raises BadImage if the file is empty or too large."""
        if size == 0:
            raise BadImage(texts.EMPTY_FILE)
        if size > self.max_bytes:
            raise BadImage(texts.too_large(self.max_bytes, size))

    def check_size(self, width: int, height: int) -> None:
        """Raises BadImage if a picture has too many pixels or is too narrow."""
        if width * height > self.max_pixels:
            raise BadImage(texts.too_many_pixels(width, height, self.max_pixels))
        if max(width, height) > self.max_aspect * min(width, height):
            raise BadImage(texts.too_narrow(width, height))
