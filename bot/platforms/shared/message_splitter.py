"""Splits a long text into chunks that a platform takes, without breaking code blocks.

The invariant: `"".join(piece.body for piece in pieces(text, limit)) == text`, for any text. Fences
that are inserted (closed at a chunk's end, opened again at the start of the next) are kept apart in
each piece, and every chunk with them is within the limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import regex

Measure: TypeAlias = Callable[[str], int]

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)", re.DOTALL)
_GRAPHEME = regex.compile(r"\X")


def utf16_units(text: str) -> int:
    """The length of a text as Discord and JavaScript count it."""
    return len(text) + sum(char > "\uffff" for char in text)


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk: a part of the text, and the fences inserted before and after it."""

    opened: str
    body: str
    closed: str

    def __str__(self) -> str:
        return self.opened + self.body + self.closed


def split(text: str, limit: int, *, measure: Measure = len) -> list[str]:
    """Chunks of at most `limit` as `measure` counts (it gives every character at least 1).

    Breaks after a paragraph, else after a line, else after a word, else between any two
    characters. A text that fits is returned as it is; chunks of white space are left out.

    Raises:
        ValueError: a single character is over the limit.
    """
    return [str(piece) for piece in pieces(text, limit, measure=measure) if piece.body.strip()]


def pieces(text: str, limit: int, *, measure: Measure = len) -> list[Piece]:
    """Like `split`, with insertions kept apart from the text.

    Raises:
        ValueError: a single character is over the limit.
    """
    if len(text) <= limit and measure(text) <= limit:
        return [Piece("", text, "")] if text else []
    result: list[Piece] = []
    state = _State()
    start = 0
    while start < len(text):
        piece = _next_piece(text, start, state, limit, measure)
        result.append(piece)
        state = state.after(piece.body)
        start += len(piece.body)
    return result


@dataclass(frozen=True, slots=True)
class _Fence:
    """An open code fence: its run of backticks or tildes, and the info string after it."""

    run: str
    info: str = ""

    def closed_by(self, run: str, info: str) -> bool:
        return run[0] == self.run[0] and len(run) >= len(self.run) and not info.strip()


@dataclass(frozen=True, slots=True)
class _State:
    """The state of the Markdown at a position of the text."""

    fence: _Fence | None = None
    line_start: bool = True

    def after(self, text: str) -> _State:
        """The state after `text`."""
        lines = text.split("\n")
        fence = _read_lines(lines if self.line_start else lines[1:], self.fence)
        line_start = not lines[-1] if len(lines) > 1 else self.line_start and not text
        return _State(fence, line_start)


def _read_lines(lines: Iterable[str], fence: _Fence | None) -> _Fence | None:
    for line in lines:
        match = _FENCE.match(line)
        if match is None:
            continue
        run, info = match[1], match[2]
        if fence is not None:
            fence = None if fence.closed_by(run, info) else fence
        elif run[0] == "~" or "`" not in info:
            fence = _Fence(run, info.strip())
    return fence


def _next_piece(text: str, start: int, state: _State, limit: int, measure: Measure) -> Piece:
    opened = _reopening(state.fence, limit, measure)
    room = limit - measure(opened)
    while (furthest := _fitting(text, start, room, measure)) > start:
        body = text[start : _break_before(text, start, state, furthest)]
        piece = Piece(opened, body, _closing(opened + body))
        if measure(str(piece)) <= limit:
            return piece
        room = min(room - 1, limit - measure(opened) - measure(piece.closed))
    return _unfenced(text, start, limit, measure)


def _unfenced(text: str, start: int, limit: int, measure: Measure) -> Piece:
    """A piece without fences, where the limit leaves no room for them."""
    end = _fitting(text, start, limit, measure)
    if end == start:
        raise ValueError(f"the limit of {limit} is less than one character")
    return Piece("", text[start:end], "")


def _reopening(fence: _Fence | None, limit: int, measure: Measure) -> str:
    """The line that opens a fence again; without its info string, or "", if too long."""
    if fence is None:
        return ""
    for line in (f"{fence.run}{fence.info}\n", f"{fence.run}\n"):
        if measure(line) <= limit // 4:
            return line
    return ""


def _closing(chunk: str) -> str:
    """What closes the fence that is open at the end of a chunk."""
    fence = _State().after(chunk).fence
    if fence is None:
        return ""
    return fence.run if chunk.endswith("\n") else f"\n{fence.run}"


def _fitting(text: str, start: int, room: int, measure: Measure) -> int:
    """The furthest end such that `text[start:end]` measures at most `room`."""
    low, high = start, min(len(text), start + max(room, 0))
    if measure(text[low:high]) <= room:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if measure(text[start:middle]) <= room:
            low = middle
        else:
            high = middle - 1
    return low


def _break_before(text: str, start: int, state: _State, furthest: int) -> int:
    """The best place to break, at most `furthest`."""
    if furthest >= len(text):
        return len(text)
    length = furthest - start
    for separator, least in (("\n\n", length // 2), ("\n", length // 4), (" ", length // 4)):
        position = text.rfind(separator, start, furthest)
        if position >= 0 and position - start >= least:
            end = position + len(separator)
            return _before_opening(text, start, end, state) if separator != " " else end
    return _between_characters(text, start, furthest)


def _before_opening(text: str, start: int, end: int, state: _State) -> int:
    """`end`, or the start of the line before it if that line opens a fence: no empty block."""
    line = text.rfind("\n", start, end - 1) + 1
    if line <= start:
        return end
    is_in_code = state.after(text[start:line]).fence is not None
    opens = not is_in_code and _read_lines([text[line : end - 1]], None) is not None
    return line if opens else end


def _between_characters(text: str, start: int, furthest: int) -> int:
    """Step back out of a grapheme cluster (an accented letter, a family emoji), unless it is all
    there is."""
    # One character more than fits, so that a cluster that goes on after `furthest` is seen whole.
    end = start
    for cluster in _GRAPHEME.finditer(text, start, furthest + 1):
        if cluster.end() > furthest:
            break
        end = cluster.end()
    return end if end > start else furthest
