"""Shortens long texts in the middle: logs say most at their end, other texts at their start.

Pure and always the same for the same arguments, so that a prompt begins as it did the last time.
"""

from __future__ import annotations

from collections.abc import Callable

_LEFT_OUT = "\n[... {:,} characters left out ...]\n"
_HEAD = 2 / 3


def excerpt(text: str, max_chars: int) -> str:
    """`text`, or its start and its end with a line between that says how much was left out.

    The result may be longer than `max_chars` by that line only.
    """
    if len(text) <= max_chars:
        return text
    head = int(max_chars * _HEAD)
    tail = max_chars - head
    end = text[len(text) - tail :]
    return text[:head] + _LEFT_OUT.format(len(text) - max_chars) + end


def excerpt_within(text: str, max_tokens: int, count: Callable[[str], int]) -> str:
    """The longest excerpt, or nearly, that `count` says has at most `max_tokens`."""
    if len(text.encode()) <= max_tokens:  # a token stands for at least one byte
        return text
    chars, shortened = len(text), text
    # A token rarely stands for more than 8 characters, so the rest need not be counted.
    if chars > 8 * max_tokens:
        chars = 8 * max_tokens
        shortened = excerpt(text, chars)
    while chars > 0 and (tokens := count(shortened)) > max_tokens:
        chars = min(int(chars * max_tokens / tokens * 0.95), chars - 1)
        shortened = excerpt(text, chars)
    return shortened
