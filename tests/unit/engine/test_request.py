"""Items reach each event loop in one call; rates count the last seconds only."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bot.engine import request as module
from bot.engine.api import Delta, EngineStopped, SamplingParams
from bot.engine.model.sampling import Sampler
from bot.engine.prompt import Prompt
from bot.engine.request import Outbox, Request, TokenRate, fail_requests


def request(loop: asyncio.AbstractEventLoop) -> Request:
    params, text = SamplingParams(seed=1), None
    return Request(
        Prompt((1, 2)), params, "a", "c", text, Sampler(params, ()), loop, asyncio.Queue()  # type: ignore[arg-type]
    )  # fmt: skip


async def test_items_of_a_step_arrive_in_order_and_nothing_is_sent_twice() -> None:
    one, two, outbox = *(request(asyncio.get_running_loop()) for _ in range(2)), Outbox()
    outbox.add_item(one, Delta("a"))
    outbox.add_item(two, Delta("b"))
    outbox.add_item(one, None)
    outbox.add_item(one, Delta("c"))
    assert outbox.send_items() == []
    assert outbox.send_items() == []
    await asyncio.sleep(0)
    assert [one.queue.get_nowait() for _ in range(2)] == [Delta("a"), Delta("c")]
    assert two.queue.get_nowait() == Delta("b")
    assert one.queue.empty()


async def test_requests_of_a_closed_loop_are_returned() -> None:
    closed = asyncio.new_event_loop()
    closed.close()
    lost, alive, outbox = request(closed), request(asyncio.get_running_loop()), Outbox()
    for one in (lost, alive):
        outbox.add_item(one, Delta("a"))
    assert outbox.send_items() == [lost]
    await asyncio.sleep(0)
    assert alive.queue.get_nowait() == Delta("a")


async def test_failed_requests_are_done_and_told_why() -> None:
    one, error = request(asyncio.get_running_loop()), EngineStopped("lost")
    fail_requests([one], error)
    await asyncio.sleep(0)
    assert one.done
    assert one.queue.get_nowait() is error


async def test_usage_of_a_request_that_never_started() -> None:
    usage = request(asyncio.get_running_loop()).build_finish("cancelled").usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.generated_tokens) == (2, 0, 0)
    assert usage.queue_s == usage.ttft_s == usage.total_s >= 0


def test_the_rate_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    now: Any = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    rate = TokenRate(window_s=2)
    rate.add_tokens(6)
    now[0] += 1
    rate.add_tokens(2)
    assert rate.tokens_per_s() == 4
    now[0] += 1.5
    assert rate.tokens_per_s() == 1
    now[0] += 9
    assert rate.tokens_per_s() == 0
