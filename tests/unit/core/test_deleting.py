"""What people delete is gone: a question's reply, a person, a place, and what is too old."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.core.events import CommandInvoked, MessageDeleted
from bot.core.ports import CommandReply
from bot.core.records import ChannelSettings
from bot.core.retention import Retention
from bot.core.service_settings import ServiceSettings
from tests.support.core_rig import ADMIN, ANA, BOB, CHANNEL, Rig
from tests.support.waiting import settle, until

THREAD = CHANNEL.in_thread("t")
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def command(rig: Rig, name: str, by: Any = ANA, key: Any = THREAD, **args: str) -> str:
    reply = await rig.service.handle(CommandInvoked(key, by, name, args))
    assert isinstance(reply, CommandReply)
    return reply.text


async def test_the_reply_to_a_deleted_question_is_taken_back(rig: Rig) -> None:
    turn = await rig.exchange("hi", id="m")
    await rig.service.handle(MessageDeleted(CHANNEL, "m"))
    await until(lambda: len(rig.target.sinks) == 2)
    sink = rig.target.sinks[1]
    assert sink.turn.posted == rig.target.sinks[0].posted
    await until(lambda: sink.names == ["withdraw"])
    assert turn.id not in rig.store.turns


async def test_the_reply_to_what_is_left_of_a_burst_stands(rig: Rig) -> None:
    await rig.say("first")
    request = await rig.engine.request(0)
    await rig.say("one", id="one")
    await rig.say("two", id="two")
    request.finish()
    second = await rig.engine.request(1)
    second.write("both")
    second.finish()
    await rig.target.finished(1)
    await rig.service.handle(MessageDeleted(CHANNEL, "one"))
    await settle()
    assert len(rig.target.sinks) == 2


async def test_a_platform_that_is_down_costs_the_withdrawal_only(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.exchange("hi", id="m")
    rig.target.failing.add("open")
    assert await rig.service.handle(MessageDeleted(CHANNEL, "m")) is None
    await until(lambda: "still stands" in caplog.text)
    rig.target.failing.clear()
    await rig.exchange("and now?", "fine")


async def test_deleted_while_its_last_words_are_delivered(rig: Rig) -> None:
    await rig.say("hi", id="m")
    request = await rig.engine.request(0)
    request.write("there")
    await until(lambda: rig.target.sinks[0].shown)
    rig.target.hold.clear()
    request.finish()
    await settle()
    await rig.service.handle(MessageDeleted(CHANNEL, "m"))
    await settle()
    rig.target.hold.set()
    await until(lambda: [s.names[-1:] for s in rig.target.sinks] == [["finish"], ["withdraw"]])


async def test_withdrawals_end_with_the_service(rig: Rig) -> None:
    rig = Rig(settings=ServiceSettings(hand_back_s=0.05))
    await rig.exchange("hi", id="m")
    rig.target.hold.clear()
    await rig.service.handle(MessageDeleted(CHANNEL, "m"))
    await settle()
    await rig.service.drain(0.05)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("withdraw")]


async def test_forget_me_takes_what_is_mine_everywhere_and_stops_my_reply(rig: Rig) -> None:
    await rig.exchange("mine", thread="a")
    theirs = await rig.exchange("theirs", thread="a", author=BOB)
    await rig.say("still", thread="b")
    request = await rig.engine.request(2)
    request.write("half")
    await until(lambda: rig.target.sinks[2].shown)
    assert "(2 exchanges changed or deleted)" in await command(rig, "forget", what="me")
    assert list(rig.store.turns) == [theirs.id]
    assert request.closed
    assert await command(rig, "forget", what="me") == ("I don't remember anything of yours here.")


async def test_a_reply_to_another_goes_on(rig: Rig) -> None:
    await rig.say("theirs", author=BOB)
    request = await rig.engine.request(0)
    await command(rig, "forget", what="me")
    assert not request.closed
    request.finish()
    await rig.target.finished(0)


async def test_forget_here_in_a_thread_is_for_those_who_take_part(rig: Rig) -> None:
    await rig.exchange("mine")
    assert "Only someone who takes part" in await command(rig, "forget", BOB, what="here")
    assert "this conversation (1 exchange deleted)" in await command(rig, "forget", what="here")
    assert rig.store.turns == {}


async def test_forget_here_in_a_channel_is_an_admin_s_and_on_the_record(rig: Rig) -> None:
    await rig.exchange("one", thread="a")
    await rig.exchange("two", thread="b")
    assert "Only an admin" in await command(rig, "forget", key=CHANNEL, what="here")
    assert len(rig.store.turns) == 2
    assert "(2 exchanges deleted)" in await command(rig, "forget", ADMIN, CHANNEL, what="here")
    assert rig.store.turns == {}
    assert [entry.action for entry in rig.store.entries] == ["forget here"]


async def test_a_dm_is_its_person_s(rig: Rig) -> None:
    await rig.exchange("one", thread="a", is_dm=True)
    event = CommandInvoked(CHANNEL.in_thread("x"), ANA, "forget", {"what": "here"}, is_dm=True)
    reply = await rig.service.handle(event)
    assert reply is not None
    assert reply.ok
    assert rig.store.turns == {}


async def test_forget_says_what_it_needs(rig: Rig) -> None:
    assert "`/forget me` or `/forget here`" in await command(rig, "forget", what="all")


async def test_each_place_s_retention_counts(rig: Rig) -> None:
    ages = {"a": 40, "b": 40, "c": 3}
    for thread, days in ages.items():
        await rig.exchange("hi", thread=thread, at=NOW - timedelta(days=days))
    rig.store.settings[CHANNEL.in_thread("a")] = ChannelSettings(retention_days=0)
    retention = Retention(rig.store, rig.store, ServiceSettings(retention_days=30))
    assert await retention.once(NOW) == 1
    assert sorted(turn.key.thread for turn in rig.store.turns.values()) == ["a", "c"]
    rig.store.settings[CHANNEL] = ChannelSettings(retention_days=2)
    assert await retention.once(NOW) == 1
    assert [turn.key.thread for turn in rig.store.turns.values()] == ["a"]


async def test_nothing_is_looked_for_where_all_is_kept(rig: Rig) -> None:
    await rig.exchange("hi", at=NOW - timedelta(days=4000))
    assert await Retention(rig.store, rig.store, ServiceSettings()).once(NOW) == 0


async def test_old_claims_go_and_new_ones_stay(rig: Rig) -> None:
    await rig.exchange("hi", id="m")
    retention = Retention(rig.store, rig.store, ServiceSettings(claim_days=14))
    await retention.once(datetime.now(UTC))
    assert not await rig.store.claim(CHANNEL, "m")
    await retention.once(datetime.now(UTC) + timedelta(days=15))
    assert await rig.store.claim(CHANNEL, "m")


async def test_the_service_looks_by_itself_until_it_stops_and_survives_a_failure() -> None:
    rig = Rig(settings=ServiceSettings(retention_days=1, retention_interval_s=0.01))
    turn = await rig.exchange("hi", at=datetime.now(UTC) - timedelta(days=2))
    rig.store.failing.add("channel_settings")
    await rig.service.start()
    await settle()
    assert turn.id in rig.store.turns
    rig.store.failing.clear()
    await until(lambda: turn.id not in rig.store.turns)
    await rig.service.drain(0)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "retention"]
