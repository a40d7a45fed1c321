"""Extracts plain text from text files and PDFs. Blocking; runs in the worker processes."""

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
from bot.media import texts
from bot.media.limits import FileLimits

logger = logging.getLogger(__name__)

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which is a prefix of it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 32 * 1024  # bytes to detect the charset from
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")  # colors in logs
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_MOST_CONTROL = 0.01  # a file with a larger share of control characters isn't text


def read_text(data: bytes, limits: FileLimits) -> FileText | None:
    """The text of a text file in any charset; None if the file isn't text.

    Raises:
        BadImage: the file is empty.
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
    """The text of a PDF, page by page, up to the limits.

    Raises:
        BadImage: encrypted, damaged, or without text.
    """
    import pypdf  # slow to import, and most files aren't PDFs

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise BadImage(texts.LOCKED_PDF)
        total = len(reader.pages)
        pages, chars = [], 0
        for number in range(min(total, limits.max_pages)):
            if chars > limits.max_chars:
                break
            pages.append(reader.pages[number].extract_text())
            chars += len(pages[-1])
    except BadImage:
        raise
    except Exception as error:  # a hostile file can make the parser raise anything
        logger.debug("a PDF could not be read: %r", error)
        raise BadImage(texts.DAMAGED_PDF) from error
    text = "\n\n".join(pages)
    if not text.strip():
        raise BadImage(texts.PDF_WITHOUT_TEXT)
    if len(pages) < total:
        note = texts.first_pages(len(pages), total)
        return FileText(_clean(text)[: limits.max_chars], note)
    return _file_text(text, limits.max_chars)


def _file_text(text: str, max_chars: int) -> FileText:
    text = _clean(text)
    if not text:
        raise BadImage(texts.EMPTY_FILE)
    if len(text) <= max_chars:
        return FileText(text)
    note = texts.start_and_end(max_chars, len(text))
    return FileText(excerpt(text, max_chars), note)


def _clean(text: str) -> str:
    """Remove control characters and trailing blanks; normalize newlines and Unicode."""
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
            return data.decode("utf-8", "ignore")  # cut off within the last character
    best = charset_normalizer.from_bytes(data[:_SAMPLE]).best()
    return data.decode(best.encoding, "replace") if best is not None else None


_CUT = "unexpected end of data"
