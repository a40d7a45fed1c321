"""Connections: order, privacy, and a tab that is too slow."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bot.engine.api import Lane, Snapshot
from bot.platforms.playground import hub as hub_module
from bot.platforms.playground.hub import Connection, Hub
from bot.platforms.playground.people import PEOPLE
from bot.platforms.playground.pulse import Pulse, pulse_event
from bot.platforms.playground.refusal import Refused
from tests.support.waiting import until

ANA, BEN = PEOPLE[0], PEOPLE[1]


class FakeSocket:
    """What a Connection needs of a WebSocket."""

    def __init__(self) -> None:
        self.frames: list[list[dict[str, Any]]] = []
        self.closed = False
        self.code = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def send_str(self, text: str) -> None:
        await self.gate.wait()
        self.frames.append(json.loads(text))

    async def close(self, *, code: int, message: bytes) -> None:
        self.closed, self.code = True, code

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for frame in self.frames for event in frame]


def connect(hub: Hub, person: Any = ANA) -> tuple[FakeSocket, asyncio.Task[None]]:
    socket = FakeSocket()
    connection = Connection(socket, person)  # type: ignore[arg-type]
    hub.add(connection)
    return socket, asyncio.create_task(connection.pump())


async def test_events_come_in_order_and_those_that_wait_share_a_frame() -> None:
    hub = Hub()
    socket, task = connect(hub)
    socket.gate.clear()
    hub.publish({"type": "n", "n": 0})
    await asyncio.sleep(0)
    for number in range(1, 50):
        hub.publish({"type": "n", "n": number})
    socket.gate.set()
    await until(lambda: len(socket.events) == 50)
    assert [event["n"] for event in socket.events] == list(range(50))
    assert len(socket.frames) == 2
    task.cancel()


async def test_an_event_for_one_person_reaches_nobody_else() -> None:
    hub = Hub()
    (ana, first), (ben, second) = connect(hub), connect(hub, BEN)
    hub.publish({"type": "secret"}, audience="ana")
    hub.publish({"type": "open"})
    await until(lambda: ana.events and ben.events)
    assert [event["type"] for event in ana.events] == ["secret", "open"]
    assert [event["type"] for event in ben.events] == ["open"]
    first.cancel()
    second.cancel()


async def test_a_tab_that_falls_behind_is_sent_away_and_costs_no_memory() -> None:
    hub = Hub()
    socket, task = connect(hub)
    for number in range(hub_module.MAX_PENDING + 10):
        hub.publish({"type": "n", "n": number})
    await until(lambda: socket.closed)
    assert socket.code == 1013
    assert socket.events == []
    await task


async def test_too_many_tabs_are_refused() -> None:
    hub = Hub()
    tasks = [connect(hub)[1] for _ in range(hub_module.MAX_CONNECTIONS)]
    with pytest.raises(Refused) as refused:
        hub.check_room()
    assert refused.value.status == 503
    for task in tasks:
        task.cancel()


def test_a_lane_says_where_and_whose_and_nothing_more() -> None:
    lane = Lane("playground/local/3/17", "playground/local/ben", "decode", 40, 40, 8, 5, 256)
    event = pulse_event(Snapshot((lane,), 2, 12.34, 9, 100))
    assert event["rate"] == 12.3
    assert event["waiting"] == 2
    assert event["running"] == [
        {
            "key": "playground/local/3/17",
            "platform": "playground",
            "channel": 3,
            "thread": 17,
            "owner": "ben",
            "name": "Ben",
            "phase": "decode",
            "prompt": 40,
            "prefilled": 40,
            "cached": 8,
            "generated": 5,
            "max": 256,
        }
    ]


def test_a_lane_of_another_platform_has_no_place_here() -> None:
    lane = Lane("discord/1/22/33", "discord/1/44", "prefill", 40, 16, 0, 0, 256)
    (shown,) = pulse_event(Snapshot((lane,), 0, 0.0, 0, 0))["running"]
    assert (shown["platform"], shown["channel"], shown["thread"]) == ("discord", None, None)


async def test_the_pulse_beats_while_something_changes_and_survives_a_broken_engine() -> None:
    hub = Hub()
    socket, task = connect(hub)
    steps = 0

    def snapshot() -> Snapshot:
        nonlocal steps
        steps += 1
        if steps < 3:
            raise RuntimeError("not up yet")
        return Snapshot((), 0, float(min(steps, 6)), steps, steps)

    pulse = Pulse(hub, snapshot, lambda: True)
    beating = asyncio.create_task(pulse.run())
    for _ in range(6):
        pulse.wake()
        await asyncio.sleep(0.06)
    await until(lambda: any(event["rate"] for event in socket.events))
    assert socket.events[0]["ready"] is False
    assert not beating.done()
    beating.cancel()
    task.cancel()
