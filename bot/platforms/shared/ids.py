"""Parses ids that come from outside: digits in a click, a request, a stored message."""

from __future__ import annotations

#: The largest id: Discord's and the database's are signed 64-bit integers.
MAX_ID = 2**63 - 1


def parse_id(value: object) -> int | None:
    """The id that a string or an integer holds; None for anything else, whatever was sent."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        # isdecimal() alone takes digits of other scripts; int() takes blanks and underscores.
        if not (value.isascii() and value.isdecimal() and len(value) <= len(str(MAX_ID))):
            return None
        value = int(value)
    return value if isinstance(value, int) and 0 <= value <= MAX_ID else None
