"""What goes wrong: one short sentence for the person, the rest in the log, and life goes on."""

from __future__ import annotations

import logging
import re

import pytest

from bot.core.events import MessageEdited
from bot.core.records import TurnState
from bot.core.service_settings import ServiceSettings
from bot.engine.api import EngineBusy, GenerationFailed, PromptTooLong, SamplingParams
from tests.support.core_rig import Rig
from tests.support.waiting import settle, until


@pytest.fixture
def rig() -> Rig:
    return Rig(settings=ServiceSettings(sink_timeout_s=0.05))


async def ended(rig: Rig, number: int = 0) -> TurnState:
    turn_id = list(rig.store.turns)[number]
    await until(lambda: rig.store.turns[turn_id].state not in ("accepted", "answering"))
    return rig.store.turns[turn_id].state


async def test_a_busy_engine_says_so_at_once(rig: Rig) -> None:
    rig.engine.refuse_with = EngineBusy(12)
    await rig.say("hi")
    reply = await rig.target.finished(0)
    assert reply.state is TurnState.FAILED
    assert reply.error == "I'm busy: 12 requests are waiting. Please try again in a moment."
    assert await ended(rig) is TurnState.FAILED
    rig.engine.refuse_with = None
    await rig.exchange("again")


async def test_a_failed_generation_has_a_reference_that_the_log_has_too(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.say("my secret question")
    request = await rig.engine.request(0)
    request.write("Well, ")
    request.fail(GenerationFailed("CUDA error in /srv/kernel.cu"))
    reply = await rig.target.finished(0)
    assert (reply.state, reply.text) == (TurnState.FAILED, "Well, ")
    assert reply.error is not None
    found = re.search(r"\(reference (\w{8})\)", reply.error)
    assert found is not None
    assert "CUDA" not in reply.error
    await ended(rig)
    assert next(iter(rig.store.turns.values())).ref == found[1]
    (record,) = [r for r in caplog.records if found[1] in r.getMessage()]
    assert record.exc_info is not None
    assert "CUDA" in str(record.exc_info[1])
    assert "secret" not in caplog.text
    await rig.exchange("and now?")


async def test_an_engine_that_stops_by_itself(rig: Rig) -> None:
    await rig.say("hi")
    (await rig.engine.request(0)).finish("cancelled")
    reply = await rig.target.finished(0)
    assert reply.state is TurnState.FAILED
    assert "I was interrupted while answering" in (reply.error or "")


async def test_a_message_that_is_too_long_is_refused_before_the_engine(rig: Rig) -> None:
    await rig.say("word " * 1000)
    reply = await rig.target.finished(0)
    assert reply.state is TurnState.FAILED
    assert "That's too long for me: 1,015 tokens, and I can read 200" in (reply.error or "")
    assert rig.engine.requests == []


async def test_a_prompt_that_the_engine_finds_too_long(rig: Rig) -> None:
    rig.engine.refuse_with = PromptTooLong(500, 400)
    await rig.say("hi")
    assert "too long for me: 500 tokens" in ((await rig.target.finished(0)).error or "")


@pytest.mark.parametrize("call", ["open", "finish"])
async def test_a_platform_that_is_down_fails_the_turn_only(
    rig: Rig, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig.target.failing.add(call)
    rig.engine.auto = "an answer"
    await rig.say("hi")
    assert await ended(rig) is TurnState.FAILED
    stored = next(iter(rig.store.turns.values()))
    assert stored.ref is not None
    assert stored.ref in caplog.text
    rig.target.failing.clear()
    rig.engine.auto = None
    await rig.exchange("again")


@pytest.mark.parametrize("call", ["waiting", "write", "restart"])
async def test_a_hiccup_of_the_platform_does_not_cost_the_answer(
    rig: Rig, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig.target.failing.add(call)
    event = await rig.say("hi")
    await rig.engine.request(0)
    await rig.service.handle(MessageEdited(event.key, event.id, event.author, "hello"))
    request = await rig.engine.request(1)
    for text in ("the ", "whole ", "answer"):
        request.write(text)
        await settle()
    request.finish()
    reply = await rig.target.finished(0)
    assert (reply.state, reply.text) == (TurnState.DELIVERED, "the whole answer")
    assert await ended(rig) is TurnState.DELIVERED
    assert caplog.text.count("its platform fails") == 1, "nothing more is tried but the end"


async def test_a_platform_that_hangs_counts_as_down(rig: Rig) -> None:
    rig.engine.auto = "an answer"
    rig.target.hold.clear()
    await rig.say("hi")
    assert await ended(rig) is TurnState.FAILED
    rig.target.hold.set()
    await rig.say("again")
    await rig.target.finished(1)


async def test_a_store_that_fails_to_accept_is_told(rig: Rig) -> None:
    rig.store.failing.add("accept")
    reply = await rig.service.handle(rig.message("hi"))
    assert reply is not None
    assert not reply.ok
    assert re.search(r"reference \w{8}", reply.text)


@pytest.mark.parametrize("method", ["save_reply", "next_turn"])
async def test_a_store_that_fails_in_between_loses_no_turn(
    rig: Rig, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    rig.engine.auto = "an answer"
    rig.store.failing.add(method)
    await rig.say("hi")
    await until(lambda: "its turns are kept" in caplog.text)
    rig.store.failing.clear()
    assert len(await rig.store.unfinished()) == 1
    await rig.say("again")
    await until(lambda: any(t.state is TurnState.DELIVERED for t in rig.store.turns.values()))


async def test_a_reply_leaves_room_for_its_question() -> None:
    rig = Rig(settings=ServiceSettings(sampling=SamplingParams(max_new_tokens=9999)))
    await rig.say("hi")
    assert (await rig.engine.request(0)).sampling.max_new_tokens == 200


async def test_notes_at_the_foot() -> None:
    rig = Rig(settings=ServiceSettings(sampling=SamplingParams(max_new_tokens=360)))
    for number in range(12):
        await rig.exchange(f"question {number} " + "long " * 20)
    await rig.say("more")
    (await rig.engine.request(12)).finish("length")
    notes = (await rig.target.finished(12)).notes
    assert notes[0] == "I can no longer see the first 4 exchanges of this conversation."
    assert "maximum length" in notes[1]
