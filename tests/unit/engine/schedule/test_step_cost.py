"""Prefill takes as much of a step as decoding sequences can spare."""

from __future__ import annotations

import random

import pytest

from bot.engine.schedule.step_cost import StepCostModel


def learned_limit(
    model: StepCostModel,
    step_s: float,
    row_s: float,
    token_s: float,
    steps: int = 200,
    noise: float = 0.0,
) -> int:
    """The limit for 8 decoding sequences, learned from a machine with these prices.

    Every other step is decode-only, and the number of decoding sequences changes.
    """
    rng = random.Random(0)
    for number in range(steps):
        decoding = 6 + number % 5
        prefilled = model.prefill_limit(decoding, decoding) if number % 2 else 0
        seconds = step_s + row_s * decoding + token_s * prefilled
        model.record_step(decoding, prefilled, seconds * rng.uniform(1 - noise, 1 + noise))
    return model.prefill_limit(8, 8)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_step_stays_within_three_decode_only_ones(noise: float) -> None:
    limit = learned_limit(StepCostModel(512), 0.06, 0.005, 0.001, noise=noise)
    assert 1.5 < (0.1 + limit * 0.001) / 0.1 < 3


def test_short_steps_are_not_cut() -> None:
    """A GPU: 2 ms, and 512 tokens more take 8."""
    assert learned_limit(StepCostModel(512), 0.002, 0.0, 8e-3 / 512) == 512


def test_bounds() -> None:
    assert learned_limit(StepCostModel(512), 0.1, 0.0, 1.0) == 16
    assert learned_limit(StepCostModel(100), 1.0, 0.0, 0.0001) == 100
    assert 16 <= StepCostModel(512).prefill_limit(1, 1) <= 512
    assert StepCostModel(8).prefill_limit(1, 1) == 8


def test_it_follows_a_machine_that_slows_down() -> None:
    """Attention over a long prompt makes its later tokens more expensive."""
    model = StepCostModel(512)
    before = learned_limit(model, 0.1, 0.0, 0.0005)
    after = learned_limit(model, 0.1, 0.0, 0.002)
    assert after < before / 2


def test_prices_are_learned_while_nothing_decodes() -> None:
    model = StepCostModel(512)
    for prefilled in (500, 100, 300, 500):
        model.record_step(0, prefilled, 0.01 + 0.001 * prefilled)
    for _ in range(20):
        model.record_step(4, 0, 0.1)
    assert model.prefill_limit(4, 4) == pytest.approx(70, rel=0.3)


def test_constant_load_without_decode_only_steps() -> None:
    """More and more sequences decode while every step prefills: a token's price stays the same."""
    model = StepCostModel(512)
    for number in range(300):
        decoding = 1 + number // 10
        prefilled = model.prefill_limit(decoding, decoding)
        model.record_step(decoding, prefilled, 0.02 + 0.0015 * decoding + 0.0008 * prefilled)
    quiet = 0.02 + 0.0015 * 30
    assert 1.5 < (quiet + 0.0008 * model.prefill_limit(30, 30)) / quiet < 3


def test_one_stall_changes_little() -> None:
    model = StepCostModel(512)
    before = learned_limit(model, 0.06, 0.005, 0.001)
    model.record_step(8, 0, 60.0)
    assert before / 2 < model.prefill_limit(8, 8) < before * 2


def test_a_step_without_the_deferred_owner_may_take_as_long_as_one_with_it() -> None:
    """Deferred sequences wait for it as well, which leaves room for more prompt tokens."""
    model = StepCostModel(512)
    usual = learned_limit(model, 0.02, 0.002, 0.001)
    deferred = model.prefill_limit(1, 8)
    assert deferred == pytest.approx(usual + 7 * 0.002 / 0.001, abs=3)


def test_a_prefill_only_step_is_short() -> None:
    """A newcomer waits for its end."""
    model = StepCostModel(512)
    assert model.prefill_limit(0, 0) == 512  # nothing is measured yet
    learned_limit(model, 0.02, 0.002, 0.001)
    assert model.prefill_limit(0, 0) == pytest.approx(130, rel=0.1)


def test_a_high_fixed_price_still_leaves_room_for_a_prompt() -> None:
    """A large model on a CPU: reading its weights takes longer than a step should last."""
    model = StepCostModel(512)
    learned_limit(model, 0.3, 0.002, 0.004)
    assert model.prefill_limit(0, 0) == pytest.approx(3 * 0.3 / 0.004, rel=0.15)
