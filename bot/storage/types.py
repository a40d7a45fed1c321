"""Column types that behave the same on SQLite and PostgreSQL."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, LargeBinary, Text
from sqlalchemy.types import TypeDecorator

#: A surrogate key. SQLite autoincrements only an INTEGER PRIMARY KEY, which holds 64 bits there.
RowId = BigInteger().with_variant(Integer(), "sqlite")

_UNSTORABLE = "\ufffd"


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: aware in, aware UTC out. A naive datetime is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC. Raises ValueError for a datetime without a timezone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time needs a timezone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """SQLite keeps no timezone: what comes back naive was written as UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class SafeText(TypeDecorator[str]):
    """Text of any length from anybody.

    PostgreSQL refuses NUL and neither database takes a lone surrogate: both become U+FFFD, so
    that no message, file name or nickname can make a write fail.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace what a database cannot hold."""
        return None if value is None else storable(value)


def storable(text: str) -> str:
    """`text` as the database will return it."""
    text = text.replace("\0", _UNSTORABLE)
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(_UNSTORABLE if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


class TokenIds(TypeDecorator[tuple[int, ...]]):
    """Token ids, four bytes each, little-endian: a tenth of what JSON takes."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Sequence[int] | None, dialect: Dialect) -> bytes | None:
        """Pack. Raises OverflowError for an id outside of 32 bits."""
        if value is None:
            return None
        return _little_endian(array("i", value)).tobytes()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> tuple[int, ...] | None:
        """Unpack."""
        if value is None:
            return None
        packed = array("i")
        packed.frombytes(value)
        return tuple(_little_endian(packed))


def _little_endian(packed: array[int]) -> array[int]:
    if sys.byteorder == "big":
        packed.byteswap()
    return packed
