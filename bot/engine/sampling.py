"""Logits to token ids, per sequence, independent of who else is in the batch.

The filters are those of transformers' `generate()`, in its order: repetition penalty, temperature,
top-k, top-p, min-p. One uniform number per token, drawn from the sequence's own generator, picks
from what is left (inverse of the cumulative distribution over tokens sorted by probability).
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Sequence

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

    def draw_from(self, values: torch.Tensor, tokens: torch.Tensor) -> int:
        """The next token, given the `shortlist` largest logits [K], falling, and whose they are.

        `topk` over many rows at once is much quicker than row by row, and gives each row the same.
        """
        probs = torch.softmax(values.float() / self.params.temperature, 0)
        return self._draw(probs, tokens)

    def draw(self, logits: torch.Tensor) -> int:
        """The next token of `logits` [V], any float dtype."""
        if 0 < self.shortlist < logits.shape[0]:
            return self.draw_from(*logits.topk(self.shortlist))
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
        if 0 < p.top_k < size:  # with a repetition penalty; else `draw_from` came first
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
        target = total.new_tensor(self._random.random()) * total[-1]
        index = int(torch.searchsorted(total, target, right=True))
        index = min(index, probs.shape[0] - 1)
        return index if tokens is None else int(tokens[index])


def sample(logits: torch.Tensor, samplers: Sequence[Sampler]) -> list[int | Exception]:
    """The next token of every row of `logits` [n, V], or why there is none.

    What a row gives depends on that row and its sampler alone.
    """
    best = likeliest(logits)
    finite = torch.isfinite(logits.gather(-1, best[:, None])[:, 0]).tolist()
    drawn: list[int | Exception] = list(best.tolist())
    shortlists: dict[int, list[int]] = {}
    for row, sampler in enumerate(samplers):
        if not finite[row]:
            drawn[row] = ArithmeticError("the model computed NaN or infinity")
        elif 0 < sampler.shortlist < logits.shape[1]:
            shortlists.setdefault(sampler.shortlist, []).append(row)
        elif not sampler.plain_greedy:
            drawn[row] = _tried(sampler.draw, logits[row])
    for size, rows in shortlists.items():
        values, tokens = logits[torch.tensor(rows, device=logits.device)].topk(size)
        for at, row in enumerate(rows):
            drawn[row] = _tried(samplers[row].draw_from, values[at], tokens[at])
    return drawn


def _tried(draw: Callable[..., int], *logits: torch.Tensor) -> int | Exception:
    try:
        return draw(*logits)
    except Exception as error:
        return error
