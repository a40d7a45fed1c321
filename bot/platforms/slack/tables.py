"""Tables as aligned code blocks: Slack's markdown has none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from bot.platforms.slack.inline import plain_text

MAX_TABLE_WIDTH = 200  # columns of the screen; wider tables are not aligned
_CELL_END = re.compile(r"(?<!\\)\|")


def aligned_table(lines: Sequence[str], prefixes: Sequence[str] = ()) -> list[str]:
    """A Markdown table's lines as those of a code block.

    `prefixes` are the marks of the list or quote that each line has; the code block has them too.
    """
    prefixes = prefixes or [""] * len(lines)
    rows = [
        _cells(line[len(prefix) :])
        for number, (line, prefix) in enumerate(zip(lines, prefixes, strict=True))
        if number != 1  # the rule below the header
    ]
    first, rest = prefixes[0], prefixes[1]
    return [f"{first}```", *(f"{rest}{row}".rstrip() for row in _aligned(rows)), f"{rest}```"]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    columns = max(map(len, rows))
    widths = [0] * min(columns, MAX_TABLE_WIDTH)
    for row in rows:
        for column, cell in enumerate(row[: len(widths)]):
            widths[column] = max(widths[column], _width(cell))
    if columns > len(widths) or sum(widths) + 3 * (columns - 1) > MAX_TABLE_WIDTH:
        return [" | ".join(row) for row in rows]
    lines = [" | ".join(_padded(row, widths)) for row in rows]
    return [lines[0], "-+-".join("-" * width for width in widths), *lines[1:]]


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    cells = [*row, *[""] * (len(widths) - len(row))]
    return [cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)]


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [
        plain_text(cell.strip().replace("\\|", "|")).replace("```", "'''")
        for cell in _CELL_END.split(inner)
    ]


def _width(text: str) -> int:
    """Columns on the screen."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
