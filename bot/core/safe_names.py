"""Makes names that people chose (their own, their files') safe for a prompt."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from bot.core.records import Turn

MAX_NAME = 40
MAX_FILE_NAME = 80
_NAMED = 5

# A name that contains these could pose as another speaker, a marker or a control token.
_STRUCTURE = str.maketrans(dict.fromkeys(":<>[]|", " "))


def one_line(text: str, limit: int) -> str:
    """`text` without control characters and line breaks, in at most `limit` characters."""
    visible = "".join(
        " " if char.isspace() or unicodedata.category(char)[0] in "CZ" else char for char in text
    )
    words = " ".join(visible.split())
    return words if len(words) <= limit else words[: limit - 1].rstrip() + "…"


def speaker(name: str) -> str:
    """A display name as a speaker's label."""
    return one_line(name.translate(_STRUCTURE), MAX_NAME) or "Somebody"


def file_name(name: str) -> str:
    """A file's name for a marker; the extension is kept."""
    line = one_line(name.translate(_STRUCTURE), 10 * MAX_FILE_NAME)
    if len(line) > MAX_FILE_NAME:
        line = line[: MAX_FILE_NAME // 2] + "…" + line[-(MAX_FILE_NAME // 2 - 1) :]
    return line or "file"


def some(names: Sequence[str]) -> str:
    """The first few of these names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def megabytes(size: int) -> str:
    """A size in bytes as people read it: "31 MB", "1.5 MB"."""
    amount = size / (1024 * 1024)
    return f"{amount:.0f} MB" if amount >= 10 else f"{amount:.1f} MB"


def speakers(turns: Iterable[Turn]) -> dict[str, str]:
    """A unique label for each author id, from their latest display name."""
    latest: dict[str, str] = {}
    for turn in turns:
        for message in turn.messages:
            latest[message.author_id] = message.author_name
    labels: dict[str, str] = {}
    taken: set[str] = set()
    for author_id, name in latest.items():
        label = plain = speaker(name)
        number = 2
        while label.casefold() in taken:
            label, number = f"{plain} {number}", number + 1
        taken.add(label.casefold())
        labels[author_id] = label
    return labels
