"""The pacer keeps every rate in any minute, and leaves room for the calls that matter."""

from __future__ import annotations

import pytest

from bot.platforms.slack.pacer import RESERVE, TIER_3, Bucket, Pacer, Rate


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("rate", [Rate(20), TIER_3, Rate(60, burst=2)])
def test_no_minute_sees_more_than_the_rate(rate: Rate) -> None:
    clock = Clock()
    bucket = Bucket(rate, clock)
    made: list[float] = []
    for _ in range(3 * 600):
        if bucket.try_take(0):
            made.append(clock.now)
        clock.now += 0.1
    for start in made:
        assert sum(start <= at < start + 60 for at in made) <= rate.per_minute
    assert len(made) >= 2 * rate.per_minute  # and it is used


def test_interim_calls_leave_room() -> None:
    clock = Clock()
    pacer = Pacer(clock)
    while pacer.try_acquire("chat.update"):
        pass
    bucket = Bucket(TIER_3, clock)
    free = 0
    while bucket.try_take(RESERVE):
        free += 1
    assert free == 10 - RESERVE


async def test_calls_that_matter_get_the_reserve_at_once() -> None:
    pacer = Pacer()
    while pacer.try_acquire("chat.update"):
        pass
    for _ in range(RESERVE):
        await pacer.acquire("chat.update")


def test_a_429_holds_the_method_and_halves_a_guessed_rate() -> None:
    clock = Clock()
    guessed, known = Bucket(Rate(300, is_documented=False), clock), Bucket(TIER_3, clock)
    for bucket in (guessed, known):
        bucket.block(30)
        assert not bucket.try_take(0)
        assert bucket.take() >= 30
    assert guessed.per_minute == 150
    assert known.per_minute == 50
    for _ in range(10):
        guessed.block(1)
    assert guessed.per_minute == 20


def test_posts_are_paced_by_channel() -> None:
    pacer = Pacer(Clock())
    assert [pacer.try_acquire("chat.postMessage", "C1") for _ in range(3)] == [True, True, False]
    assert pacer.try_acquire("chat.postMessage", "C2")
