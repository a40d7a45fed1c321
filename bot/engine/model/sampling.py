"""Logits to token ids, for each sequence independently of the others in the batch.

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

_TOP_P_HEAD = 1024  # tokens tried for top-p before the whole vocabulary is sorted


def fast_argmax(logits: torch.Tensor) -> torch.Tensor:
    """Index of each row's largest logit, the first of equals: `logits.argmax(-1)`, but faster.

    PyTorch's argmax over a bfloat16 row of 262,144 on a CPU isn't vectorized (half a millisecond
    a row); its amax is. So: take the maximum of each stretch, then search the best stretch.

    Args:
        logits: [n, V]; NaN counts as the largest.

    Returns:
        [n] int64
    """
    vocab_size = logits.shape[1]
    stretch = min(vocab_size & -vocab_size, 512)  # a power of two that divides V
    if logits.device.type != "cpu" or stretch < 32 or stretch == vocab_size:
        return logits.argmax(-1)
    stretches = logits.view(len(logits), -1, stretch)
    best_stretch = stretches.amax(-1).argmax(-1)
    offset = stretches[torch.arange(len(best_stretch)), best_stretch].argmax(-1)
    return best_stretch * stretch + offset


class Sampler:
    """Draws one sequence's tokens."""

    def __init__(self, params: SamplingParams, prompt: Sequence[int]) -> None:
        self.params = params
        seed = secrets.randbits(63) if params.seed is None else params.seed
        self._random = random.Random(seed)  # noqa: S311 - replies, not secrets
        self._seen_tokens: torch.Tensor | None = None  # for the repetition penalty
        if params.repetition_penalty != 1:
            self._seen_tokens = torch.tensor(sorted(set(prompt)))

    @property
    def is_greedy(self) -> bool:
        """The next token is the likeliest."""
        return self.params.temperature == 0

    @property
    def is_plain_greedy(self) -> bool:
        """Greedy, by the logits as they are."""
        return self.is_greedy and self._seen_tokens is None

    @property
    def shortlist_size(self) -> int:
        """How many of the largest logits, as they are, decide the draw; 0 if others do too."""
        return 0 if self.is_greedy or self._seen_tokens is not None else self.params.top_k

    def can_draw_batched(self, vocab_size: int) -> bool:
        """Whether `begin_draws` can draw for it, together with others, on the logits' device."""
        return self.is_plain_greedy or 0 < self.shortlist_size < vocab_size

    def next_uniform(self) -> float:
        """The next of the sequence's own random numbers, from 0 to below 1."""
        return self._random.random()

    def draw_token(self, logits: torch.Tensor) -> int:
        """The next token, from `logits` [V] of any float dtype."""
        if 0 < self.shortlist_size < logits.shape[0]:
            values, tokens = logits[None].topk(self.shortlist_size)
            return int(draw_from_shortlists(values, tokens, [self]))
        scores = logits.float()
        if self._seen_tokens is not None:
            scores = self._apply_penalty(scores, self._seen_tokens)
        token = int(scores.argmax()) if self.is_greedy else self._draw_filtered(scores)
        if self._seen_tokens is not None and not bool((self._seen_tokens == token).any()):
            self._seen_tokens = torch.cat([self._seen_tokens, torch.tensor([token])])
        return token

    def _apply_penalty(self, scores: torch.Tensor, seen_tokens: torch.Tensor) -> torch.Tensor:
        index = seen_tokens.to(scores.device)
        seen = scores[index]
        penalty = self.params.repetition_penalty
        seen = torch.where(seen < 0, seen * penalty, seen / penalty)
        return scores.scatter(0, index, seen)

    def _draw_filtered(self, scores: torch.Tensor) -> int:
        """Draw from the filtered distribution over `scores` [V] float32."""
        p = self.params
        scores = scores / p.temperature
        vocab_size = scores.shape[0]
        if 0 < p.top_k < vocab_size:  # only with a repetition penalty
            values, tokens = scores.topk(p.top_k)
            return self._draw_by_probs(torch.softmax(values, 0), tokens)
        if p.top_p < 1:
            # Most of the mass is nearly always in the head: sorting everything is slow.
            values, tokens = scores.topk(min(_TOP_P_HEAD, vocab_size))
            probs = (values - scores.logsumexp(0)).exp()
            if float(probs.sum()) < p.top_p and vocab_size > _TOP_P_HEAD:
                values, tokens = scores.sort(descending=True)
                probs = torch.softmax(values, 0)
            return self._draw_by_probs(probs, tokens)
        return self._draw_by_probs(torch.softmax(scores, 0), None)

    def _draw_by_probs(self, probs: torch.Tensor, tokens: torch.Tensor | None) -> int:
        """Apply top-p and min-p, then draw.

        Args:
            probs: [n], descending if top-p is on.
            tokens: [n], the tokens with these probabilities; None: token i has `probs[i]`.
        """
        p = self.params
        if p.top_p < 1:
            # Keep the fewest that reach top_p: those with less than top_p ahead of them.
            mass_ahead = probs.cumsum(0) - probs
            probs = probs.masked_fill(mass_ahead >= p.top_p, 0)
        if p.min_p > 0:
            probs = probs.masked_fill(probs < p.min_p * probs.max(), 0)
        total = probs.cumsum(0, dtype=torch.float64)
        target = total.new_tensor(self.next_uniform()) * total[-1]
        index = int(torch.searchsorted(total, target, right=True))
        index = min(index, probs.shape[0] - 1)
        return index if tokens is None else int(tokens[index])


def draw_from_shortlists(
    values: torch.Tensor, tokens: torch.Tensor, samplers: Sequence[Sampler]
) -> torch.Tensor:
    """Draw for each row, all at once and on the logits' device.

    Args:
        values: [n, K], each row's `shortlist_size` largest logits, descending.
        tokens: [n, K], the tokens with these logits.

    Returns:
        [n] int64, on the device.
    """
    columns = [
        [s.params.temperature, s.params.top_p if s.params.top_p < 1 else 2.0, s.params.min_p]
        for s in samplers
    ]
    settings = copy_to_device(torch.tensor(columns), values)
    numbers = [[sampler.next_uniform()] for sampler in samplers]
    uniform = copy_to_device(torch.tensor(numbers, dtype=torch.float64), values)
    probs = torch.softmax(values.float() / settings[:, :1], -1)
    # Keep the fewest that reach top_p: those with less than top_p ahead of them.
    mass_ahead = probs.cumsum(-1) - probs
    probs = probs.masked_fill(mass_ahead >= settings[:, 1:2], 0)
    probs = probs.masked_fill(probs < settings[:, 2:] * probs[:, :1], 0)
    total = probs.cumsum(-1, dtype=torch.float64)
    index = torch.searchsorted(total, uniform * total[:, -1:], right=True)
    return tokens.gather(-1, index.clamp_max_(values.shape[1] - 1))[:, 0]


def copy_to_device(numbers: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The numbers on the device of `like`, without waiting for what that is busy with."""
    return numbers.to(like.device, non_blocking=True)


@dataclass(frozen=True, slots=True)
class Draws:
    """Tokens that are being drawn.

    Attributes:
        tokens: [n] int64, on the logits' device.
    """

    tokens: torch.Tensor
    _on_host: torch.Tensor  # [n, 2] int64: the token, and whether it is valid
    _ready: torch.cuda.Event | None

    def read_tokens(self) -> list[int | Exception]:
        """Wait for the draws: each row's token, or why it has none."""
        if self._ready is not None:
            self._ready.synchronize()
        return [
            token if is_valid else ArithmeticError("the model computed NaN or infinity")
            for token, is_valid in self._on_host.tolist()
        ]


def begin_draws(
    logits: torch.Tensor,
    samplers: Sequence[Sampler],
    scale: torch.Tensor | None = None,
    is_valid: torch.Tensor | None = None,
) -> Draws:
    """Begin to draw every row's next token on the logits' device; one copy brings all to the host.

    Rows that can't be drawn batched get their likeliest token.

    Args:
        logits: [n, V].
        samplers: one for each row.
        scale: [n, 1], what the rows are still to be multiplied by; the likeliest token stays the
            same.
        is_valid: [n] bool, rows whose draw may count.
    """
    tokens = fast_argmax(logits)
    counts = torch.isfinite(logits.gather(-1, tokens[:, None])[:, 0])
    if is_valid is not None:
        counts &= is_valid
    rows_by_size: dict[int, list[int]] = {}
    for row, sampler in enumerate(samplers):
        if not sampler.is_plain_greedy and sampler.can_draw_batched(logits.shape[1]):
            rows_by_size.setdefault(sampler.shortlist_size, []).append(row)
    for size, rows in rows_by_size.items():
        index = copy_to_device(torch.tensor(rows), logits)
        values, candidates = (logits if len(rows) == len(logits) else logits[index]).topk(size)
        if scale is not None:
            values = values * scale[index]
        chosen = [samplers[row] for row in rows]
        tokens[index] = draw_from_shortlists(values, candidates, chosen)
    both = torch.stack([tokens, counts.long()], 1)
    if not both.is_cuda:
        return Draws(tokens, both, None)
    on_host = torch.empty(both.shape, dtype=both.dtype, pin_memory=True)
    on_host.copy_(both, non_blocking=True)
    ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
    ready.record()
    return Draws(tokens, on_host, ready)


def sample_tokens(
    logits: torch.Tensor, samplers: Sequence[Sampler], scale: torch.Tensor | None = None
) -> list[int | Exception]:
    """The next token of every row of `logits` [n, V], or why it has none.

    A row's token depends on that row and its sampler alone. `scale`: see `begin_draws`.
    """
    if not samplers:
        return []
    tokens = begin_draws(logits, samplers, scale).read_tokens()
    for row, sampler in enumerate(samplers):
        if not sampler.can_draw_batched(logits.shape[1]) and not isinstance(tokens[row], Exception):
            row_logits = logits[row] if scale is None else logits[row] * scale[row]
            tokens[row] = _draw_or_error(sampler.draw_token, row_logits)
    return tokens


def _draw_or_error(
    draw_token: Callable[[torch.Tensor], int], logits: torch.Tensor
) -> int | Exception:
    try:
        return draw_token(logits)
    except Exception as error:
        return error
