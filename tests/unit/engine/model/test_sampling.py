"""The filters are transformers'; draws follow the distribution and depend on the seed alone."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from bot.engine.api import SamplingParams
from bot.engine.model.sampling import Sampler, fast_argmax, sample_tokens


def reference(p: SamplingParams, prompt: list[int], logits: torch.Tensor) -> torch.Tensor:
    """The distribution that `generate()` draws from."""
    chain = LogitsProcessorList()
    if p.repetition_penalty != 1:
        chain.append(RepetitionPenaltyLogitsProcessor(p.repetition_penalty))
    chain.append(TemperatureLogitsWarper(float(p.temperature)))
    if p.top_k:
        chain.append(TopKLogitsWarper(p.top_k))
    if p.top_p < 1:
        chain.append(TopPLogitsWarper(p.top_p))
    if p.min_p:
        chain.append(MinPLogitsWarper(p.min_p))
    return torch.softmax(chain(torch.tensor([prompt]), logits[None].clone()), -1)[0]


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        SamplingParams,
        temperature=st.sampled_from([0.3, 0.7, 1.0, 2.0]),
        top_k=st.sampled_from([0, 1, 5, 40, 5000]),
        top_p=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
        min_p=st.sampled_from([0.0, 0.05, 0.3]),
        repetition_penalty=st.sampled_from([1.0, 1.3]),
    ),
    st.integers(0, 1000),
    st.sampled_from([50, 3000]),
)
def test_same_support_as_transformers(p: SamplingParams, seed: int, size: int) -> None:
    """Every value of the uniform number gives a token, in shares of the reference's probability."""
    torch.manual_seed(seed)
    logits = torch.randn(size) * 3
    prompt = [1, 2, 3, 4]
    want = reference(p, prompt, logits)
    shares: Counter[int] = Counter()
    n = 200
    for i in range(n):
        sampler = Sampler(p, prompt)
        sampler._random.random = lambda i=i: (i + 0.5) / n  # type: ignore[method-assign, misc]
        shares[sampler.draw_token(logits)] += 1
    for token, count in shares.items():
        assert want[token] > 0
        # An interval of length p holds n * p evenly spaced points, give or take one at each end.
        assert abs(count - n * float(want[token])) <= 1.01


def test_seed_decides_alone() -> None:
    torch.manual_seed(0)
    rows = torch.randn(30, 500)
    p = SamplingParams(temperature=1.0, seed=3)
    one, two = Sampler(p, [1]), Sampler(p, [1])
    first = [one.draw_token(row) for row in rows]
    for _ in range(5):
        Sampler(SamplingParams(seed=9), [1]).draw_token(rows[0])
    torch.manual_seed(99)
    assert [two.draw_token(row) for row in rows] == first
    assert [Sampler(SamplingParams(temperature=1.0), [1]).draw_token(r) for r in rows] != first


def test_greedy_is_argmax() -> None:
    torch.manual_seed(0)
    row = torch.randn(500)
    sampler = Sampler(SamplingParams(temperature=0), [1])
    assert sampler.is_plain_greedy
    assert sampler.draw_token(row) == int(row.argmax())


def test_penalty_counts_the_reply_too() -> None:
    row = torch.tensor([1.0, 0.9, 0.0])
    sampler = Sampler(SamplingParams(temperature=0, repetition_penalty=2), [2])
    assert [sampler.draw_token(row), sampler.draw_token(row)] == [0, 1]


def test_bfloat16_rows() -> None:
    row = torch.randn(300).bfloat16()
    assert 0 <= Sampler(SamplingParams(seed=1), [1]).draw_token(row) < 300


@pytest.mark.parametrize("field", ["temperature", "top_p", "min_p", "max_new_tokens"])
def test_nonsense_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        SamplingParams(**{field: -1})


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5),
    st.sampled_from([50, 64, 128, 383, 4096, 262144, 262208]),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.integers(0, 99),
    st.booleans(),
)
def test_fast_argmax_is_argmax(
    rows: int, size: int, dtype: torch.dtype, seed: int, with_nan: bool
) -> None:
    torch.manual_seed(seed)
    logits = (torch.randn(rows, size) * 2).round(decimals=1).to(dtype)  # with many ties
    if with_nan:
        logits[0, size // 2] = float("nan")
    assert fast_argmax(logits).tolist() == logits.argmax(-1).tolist()


def test_a_row_is_drawn_the_same_in_a_crowd() -> None:
    """bfloat16 rows have ties at the edge of top-k: who is in must not depend on the others."""
    torch.manual_seed(0)
    logits = (torch.randn(40, 5000) * 2).bfloat16()
    kinds = [
        {"top_k": 64}, {"top_k": 7}, {"top_k": 0, "top_p": 0.8}, {"repetition_penalty": 1.5},
        {"temperature": 0}, {"top_k": 0, "top_p": 1.0},
    ]  # fmt: skip

    def made(row: int) -> Sampler:
        return Sampler(SamplingParams(**{"seed": row, **kinds[row % len(kinds)]}), [1, 2, row])

    crowd = sample_tokens(logits, [made(row) for row in range(40)])
    alone = [sample_tokens(logits[row : row + 1], [made(row)])[0] for row in range(40)]
    one_by_one = [made(row).draw_token(logits[row]) for row in range(40)]
    assert crowd == alone == one_by_one


def test_a_failing_row_fails_alone() -> None:
    logits = torch.randn(3, 128)
    logits[1, 5] = float("nan")
    drawn = sample_tokens(logits, [Sampler(SamplingParams(seed=1), [1]) for _ in range(3)])
    assert isinstance(drawn[1], ArithmeticError)
    assert isinstance(drawn[0], int)
    assert isinstance(drawn[2], int)
