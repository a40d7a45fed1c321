"""Logits to token ids, per sequence, independent of who else is in the batch.

The filters are those of transformers' `generate()`, in its order: repetition penalty, temperature,
top-k, top-p, min-p. One uniform number per token, drawn from the sequence's own generator, picks
from what is left (inverse of the cumulative distribution over tokens sorted by probability).
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from bot.engine.api import SamplingParams

_HEAD = 1024  # tokens looked at before the whole vocabulary is sorted


def likeliest(logits: torch.Tensor) -> torch.Tensor:
    """Index of each row's largest logit, the first of equals: `logits.argmax(-1)`, but quick.

    PyTorch's argmax over a bfloat16 row of 262,144 on a CPU isn't vectorised (half a millisecond
    a row); its amax is. So: the maximum of each stretch, then the right stretch.

    Args:
        logits: [n, V]; NaN counts as the largest.

    Returns:
        [n] int64
    """
    size = logits.shape[1]
    stretch = min(size & -size, 512)  # a power of two that divides V
    if logits.device.type != "cpu" or stretch < 32 or stretch == size:
        return logits.argmax(-1)
    parts = logits.view(len(logits), -1, stretch)
    part = parts.amax(-1).argmax(-1)
    within = parts[torch.arange(len(part)), part].argmax(-1)
    return part * stretch + within


class Sampler:
    """One sequence's way of drawing tokens."""

    def __init__(self, params: SamplingParams, prompt: Sequence[int]) -> None:
        self.params = params
        seed = secrets.randbits(63) if params.seed is None else params.seed
        self._random = random.Random(seed)  # noqa: S311 - replies, not secrets
        self._seen: torch.Tensor | None = None
        if params.repetition_penalty != 1:
            self._seen = torch.tensor(sorted(set(prompt)))

    @property
    def greedy(self) -> bool:
        """Is the next token simply the likeliest?"""
        return self.params.temperature == 0

    @property
    def plain_greedy(self) -> bool:
        """Greedy, and the logits need no change."""
        return self.greedy and self._seen is None

    @property
    def shortlist(self) -> int:
        """If the draw needs only the K largest logits, unchanged: K; else 0."""
        return 0 if self.greedy or self._seen is not None else self.params.top_k

    def draws_in_rows(self, vocabulary: int) -> bool:
        """Can its draws be made together with others' (`begin`), where the logits are?"""
        return self.plain_greedy or 0 < self.shortlist < vocabulary

    def uniform(self) -> float:
        """The next of the sequence's own random numbers, 0 to below 1."""
        return self._random.random()

    def draw(self, logits: torch.Tensor) -> int:
        """The next token of `logits` [V], any float dtype."""
        if 0 < self.shortlist < logits.shape[0]:
            values, tokens = logits[None].topk(self.shortlist)
            return int(draw_rows(values, tokens, [self]))
        scores = logits.float()
        if self._seen is not None:
            scores = self._penalize(scores, self._seen)
        token = int(scores.argmax()) if self.greedy else self._pick(scores)
        if self._seen is not None and not bool((self._seen == token).any()):
            self._seen = torch.cat([self._seen, torch.tensor([token])])
        return token

    def _penalize(self, scores: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        seen = seen.to(scores.device)
        some = scores[seen]
        penalty = self.params.repetition_penalty
        some = torch.where(some < 0, some * penalty, some / penalty)
        return scores.scatter(0, seen, some)

    def _pick(self, scores: torch.Tensor) -> int:
        """Draw from the filtered distribution over `scores` [V] float32."""
        p = self.params
        scores = scores / p.temperature
        size = scores.shape[0]
        if 0 < p.top_k < size:  # with a repetition penalty; else `draw_rows` came first
            values, tokens = scores.topk(p.top_k)
            return self._draw(torch.softmax(values, 0), tokens)
        if p.top_p < 1:
            # Most of the mass is nearly always in the first thousand: sorting all is slow.
            values, tokens = scores.topk(min(_HEAD, size))
            probs = (values - scores.logsumexp(0)).exp()
            if float(probs.sum()) < p.top_p and size > _HEAD:
                values, tokens = scores.sort(descending=True)
                probs = torch.softmax(values, 0)
            return self._draw(probs, tokens)
        return self._draw(torch.softmax(scores, 0), None)

    def _draw(self, probs: torch.Tensor, tokens: torch.Tensor | None) -> int:
        """Apply top-p and min-p, then draw.

        Args:
            probs: [n], falling if top-p is on.
            tokens: [n], whose probabilities they are; None: token i has `probs[i]`.
        """
        p = self.params
        if p.top_p < 1:
            # Keep the fewest that reach top_p: those before which less than top_p has come.
            before = probs.cumsum(0) - probs
            probs = probs.masked_fill(before >= p.top_p, 0)
        if p.min_p > 0:
            probs = probs.masked_fill(probs < p.min_p * probs.max(), 0)
        total = probs.cumsum(0, dtype=torch.float64)
        target = total.new_tensor(self.uniform()) * total[-1]
        index = int(torch.searchsorted(total, target, right=True))
        index = min(index, probs.shape[0] - 1)
        return index if tokens is None else int(tokens[index])


def draw_rows(
    values: torch.Tensor, tokens: torch.Tensor, samplers: Sequence[Sampler]
) -> torch.Tensor:
    """A draw for each row, all at once and on the logits' device.

    Args:
        values: [n, K] each row's `shortlist` largest logits, falling.
        tokens: [n, K] whose they are.

    Returns:
        [n] int64, on the device.
    """
    columns = [
        [s.params.temperature, s.params.top_p if s.params.top_p < 1 else 2.0, s.params.min_p]
        for s in samplers
    ]
    settings = there(torch.tensor(columns), values)
    numbers = [[sampler.uniform()] for sampler in samplers]
    uniform = there(torch.tensor(numbers, dtype=torch.float64), values)
    probs = torch.softmax(values.float() / settings[:, :1], -1)
    # Keep the fewest that reach top_p: those before which less than top_p has come.
    before = probs.cumsum(-1) - probs
    probs = probs.masked_fill(before >= settings[:, 1:2], 0)
    probs = probs.masked_fill(probs < settings[:, 2:] * probs[:, :1], 0)
    total = probs.cumsum(-1, dtype=torch.float64)
    index = torch.searchsorted(total, uniform * total[:, -1:], right=True)
    return tokens.gather(-1, index.clamp_max_(values.shape[1] - 1))[:, 0]


def there(numbers: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The numbers on another tensor's device, without waiting for what that is busy with."""
    return numbers.to(like.device, non_blocking=True)


@dataclass(frozen=True, slots=True)
class Draws:
    """Tokens that are being drawn. `tokens` [n] int64, where the logits are."""

    tokens: torch.Tensor
    _copied: torch.Tensor  # [n, 2] int64 on the host: token, and whether it counts
    _ready: torch.cuda.Event | None

    def read(self) -> list[int | Exception]:
        """Wait for them: each row's token, or why there is none."""
        if self._ready is not None:
            self._ready.synchronize()
        return [
            token if good else ArithmeticError("the model computed NaN or infinity")
            for token, good in self._copied.tolist()
        ]


def begin(
    logits: torch.Tensor,
    samplers: Sequence[Sampler],
    scale: torch.Tensor | None = None,
    good: torch.Tensor | None = None,
) -> Draws:
    """Begin to draw the next token of every row of `logits` [n, V], all where the logits are.

    Rows that can't be drawn so get the likeliest. `scale` [n, 1] is what the rows are still to be
    multiplied by; the greedy choice doesn't need it. `good` [n] bool: rows that may count. One
    copy brings everything to the host.
    """
    found = likeliest(logits)
    counts = torch.isfinite(logits.gather(-1, found[:, None])[:, 0])
    if good is not None:
        counts &= good
    shortlists: dict[int, list[int]] = {}
    for row, sampler in enumerate(samplers):
        if not sampler.plain_greedy and sampler.draws_in_rows(logits.shape[1]):
            shortlists.setdefault(sampler.shortlist, []).append(row)
    for size, rows in shortlists.items():
        which = there(torch.tensor(rows), logits)
        values, tokens = (logits if len(rows) == len(logits) else logits[which]).topk(size)
        if scale is not None:
            values = values * scale[which]
        found[which] = draw_rows(values, tokens, [samplers[row] for row in rows])
    both = torch.stack([found, counts.long()], 1)
    if not both.is_cuda:
        return Draws(found, both, None)
    copied = torch.empty(both.shape, dtype=both.dtype, pin_memory=True)
    copied.copy_(both, non_blocking=True)
    ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
    ready.record()
    return Draws(found, copied, ready)


def sample(
    logits: torch.Tensor, samplers: Sequence[Sampler], scale: torch.Tensor | None = None
) -> list[int | Exception]:
    """The next token of every row of `logits` [n, V], or why there is none.

    What a row gives depends on that row and its sampler alone. `scale`: see `begin`.
    """
    if not samplers:
        return []
    drawn = begin(logits, samplers, scale).read()
    for row, sampler in enumerate(samplers):
        if not sampler.draws_in_rows(logits.shape[1]) and not isinstance(drawn[row], Exception):
            whole = logits[row] if scale is None else logits[row] * scale[row]
            drawn[row] = _tried(sampler.draw, whole)
    return drawn


def _tried(draw: Callable[..., int], *logits: torch.Tensor) -> int | Exception:
    try:
        return draw(*logits)
    except Exception as error:
        return error
