"""How many prompt tokens a step may take while others decode; pure Python.

Whoever decodes waits for the whole step, so a prompt's chunk must not make it much longer than a
quiet one. What a step costs is learnt from the steps themselves: so much for any, so much for each
that decodes, so much for each prompt token. All three are needed, since a crowd that comes and goes
may leave no quiet step for many seconds.
"""

from __future__ import annotations

_STRETCH = 1.7  # a step with a chunk in it, over a quiet one; the bar is 3 for the slowest in 100
_QUICK_S = 0.02  # nobody notices a step this short, whatever a quiet one takes
_LONG_S = 0.15  # a step in which nobody decodes: who comes meanwhile waits for its end ...
_WORTH = 4  # ... but so many times what a step takes without any tokens: it must be worth it
_FIRST = 64  # tokens, before anything is known
#: The unit of each price: a step, so many that decode, so many prompt tokens. The three cost about
#: the same on a CPU, which is what is believed at first.
_UNITS = (1.0, 16.0, 64.0)
_NOISE = 0.1  # of a step's time: how much a single step is trusted
_DRIFT = 0.02  # of a price: how much it may have changed since the last step
_EVERY = 4  # steps, one of which has half as much: only what varies can be told apart
_FREE = 0.02  # of a step: a unit of prompt tokens costs at least that


class Pace:
    """Learns the prices (a Kalman filter over three numbers; Kalman 1960).

    Args:
        most, least: bounds of what `limit` gives, in tokens.
    """

    def __init__(self, most: int, least: int = 16) -> None:
        self._most = most
        self._least = min(least, most)
        self._steps = 0
        self._prices: list[float] = []  # seconds for each of `_UNITS`; empty: nothing is known
        self._doubt: list[list[float]] = []  # their covariance

    def note(self, decoding: int, prefilled: int, seconds: float) -> None:
        """A step took so long for so many sequences that decode and so many prompt tokens."""
        self._steps += 1
        step = (1.0, decoding / _UNITS[1], prefilled / _UNITS[2])
        if not self._prices:
            share = seconds / sum(step)
            self._prices = [share] * 3
            self._doubt = [[share * share * (i == j) for j in range(3)] for i in range(3)]
            return
        expected = sum(price * count for price, count in zip(self._prices, step, strict=True))
        seen = min(seconds, 4 * expected)  # a hiccup (the machine slept) must not count for more
        surprise = seen - expected
        for i, price in enumerate(self._prices):
            self._doubt[i][i] += (_DRIFT * price) ** 2
        along = [sum(d * count for d, count in zip(row, step, strict=True)) for row in self._doubt]
        spread = sum(a * count for a, count in zip(along, step, strict=True))
        spread += (_NOISE * max(seen, expected)) ** 2
        gain = [a / spread for a in along]
        least = self._prices[0] * _FREE  # noise must not make anything look free
        self._prices = [
            max(price + g * surprise, least) for price, g in zip(self._prices, gain, strict=True)
        ]
        self._doubt = [[self._doubt[i][j] - gain[i] * along[j] for j in range(3)] for i in range(3)]

    def limit(self, decoding: int, usual: int) -> int:
        """Prompt tokens for a step in which so many decode.

        Args:
            usual: how many decode in a step in which nobody stands aside.
        """
        if not self._prices:
            return min(_FIRST, self._most) if usual else self._most
        step, row, token = (price / unit for price, unit in zip(self._prices, _UNITS, strict=True))
        if usual:
            longest = max((step + row * usual) * _STRETCH, _QUICK_S)
        else:
            longest = max(step * _WORTH, _LONG_S)
        room = longest - step - row * decoding
        if usual and self._steps % _EVERY == _EVERY - 1:
            room /= 2
        return int(min(max(room / token, self._least), self._most))
