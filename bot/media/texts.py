"""What people read about their files: why one can't be read, and what of it is left out."""

from __future__ import annotations

from bot.core.safe_names import megabytes

EMPTY_FILE = "an empty file"
UNKNOWN_KIND = "not a kind of file that I can read"
TOO_SLOW = "it takes too long to open"
TOO_MUCH_MEMORY = "it takes too much memory to open"
CRASHED = "damaged: it crashed the program that opens it"

NOT_A_PICTURE = "not a picture I can read"
DAMAGED_PICTURE = "damaged or incomplete"
TOO_MANY_PIXELS = "too many pixels"
SVG = "an SVG drawing, which I can't read; please send a PNG"
FIRST_FRAME = "it's animated, and I see only the first frame"
FIRST_PAGE = "I see only its first page"

LOCKED_PDF = "a PDF with a password, which I can't open"
DAMAGED_PDF = "a damaged PDF"
PDF_WITHOUT_TEXT = "a PDF without text (a scan?); please send its pages as pictures"

NOT_HANDED_OUT = "the platform refused the download"
WEB_PAGE = "the platform sent a web page instead of the file"
NO_WEB_ADDRESS = "its address isn't a web address"
CREDENTIALS_IN_ADDRESS = "its address contains a name and password"
FOREIGN_HOST = "it is on a host that I don't download from"
NOT_HTTPS = "its address is not https"
PRIVATE_ADDRESS = "it is at a private address"
TOO_MANY_REDIRECTS = "its address redirects too often"
BAD_REDIRECT = "its address redirects to an invalid one"


def too_large(limit: int, size: int | None = None) -> str:
    """`size` is None if only the limit is known."""
    measured = "" if size is None else f"{megabytes(size)}, "
    return f"too large, {measured}limit {megabytes(limit)}"


def too_many_pixels(width: int, height: int, limit: int) -> str:
    return f"{TOO_MANY_PIXELS}, {width} x {height}, limit {limit / 1_000_000:.3g} megapixels"


def too_narrow(width: int, height: int) -> str:
    return f"too long and thin, {width} x {height}"


def refused_with_status(status: int) -> str:
    return f"{NOT_HANDED_OUT} (status {status})"


def unsupported_kind(kind: str) -> str:
    """`kind`: with an article, such as "a ZIP archive"."""
    return f"{kind}, which I can't read"


def first_pages(count: int, total: int) -> str:
    return f"I read its first {count} of {total} pages"


def start_and_end(kept: int, total: int) -> str:
    return f"I read its start and its end, {kept:,} of {total:,} characters"
