"""Finds code and quotes in a chat message: what is in them is cited, not said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum

_RUN = re.compile(r"`+")
# ">_<" and ">:(" open no quote.
_QUOTE_OR_RUN = re.compile(r"(?P<quote>^ {0,3}>(?=[\s>]|\Z)[^\n]*)|`+", re.MULTILINE)
_LINE_START = re.compile(r"(?:\A|\n) {0,3}\Z")
_SPANS_LINES = 3  # backticks from which on code may span lines


class Region(IntEnum):
    """What a character of a message is part of."""

    PROSE = 0
    INLINE_CODE = 1
    BLOCK = 2  # a code block or a quote


def classify(text: str, *, open_quotes: bool = False) -> bytearray:
    """A `Region` for each character of a message. Takes linear time.

    A run of three or more backticks opens code anywhere in a line, as chat clients have it, and
    the next such run closes it; only at the start of a line does it stay open without one.
    `open_quotes`: a line that starts with ">>> " quotes all that follows, as on Discord.
    """
    regions = bytearray(len(text))
    position = 0
    while (match := _QUOTE_OR_RUN.search(text, position)) is not None:
        start, position = match.span()
        kind: Region | None = Region.BLOCK
        if match["quote"] is None:
            kind, position = _code(text, start, position)
        elif open_quotes and match["quote"].lstrip(" ").startswith(">>> "):
            position = len(text)
        if kind is not None:
            regions[start:position] = bytes([kind]) * (position - start)
    return regions


def code_spans(line: str) -> Iterator[tuple[int, int, int]]:
    """The code spans of one line, as (start, end, length of the run of backticks at both ends).

    As in CommonMark, a run is closed by the next one of the same length. Takes linear time.
    """
    runs = [match.span() for match in _RUN.finditer(line)]
    closing: list[int | None] = [None] * len(runs)
    next_of_length: dict[int, int] = {}
    for number in range(len(runs) - 1, -1, -1):
        length = runs[number][1] - runs[number][0]
        closing[number] = next_of_length.get(length)
        next_of_length[length] = number
    number = 0
    while number < len(runs):
        partner = closing[number]
        if partner is not None:
            yield runs[number][0], runs[partner][1], runs[number][1] - runs[number][0]
            number = partner
        number += 1


def _code(text: str, start: int, run_end: int) -> tuple[Region | None, int]:
    """What the run of backticks at `start` opens, and where that ends; None if it opens nothing."""
    length = run_end - start
    if length < _SPANS_LINES:
        closing = re.compile(rf"(?<!`)`{{{length}}}(?!`)|\n").search(text, run_end)
        is_code = closing is not None and closing[0] != "\n"
        return (Region.INLINE_CODE, closing.end()) if closing and is_code else (None, run_end)
    closing = re.compile(rf"(?<!`)`{{{length},}}").search(text, run_end)
    if closing is not None:
        return Region.BLOCK, closing.end()
    if _LINE_START.search(text[max(0, start - 4) : start]):
        return Region.BLOCK, len(text)
    return None, run_end
