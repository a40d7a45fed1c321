"""Prompts take as much of a step as those who decode don't notice."""

from __future__ import annotations

import random

import pytest

from bot.engine.schedule.step_cost import StepCostModel


def learnt(
    pace: StepCostModel,
    step_s: float,
    row_s: float,
    token_s: float,
    steps: int = 200,
    noise: float = 0.0,
) -> int:
    """The limit for 8 that decode, after steps of a machine with these prices.

    Every other step is a quiet one, and the number of those who decode changes.
    """
    rng = random.Random(0)
    for number in range(steps):
        decoding = 6 + number % 5
        prefilled = pace.prefill_limit(decoding, decoding) if number % 2 else 0
        seconds = step_s + row_s * decoding + token_s * prefilled
        pace.record_step(decoding, prefilled, seconds * rng.uniform(1 - noise, 1 + noise))
    return pace.prefill_limit(8, 8)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_step_stays_within_three_quiet_ones(noise: float) -> None:
    limit = learnt(StepCostModel(512), 0.06, 0.005, 0.001, noise=noise)
    assert 1.5 < (0.1 + limit * 0.001) / 0.1 < 3


def test_short_steps_are_not_cut() -> None:
    """A GPU: 2 ms, and 512 tokens more take 8."""
    assert learnt(StepCostModel(512), 0.002, 0.0, 8e-3 / 512) == 512


def test_bounds() -> None:
    assert learnt(StepCostModel(512), 0.1, 0.0, 1.0) == 16
    assert learnt(StepCostModel(100), 1.0, 0.0, 0.0001) == 100
    assert 16 <= StepCostModel(512).prefill_limit(1, 1) <= 512
    assert StepCostModel(8).prefill_limit(1, 1) == 8


def test_it_follows_a_machine_that_slows_down() -> None:
    """Attention over a long prompt makes its later tokens dearer."""
    pace = StepCostModel(512)
    before = learnt(pace, 0.1, 0.0, 0.0005)
    after = learnt(pace, 0.1, 0.0, 0.002)
    assert after < before / 2


def test_prices_are_learnt_while_nobody_decodes() -> None:
    pace = StepCostModel(512)
    for prefilled in (500, 100, 300, 500):
        pace.record_step(0, prefilled, 0.01 + 0.001 * prefilled)
    for _ in range(20):
        pace.record_step(4, 0, 0.1)
    assert pace.prefill_limit(4, 4) == pytest.approx(70, rel=0.3)


def test_a_crowd_that_leaves_no_quiet_step() -> None:
    """Decoding ones become more while every step prefills: a token's price stays what it is."""
    pace = StepCostModel(512)
    for number in range(300):
        decoding = 1 + number // 10
        prefilled = pace.prefill_limit(decoding, decoding)
        pace.record_step(decoding, prefilled, 0.02 + 0.0015 * decoding + 0.0008 * prefilled)
    quiet = 0.02 + 0.0015 * 30
    assert 1.5 < (quiet + 0.0008 * pace.prefill_limit(30, 30)) / quiet < 3


def test_one_hiccup_changes_little() -> None:
    pace = StepCostModel(512)
    before = learnt(pace, 0.06, 0.005, 0.001)
    pace.record_step(8, 0, 60.0)
    assert before / 2 < pace.prefill_limit(8, 8) < before * 2


def test_a_step_without_those_who_stand_aside_takes_as_long_as_one_with_them() -> None:
    """They wait for it as well, so there is room for more of a prompt."""
    pace = StepCostModel(512)
    usual = learnt(pace, 0.02, 0.002, 0.001)
    aside = pace.prefill_limit(1, 8)
    assert aside == pytest.approx(usual + 7 * 0.002 / 0.001, abs=3)


def test_a_step_of_prompts_alone_is_soon_over() -> None:
    """Who comes meanwhile waits for its end."""
    pace = StepCostModel(512)
    assert pace.prefill_limit(0, 0) == 512  # nothing is known yet
    learnt(pace, 0.02, 0.002, 0.001)
    assert pace.prefill_limit(0, 0) == pytest.approx(130, rel=0.1)


def test_a_step_that_is_slow_by_itself_still_reads_a_good_part_of_a_prompt() -> None:
    """A large model on a CPU: its weights alone take longer to read than a step should last."""
    pace = StepCostModel(512)
    learnt(pace, 0.3, 0.002, 0.004)
    assert pace.prefill_limit(0, 0) == pytest.approx(3 * 0.3 / 0.004, rel=0.15)
