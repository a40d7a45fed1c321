"""The benchmark's one expected error."""

from __future__ import annotations


class BenchFailed(Exception):
    """Something could not be measured; the text is one line that names it and the fix."""
