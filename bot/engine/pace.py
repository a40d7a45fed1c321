"""How many prompt tokens a step may take while others decode; pure Python.

Whoever decodes waits for the whole step, so a prompt's chunk must not make it much longer than a
quiet one. What a step costs is learnt from the steps themselves.
"""

from __future__ import annotations

_LEARN = 0.25  # weight of the newest step
_STRETCH = 2.4  # a step with a chunk in it, over a quiet one; the bar is 3 for the slowest in 100
_QUICK_S = 0.02  # nobody notices a step this short, whatever a quiet one takes
_FIRST = 64  # tokens, before anything is known


class Pace:
    """Learns the price of a quiet step and of a prompt token.

    Args:
        most, least: bounds of what `limit` gives, in tokens.
    """

    def __init__(self, most: int, least: int = 16) -> None:
        self._most = most
        self._least = min(least, most)
        self._quiet_s: float | None = None  # a step in which all decode
        self._token_s: float | None = None  # one prompt token more

    def note(self, decoding: int, prefilled: int, seconds: float) -> None:
        """A step took so long for so many sequences that decode and so many prompt tokens."""
        if not prefilled:
            self._quiet_s = _learnt(self._quiet_s, seconds)
        elif not decoding:
            self._token_s = _learnt(self._token_s, seconds / prefilled)
        elif self._quiet_s is not None:
            # Noise must not make tokens look free.
            extra = max(seconds - self._quiet_s, seconds / 20)
            self._token_s = _learnt(self._token_s, extra / prefilled)

    def limit(self) -> int:
        """Prompt tokens for the next step if somebody decodes in it."""
        if self._quiet_s is None or self._token_s is None:
            return min(_FIRST, self._most)
        room_s = max(self._quiet_s * _STRETCH, _QUICK_S) - self._quiet_s
        return int(min(max(room_s / self._token_s, self._least), self._most))


def _learnt(old: float | None, new: float) -> float:
    return new if old is None else old + _LEARN * (new - old)
