"""How many prompt tokens a step may prefill while others decode; pure Python.

Decoding sequences wait for the whole step, so a prefill chunk must not make it much longer than a
step without one. A step's cost is learned from measured steps: a fixed price, a price per decoding
sequence and a price per prompt token. All three are needed: under constant load there may be no
decode-only step to measure for many seconds.
"""

from __future__ import annotations

# A step with prefill may take this times one without; the bar for the slowest 1 % is 3.
_MAX_STRETCH = 1.7
_MIN_STEP_S = 0.02  # a step may always take this long: nobody notices
# Without decoding sequences, a step may take this long (a newcomer waits for its end) or this many
# times the fixed price, whichever is more: the fixed price must be worth paying.
_PREFILL_STEP_S = 0.15
_MIN_WORK_RATIO = 4
_INITIAL_TOKENS = 64  # the limit before anything is measured
#: The unit of each price: one step, 16 decoding sequences, 64 prompt tokens. The three cost about
#: the same on a CPU, so the first measurement is split evenly.
_UNITS = (1.0, 16.0, 64.0)
_MEASUREMENT_NOISE = 0.1  # as a fraction of the step's time
_PROCESS_NOISE = 0.02  # drift of a price between two steps, as a fraction of it
_HALVED_EVERY = 4  # one step in this many gets half the limit: equal steps can't separate prices
_MIN_TOKEN_SHARE = 0.02  # a unit of prompt tokens costs at least this much of a step


class StepCostModel:
    """Learns the three prices with a Kalman filter (Kalman 1960).

    Args:
        max_tokens, min_tokens: bounds of `prefill_limit`.
    """

    def __init__(self, max_tokens: int, min_tokens: int = 16) -> None:
        self._max_tokens = max_tokens
        self._min_tokens = min(min_tokens, max_tokens)
        self._num_steps = 0
        self._prices: list[float] = []  # seconds per unit; empty before the first step
        self._covariance: list[list[float]] = []  # of the prices

    def record_step(self, num_decoding: int, num_prefilled: int, seconds: float) -> None:
        """Learn from a step of this many decoding sequences and prefilled prompt tokens."""
        self._num_steps += 1
        step = (1.0, num_decoding / _UNITS[1], num_prefilled / _UNITS[2])
        if not self._prices:
            share = seconds / sum(step)
            self._prices = [share] * 3
            self._covariance = [[share * share * (i == j) for j in range(3)] for i in range(3)]
            return
        expected = sum(price * count for price, count in zip(self._prices, step, strict=True))
        observed = min(seconds, 4 * expected)  # one stall of the machine must not count for more
        residual = observed - expected
        for i, price in enumerate(self._prices):
            self._covariance[i][i] += (_PROCESS_NOISE * price) ** 2
        cross_covariance = [
            sum(d * count for d, count in zip(row, step, strict=True)) for row in self._covariance
        ]
        variance = sum(a * count for a, count in zip(cross_covariance, step, strict=True))
        variance += (_MEASUREMENT_NOISE * max(observed, expected)) ** 2
        gain = [a / variance for a in cross_covariance]
        min_price = self._prices[0] * _MIN_TOKEN_SHARE  # noise must not make tokens look free
        self._prices = [
            max(price + g * residual, min_price)
            for price, g in zip(self._prices, gain, strict=True)
        ]
        self._covariance = [
            [self._covariance[i][j] - gain[i] * cross_covariance[j] for j in range(3)]
            for i in range(3)
        ]

    def prefill_limit(self, num_decoding: int, usual_decoding: int) -> int:
        """The most prompt tokens for a step in which `num_decoding` sequences decode.

        Args:
            usual_decoding: how many would decode if no owner were deferred.
        """
        if not self._prices:
            return min(_INITIAL_TOKENS, self._max_tokens) if usual_decoding else self._max_tokens
        step, row, token = (price / unit for price, unit in zip(self._prices, _UNITS, strict=True))
        if usual_decoding:
            longest = max((step + row * usual_decoding) * _MAX_STRETCH, _MIN_STEP_S)
        else:
            longest = max(step * _MIN_WORK_RATIO, _PREFILL_STEP_S)
        room = longest - step - row * num_decoding
        if usual_decoding and self._num_steps % _HALVED_EVERY == _HALVED_EVERY - 1:
            room /= 2
        return int(min(max(room / token, self._min_tokens), self._max_tokens))
