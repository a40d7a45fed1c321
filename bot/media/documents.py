"""From a text file's or a PDF's bytes to plain text. Blocking; for the worker processes."""

from __future__ import annotations

import codecs
import io
import logging
import re
import unicodedata

import charset_normalizer

from bot.core.excerpts import excerpt
from bot.core.ports import BadImage
from bot.core.records import FileText
from bot.media.limits import FileLimits

logger = logging.getLogger(__name__)

EMPTY = "an empty file"

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 32 * 1024  # bytes from which the charset is told
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")  # colors in logs
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_MOST_CONTROL = 0.01  # more than this share of control characters is no text


def read_text(data: bytes, limits: FileLimits) -> FileText | None:
    """The text of a text file, whatever its charset; None if it is none.

    Raises:
        BadImage: there is nothing in it.
    """
    decoded = _decode(data)
    if decoded is None:
        return None
    text = _ANSI.sub("", decoded)
    noise = len(_CONTROL.findall(text))
    if "\0" in text or noise > _MOST_CONTROL * len(text):
        return None
    return _file_text(text, limits.max_chars)


def read_pdf(data: bytes, limits: FileLimits) -> FileText:
    """The text of a PDF, page by page, until the limits.

    Raises:
        BadImage: locked, damaged, or without text.
    """
    import pypdf  # takes a while, and most files are none

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise BadImage("a PDF with a password, which I can't open")
        total = len(reader.pages)
        pages, chars = [], 0
        for number in range(min(total, limits.max_pages)):
            if chars > limits.max_chars:
                break
            pages.append(reader.pages[number].extract_text())
            chars += len(pages[-1])
    except BadImage:
        raise
    except Exception as error:  # hostile files make a parser raise anything
        logger.debug("a PDF could not be read: %r", error)
        raise BadImage("a damaged PDF") from error
    text = "\n\n".join(pages)
    if not text.strip():
        raise BadImage("a PDF without text (a scan?); please send its pages as pictures")
    if len(pages) < total:
        note = f"I read its first {len(pages)} of {total} pages"
        return FileText(_clean(text)[: limits.max_chars], note)
    return _file_text(text, limits.max_chars)


def _file_text(text: str, max_chars: int) -> FileText:
    text = _clean(text)
    if not text:
        raise BadImage(EMPTY)
    if len(text) <= max_chars:
        return FileText(text)
    note = f"I read its start and its end, {max_chars:,} of {len(text):,} characters"
    return FileText(excerpt(text, max_chars), note)


def _clean(text: str) -> str:
    """Without control characters and trailing blanks, lines ended by one newline each."""
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate can't be stored
    lines = (line.rstrip() for line in text.split("\n"))
    return unicodedata.normalize("NFC", "\n".join(lines)).strip("\n")


def _decode(data: bytes) -> str | None:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data.decode(encoding, "replace")
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start > 0 and len(data) - error.start < 4 and error.reason == _CUT:
            return data.decode("utf-8", "ignore")  # cut off inside its last character
    best = charset_normalizer.from_bytes(data[:_SAMPLE]).best()
    return data.decode(best.encoding, "replace") if best is not None else None


_CUT = "unexpected end of data"
