"""A thread is given up only inside the model, and then leaves it by `Abandoned` alone."""

from __future__ import annotations

import threading
import time

import pytest

from bot.engine.watchdog import Abandoned, Guard, Watchdog


def test_nobody_is_given_up_outside_or_early() -> None:
    guard = Guard()
    assert not guard.abandon_after(0)
    with guard:
        assert not guard.abandon_after(60)
    assert not guard.abandon_after(0)


@pytest.mark.parametrize("error", [None, ValueError("late")])
def test_who_was_given_up_is_told_when_the_model_returns(error: Exception | None) -> None:
    guard = Guard()

    def hang() -> None:
        with guard:
            assert guard.abandon_after(0)
            if error is not None:
                raise error

    with pytest.raises(Abandoned):
        hang()


def test_checks_come_until_it_is_stopped() -> None:
    seen = threading.Event()
    dog = Watchdog(0.1, seen.set)
    assert seen.wait(20)
    dog.stop()
    dog._thread.join(20)
    assert not dog._thread.is_alive()
    seen.clear()
    time.sleep(0.1)
    assert not seen.is_set()
