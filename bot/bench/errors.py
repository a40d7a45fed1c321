"""The benchmark's one expected error."""

from __future__ import annotations


class BenchFailed(Exception):
    """Something couldn't be measured; the message is one line with the cause and the fix."""
