"""A stop hands work back, a start takes it up: nothing accepted is lost or answered twice."""

from __future__ import annotations

import asyncio

import pytest

from bot.core.events import CommandInvoked, ControlPressed, ThreadKey
from bot.core.records import Turn, TurnState
from bot.core.service_settings import ServiceSettings
from bot.core.texts import FILE_LOST
from tests.support.core_rig import ANA, CHANNEL, RecordingSink, Rig, file
from tests.support.waiting import settle, until

THREAD = CHANNEL.in_thread("t")


@pytest.fixture
def rig() -> Rig:
    return Rig(settings=ServiceSettings(hand_back_s=0.2))


def states(rig: Rig) -> list[str]:
    return [turn.state.value for turn in rig.store.turns.values()]


def conversation_tasks() -> list[asyncio.Task[object]]:
    names = ("conversation", "loads", "reply", "withdraw")
    return [task for task in asyncio.all_tasks() if task.get_name().startswith(names)]


async def test_a_running_reply_may_end_within_the_grace(rig: Rig) -> None:
    await rig.say("hi")
    request = await rig.engine.request(0)
    await rig.say("and this waits")
    draining = asyncio.create_task(rig.service.drain(5))
    await settle()
    assert not draining.done()
    request.write("done")
    request.finish()
    await draining
    assert states(rig) == ["delivered", "accepted"]
    assert len(rig.engine.requests) == 1
    assert not conversation_tasks()


async def test_after_the_grace_the_rest_is_handed_back_and_said(rig: Rig) -> None:
    await rig.say("hi")
    request = await rig.engine.request(0)
    request.write("half an ans")
    await until(lambda: rig.target.sinks[0].shown)
    await rig.service.drain(0.01)
    assert states(rig) == ["accepted"]
    assert request.closed
    reply = await rig.target.finished(0)
    assert (reply.state, reply.text) == (TurnState.CANCELLED, "half an ans")
    assert "will answer this again" in reply.notes[0]
    assert next(iter(rig.store.turns.values())).posted == rig.target.sinks[0].posted
    assert not conversation_tasks()


async def test_a_platform_that_hangs_does_not_hold_up_the_stop(rig: Rig) -> None:
    await rig.say("hi")
    await rig.engine.request(0)
    rig.target.hold.clear()
    await rig.service.drain(0.01)
    assert states(rig) == ["accepted"]
    assert not conversation_tasks()


async def test_a_reply_that_is_complete_but_not_delivered_is_not_made_again(rig: Rig) -> None:
    await rig.say("hi")
    request = await rig.engine.request(0)
    rig.target.hold.clear()
    request.write("complete")
    request.finish()
    await settle()
    draining = asyncio.create_task(rig.service.drain(0))
    await asyncio.sleep(0.05)  # past the grace, within the time to hand back
    rig.target.hold.set()
    await draining
    assert states(rig) == ["delivered"]
    assert (await rig.target.finished(0)).text == "complete"


async def test_a_platform_that_is_down_does_not_either(rig: Rig) -> None:
    await rig.say("hi")
    await rig.engine.request(0)
    rig.target.failing.add("finish")
    await rig.service.drain(0.01)
    assert states(rig) == ["accepted"]


async def test_a_reply_that_was_to_be_redone_is_handed_back_too(rig: Rig) -> None:
    turn = await rig.exchange("one")
    await rig.say("two")
    await rig.engine.request(1)
    await rig.service.handle(ControlPressed(THREAD, ANA, "regenerate", turn.id))
    await rig.service.drain(0.01)
    assert states(rig) == ["accepted", "accepted"]


async def test_files_that_are_still_loading_do_not_hold_up_the_stop(rig: Rig) -> None:
    async def load() -> bytes:
        await asyncio.Event().wait()
        return b""

    await rig.say("look", attachments=(file("a.png", load),))
    await rig.service.drain(0.01)
    assert states(rig) == ["accepted"]
    assert not conversation_tasks()


async def test_a_turn_taken_while_it_stops_is_handed_back_at_once() -> None:
    """Nobody could interrupt it while it was taken: it used to run on until `hand_back_s`."""
    rig = Rig(settings=ServiceSettings(hand_back_s=60))
    taking, go_on = asyncio.Event(), asyncio.Event()
    take = rig.store.next_turn

    async def slow_next_turn(key: ThreadKey) -> Turn | None:
        turn = await take(key)
        taking.set()
        await go_on.wait()
        return turn

    rig.store.next_turn = slow_next_turn  # type: ignore[method-assign]
    await rig.say("hi")
    await taking.wait()
    draining = asyncio.create_task(rig.service.drain(0.01))
    await asyncio.sleep(0.1)  # the grace is over, and there is no reply to interrupt yet
    go_on.set()
    await asyncio.wait_for(draining, 20)
    assert states(rig) == ["accepted"]
    assert rig.engine.requests == []
    assert not conversation_tasks()


async def test_a_file_that_never_comes_is_let_go_after_the_grace() -> None:
    rig = Rig(settings=ServiceSettings(hand_back_s=60, attachment_timeout_s=60))

    async def never() -> bytes:
        await asyncio.Event().wait()
        return b""

    await rig.say("look", attachments=(file("x.png", never),))
    await asyncio.wait_for(rig.service.drain(0.01), 20)
    assert states(rig) == ["accepted"]
    assert not conversation_tasks()


async def test_nothing_is_accepted_while_stopping(rig: Rig) -> None:
    await rig.service.drain(0)
    for event in (
        rig.message("hi"),
        CommandInvoked(THREAD, ANA, "persona show"),
        ControlPressed(THREAD, ANA, "stop", 1),
    ):
        reply = await rig.service.handle(event)
        assert reply is not None
        assert "restarting" in reply.text
    assert rig.store.turns == {}


async def test_what_a_crash_left_is_answered_after_the_start(rig: Rig) -> None:
    await rig.say("answering when it crashed")
    await rig.engine.request(0)
    await rig.say("waiting")
    await rig.say("elsewhere", thread="b")
    await rig.engine.request(1)
    crashed = [turn.id for turn in rig.store.turns.values()]
    for task in conversation_tasks():
        task.cancel()
    await settle()
    assert states(rig) == ["answering", "accepted", "answering"]

    rig.engine.requests.clear()
    rig.engine.auto = "recovered"
    service = rig.new_service()
    await service.start()
    await settle()
    assert rig.engine.requests == [], "its platform is not there yet"
    service.register("test", rig.target)
    await until(lambda: states(rig) == ["delivered"] * 3)
    sinks = [sink for sink in rig.target.sinks if sink.finished]
    assert sorted(sink.turn.id for sink in sinks) == crashed
    # The half reply stood somewhere already: the new one takes its place.
    assert sinks[0].turn.posted == (f"post-{crashed[0]}",)
    assert [r.asked for r in rig.engine.requests if "t" in r.conversation.split("/")] == [
        "answering when it crashed",
        "waiting",
    ]


async def test_a_platform_registered_before_the_start_is_served_as_well(rig: Rig) -> None:
    await rig.say("hi")
    await rig.engine.request(0)
    await rig.service.drain(0)
    rig.engine.auto = "recovered"
    service = rig.new_service()
    service.register("test", rig.target)
    await service.start()
    await until(lambda: states(rig) == ["delivered"])


async def test_a_message_for_a_platform_that_is_not_there_yet_waits(rig: Rig) -> None:
    service = rig.new_service()
    rig.engine.auto = "late, but here"
    assert await service.handle(rig.message("hi")) is None
    await settle()
    assert states(rig) == ["accepted"]
    service.register("test", rig.target)
    await until(lambda: states(rig) == ["delivered"])


async def test_a_file_that_was_not_read_before_the_crash_is_named(rig: Rig) -> None:
    await rig.store.accept(THREAD, rig.message("look", attachments=(file("a.png", asyncio.sleep),)))
    await rig.service.start()
    assert (await rig.engine.request(0)).asked == f"[file: a.png ({FILE_LOST})]\nlook"
    rig.engine.requests[0].finish()
    assert (await rig.target.finished(0)).notes == (f"a.png: {FILE_LOST}",)


async def test_where_a_handed_back_reply_stands_is_kept(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a platform whose replies know it only at their end."""

    class Plain:
        def __init__(self, sink: RecordingSink) -> None:
            for call in ("waiting", "write", "restart", "finish", "withdraw"):
                setattr(self, call, getattr(sink, call))

    open_reply = rig.target.open_reply

    async def open_plain(turn: Turn) -> Plain:
        return Plain(await open_reply(turn))

    monkeypatch.setattr(rig.target, "open_reply", open_plain)
    await rig.say("hi")
    await rig.engine.request(0)
    assert next(iter(rig.store.turns.values())).posted == ()
    await rig.service.drain(0)
    assert next(iter(rig.store.turns.values())).posted == rig.target.sinks[0].posted
