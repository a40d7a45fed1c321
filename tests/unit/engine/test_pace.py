"""Prompts take as much of a step as those who decode don't notice."""

from __future__ import annotations

import pytest

from bot.engine.pace import Pace


def learnt(pace: Pace, quiet_s: float, token_s: float, steps: int = 200) -> int:
    """The limit after many steps of a machine with these prices, which it drives itself."""
    for number in range(steps):
        prefilled = pace.limit() if number % 2 else 0
        pace.note(8, prefilled, quiet_s + token_s * prefilled)
    return pace.limit()


def test_a_step_stays_within_three_quiet_ones() -> None:
    limit = learnt(Pace(512), quiet_s=0.1, token_s=0.001)
    assert 2 < (0.1 + limit * 0.001) / 0.1 < 3


def test_short_steps_are_not_cut() -> None:
    """A GPU: 2 ms, and 512 tokens more take 8."""
    assert learnt(Pace(512), quiet_s=0.002, token_s=8e-3 / 512) == 512


def test_bounds() -> None:
    assert learnt(Pace(512), quiet_s=0.1, token_s=1.0) == 16
    assert learnt(Pace(100), quiet_s=1.0, token_s=0.0001) == 100
    assert 16 <= Pace(512).limit() <= 512
    assert Pace(8).limit() == 8


def test_it_follows_a_machine_that_slows_down() -> None:
    """Attention over a long prompt makes its later tokens dearer."""
    pace = Pace(512)
    before = learnt(pace, 0.1, 0.0005)
    after = learnt(pace, 0.1, 0.002)
    assert after < before / 2


def test_prices_are_learnt_while_nobody_decodes() -> None:
    pace = Pace(512)
    pace.note(0, 500, 0.5)
    pace.note(4, 0, 0.1)
    assert pace.limit() == pytest.approx(140, abs=1)
