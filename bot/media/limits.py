"""How large a file may be, and how much of it is kept."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.ports import BadImage
from bot.core.safe_names import megabytes

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileLimits:
    """What is let in, and how large a picture or a text is kept. More pixels than Pillow's own
    limit for decompression bombs (about 179 million) are refused whatever is said here."""

    max_bytes: int = 20 * MIB
    max_pixels: int = 50_000_000
    max_aspect: int = 100  # the longer side over the shorter
    max_side: int = 1792  # pixels; larger ones are scaled down to it
    max_chars: int = 24_000  # of a text; longer ones are cut in the middle
    max_pages: int = 100  # of a PDF; the others are left out

    @property
    def memory(self) -> int:
        """Bytes of address space that reading one file may take, the program included."""
        return 1024 * MIB + 24 * self.max_pixels

    def check_bytes(self, size: int) -> None:
        """Raises BadImage for a file that is empty or has too many bytes."""
        if size == 0:
            raise BadImage("an empty file")
        if size > self.max_bytes:
            raise BadImage(f"too large, {megabytes(size)}, limit {megabytes(self.max_bytes)}")

    def check_size(self, width: int, height: int) -> None:
        """Raises BadImage for a picture that has too many pixels or is a mere strip."""
        if width * height > self.max_pixels:
            raise BadImage(
                f"too many pixels, {width} x {height}, "
                f"limit {self.max_pixels / 1_000_000:.3g} megapixels"
            )
        if max(width, height) > self.max_aspect * min(width, height):
            raise BadImage(f"too long and thin, {width} x {height}")
