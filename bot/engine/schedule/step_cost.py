"""How many prompt tokens a step may take while others decode; pure Python.

Whoever decodes waits for the whole step, so a prompt's chunk must not make it much longer than a
quiet one. What a step costs is learnt from the steps themselves: so much for any, so much for each
that decodes, so much for each prompt token. All three are needed, since a crowd that comes and goes
may leave no quiet step for many seconds.
"""

from __future__ import annotations

_MAX_STRETCH = (
    1.7  # a step with a chunk in it, over a quiet one; the bar is 3 for the slowest in 100
)
_UNNOTICED_STEP_S = 0.02  # nobody notices a step this short, whatever a quiet one takes
_PREFILL_STEP_S = 0.15  # a step in which nobody decodes: who comes meanwhile waits for its end ...
_MIN_WORK_RATIO = (
    4  # ... but so many times what a step takes without any tokens: it must be worth it
)
_INITIAL_TOKENS = 64  # tokens, before anything is known
#: The unit of each price: a step, so many that decode, so many prompt tokens. The three cost about
#: the same on a CPU, which is what is believed at first.
_UNITS = (1.0, 16.0, 64.0)
_STEP_NOISE = 0.1  # of a step's time: how much a single step is trusted
_PRICE_DRIFT = 0.02  # of a price: how much it may have changed since the last step
_HALVED_EVERY = 4  # steps, one of which has half as much: only what varies can be told apart
_MIN_TOKEN_SHARE = 0.02  # of a step: a unit of prompt tokens costs at least that


class StepCostModel:
    """Learns the prices (a Kalman filter over three numbers; Kalman 1960).

    Args:
        most, least: bounds of what `limit` gives, in tokens.
    """

    def __init__(self, max_tokens: int, min_tokens: int = 16) -> None:
        self._max_tokens = max_tokens
        self._min_tokens = min(min_tokens, max_tokens)
        self._num_steps = 0
        self._prices: list[float] = []  # seconds for each of `_UNITS`; empty: nothing is known
        self._covariance: list[list[float]] = []  # their covariance

    def record_step(self, num_decoding: int, num_prefilled: int, seconds: float) -> None:
        """A step took so long for so many sequences that decode and so many prompt tokens."""
        self._num_steps += 1
        step = (1.0, num_decoding / _UNITS[1], num_prefilled / _UNITS[2])
        if not self._prices:
            share = seconds / sum(step)
            self._prices = [share] * 3
            self._covariance = [[share * share * (i == j) for j in range(3)] for i in range(3)]
            return
        expected = sum(price * count for price, count in zip(self._prices, step, strict=True))
        observed = min(
            seconds, 4 * expected
        )  # a hiccup (the machine slept) must not count for more
        residual = observed - expected
        for i, price in enumerate(self._prices):
            self._covariance[i][i] += (_PRICE_DRIFT * price) ** 2
        cross_covariance = [
            sum(d * count for d, count in zip(row, step, strict=True)) for row in self._covariance
        ]
        variance = sum(a * count for a, count in zip(cross_covariance, step, strict=True))
        variance += (_STEP_NOISE * max(observed, expected)) ** 2
        gain = [a / variance for a in cross_covariance]
        min_price = self._prices[0] * _MIN_TOKEN_SHARE  # noise must not make anything look free
        self._prices = [
            max(price + g * residual, min_price)
            for price, g in zip(self._prices, gain, strict=True)
        ]
        self._covariance = [
            [self._covariance[i][j] - gain[i] * cross_covariance[j] for j in range(3)]
            for i in range(3)
        ]

    def prefill_limit(self, num_decoding: int, usual_decoding: int) -> int:
        """Prompt tokens for a step in which so many decode.

        Args:
            usual: how many decode in a step in which nobody stands aside.
        """
        if not self._prices:
            return min(_INITIAL_TOKENS, self._max_tokens) if usual_decoding else self._max_tokens
        step, row, token = (price / unit for price, unit in zip(self._prices, _UNITS, strict=True))
        if usual_decoding:
            longest = max((step + row * usual_decoding) * _MAX_STRETCH, _UNNOTICED_STEP_S)
        else:
            longest = max(step * _MIN_WORK_RATIO, _PREFILL_STEP_S)
        room = longest - step - row * num_decoding
        if usual_decoding and self._num_steps % _HALVED_EVERY == _HALVED_EVERY - 1:
            room /= 2
        return int(min(max(room / token, self._min_tokens), self._max_tokens))
