"""Database errors, in one line for the operator."""

from __future__ import annotations

SETTING = "PARLEY_DATABASE_URL"


class DatabaseError(Exception):
    """The database cannot be used. The text is one line, names the setting or the fix, and holds
    no password."""
