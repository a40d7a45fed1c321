"""The queue of a conversation: bursts, Stop, Regenerate, edits, deletions, several at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bot.core.events import CommandInvoked, ControlPressed, MessageDeleted, MessageEdited
from bot.core.ports import CommandReply
from bot.core.records import TurnState
from bot.core.service_settings import ServiceSettings
from bot.engine.api import Message, SamplingParams
from tests.support.core_rig import ADMIN, ANA, BOB, CHANNEL, Rig, file
from tests.support.scripted_engine import count_words
from tests.support.waiting import settle, until

THREAD = CHANNEL.in_thread("t")


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def press(rig: Rig, action: str, turn_id: int, by=ANA, key=THREAD) -> CommandReply:
    reply = await rig.service.handle(ControlPressed(key, by, action, turn_id))
    assert reply is not None
    return reply


async def test_a_message_is_answered_as_it_comes(rig: Rig) -> None:
    await rig.say("hi")
    request = await rig.engine.request(0)
    (sink,) = rig.target.sinks
    request.queued(2)
    await until(lambda: ("waiting", 2) in sink.calls)
    request.write("Hel")
    await until(lambda: sink.shown == "Hel")
    request.write("lo")
    request.finish()
    reply = await rig.target.finished(0)
    assert (reply.state, reply.text, reply.notes) == (TurnState.DELIVERED, "Hello", ())
    await until(lambda: rig.store.spent)
    stored = rig.store.turns[sink.turn.id]
    assert stored.state is TurnState.DELIVERED
    assert (stored.reply_text, stored.reply_token_ids) == ("Hello", (1, 2))
    assert (stored.finish_reason, stored.posted) == ("stop", sink.posted)
    assert sink.names == ["waiting", "waiting", "write", "write", "finish"]


async def test_usage_names_who_and_what(rig: Rig) -> None:
    turn = await rig.exchange("hi")
    (usage,) = rig.store.spent
    assert (usage.turn_id, usage.user_id, usage.model) == (turn.id, "u1", "scripted")
    assert (usage.prompt_tokens, usage.cached_tokens, usage.generated_tokens) == (10, 4, 1)
    assert (usage.queue_s, usage.ttft_s, usage.total_s) == (0.1, 0.2, 0.3)
    request = rig.engine.requests[0]
    assert (request.owner, request.conversation) == ("test/w/u1", "test/w/c/t")


async def test_the_next_turn_sees_the_reply_with_its_token_ids(rig: Rig) -> None:
    await rig.exchange("one", "first answer")
    await rig.say("two")
    request = await rig.engine.request(1)
    assert [m.role for m in request.messages] == ["system", "user", "assistant", "user"]
    assert request.messages[2].parts[0].token_ids == (1,)


async def test_a_burst_while_answering_becomes_one_turn(rig: Rig) -> None:
    await rig.say("first")
    request = await rig.engine.request(0)
    for text in ("and", "another", "thing"):
        await rig.say(text)
    await settle()
    assert len(rig.engine.requests) == 1
    request.write("ok")
    request.finish()
    assert (await rig.engine.request(1)).asked == "and\nanother\nthing"
    rig.engine.requests[1].finish()
    await rig.target.finished(1)
    await settle()
    assert len(rig.engine.requests) == 2
    assert len(rig.store.turns) == 2


async def test_a_slow_platform_call_holds_up_its_own_conversation_only(rig: Rig) -> None:
    for thread in ("a", "b"):
        await rig.say(f"in {thread}", thread=thread)
    await rig.engine.request(1)
    slow, quick = rig.target.sinks
    slow.hold = asyncio.Event()
    for request in rig.engine.requests:
        request.write("answer")
        request.finish()
    await until(lambda: quick.finished)
    assert slow.finished is None
    slow.hold.set()
    await until(lambda: slow.finished)


async def test_a_slow_platform_gets_what_came_meanwhile_as_one_piece(rig: Rig) -> None:
    await rig.say("hi")
    request = await rig.engine.request(0)
    (sink,) = rig.target.sinks
    sink.hold = asyncio.Event()
    request.write("a")
    await settle()
    for text in "bcd":
        request.write(text)
    await settle()
    sink.hold.set()
    await until(lambda: sink.shown == "abcd")
    assert [value for name, value in sink.calls if name == "write"] == ["a", "bcd"]


async def test_idle_conversations_disappear(rig: Rig) -> None:
    await rig.exchange("hi")
    await until(lambda: len(rig.service._conversations) == 0)
    assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("conversation")]


async def test_stop_keeps_the_partial_text_and_frees_the_engine(rig: Rig) -> None:
    await rig.say("hi")
    request = await rig.engine.request(0)
    request.write("Once upon")
    await until(lambda: rig.target.sinks[0].shown)
    turn = rig.target.sinks[0].turn
    assert (await press(rig, "stop", turn.id)).ok
    reply = await rig.target.finished(0)
    assert (reply.state, reply.text, reply.error) == (TurnState.CANCELLED, "Once upon", None)
    assert request.closed
    await until(lambda: rig.store.turns[turn.id].state is TurnState.CANCELLED)
    stored = rig.store.turns[turn.id]
    assert (stored.reply_text, stored.finish_reason) == ("Once upon", "cancelled")
    assert rig.store.spent[0].generated_tokens == 1
    assert not (await press(rig, "stop", turn.id)).ok


async def test_what_waits_is_answered_after_a_stop(rig: Rig) -> None:
    await rig.say("hi")
    await rig.engine.request(0)
    await rig.say("next")
    await press(rig, "stop", rig.target.sinks[0].turn.id)
    assert (await rig.engine.request(1)).asked == "next"


@pytest.mark.parametrize("action", ["stop", "regenerate"])
async def test_buttons_are_for_the_asker_and_admins(rig: Rig, action: str) -> None:
    await rig.say("hi")
    await rig.engine.request(0)
    turn = rig.target.sinks[0].turn
    refused = await press(rig, action, turn.id, BOB)
    assert not refused.ok
    assert "Only the person who asked" in refused.text
    assert not rig.engine.requests[0].closed
    assert (await press(rig, action, turn.id, ADMIN)).ok
    await until(lambda: rig.engine.requests[0].closed)


async def test_a_button_does_not_reach_into_another_channel(rig: Rig) -> None:
    await rig.say("hi")
    await rig.engine.request(0)
    elsewhere = replace(THREAD, channel="other")
    refused = await press(rig, "stop", rig.target.sinks[0].turn.id, ADMIN, elsewhere)
    assert not refused.ok
    assert not rig.engine.requests[0].closed
    assert not (await press(rig, "stop", 999)).ok


async def test_regenerate_replaces_the_reply(rig: Rig) -> None:
    first = await rig.exchange("one", "old answer")
    await rig.exchange("two", "later")
    assert (await press(rig, "regenerate", first.id)).ok
    request = await rig.engine.request(2)
    assert request.asked == "one"
    assert len(request.messages) == 2, "what came later is not in the prompt"
    sink = rig.target.sinks[2]
    assert sink.turn.posted == first.posted
    request.write("new answer")
    request.finish()
    await rig.target.finished(2)
    await until(lambda: rig.store.turns[first.id].reply_text == "new answer")


async def test_regenerate_while_it_is_written_begins_again() -> None:
    rig = Rig(settings=ServiceSettings(sampling=SamplingParams(seed=3)))
    await rig.say("hi")
    (await rig.engine.request(0)).write("bad")
    await until(lambda: rig.target.sinks[0].shown)
    assert (await press(rig, "regenerate", rig.target.sinks[0].turn.id)).ok
    (await rig.engine.request(1)).finish()
    await rig.target.finished(0)
    assert rig.engine.requests[1].sampling.seed is None
    assert "restart" in rig.target.sinks[0].names


async def test_regenerate_twice_is_one_more_reply(rig: Rig) -> None:
    turn = await rig.exchange("hi")
    await rig.say("busy with this")
    await rig.engine.request(1)
    for _ in range(2):
        assert (await press(rig, "regenerate", turn.id)).ok
    rig.engine.requests[1].finish()
    (await rig.engine.request(2)).finish()
    await rig.target.finished(2)
    await settle()
    assert len(rig.engine.requests) == 3


@pytest.mark.parametrize(
    ("sampling", "temperature"),
    [(SamplingParams(temperature=0, seed=3), 0.7), (SamplingParams(temperature=0.2, seed=3), 0.2)],
)
async def test_regenerate_draws_another_sample(
    sampling: SamplingParams, temperature: float
) -> None:
    rig = Rig(settings=ServiceSettings(sampling=sampling))
    turn = await rig.exchange("hi")
    assert rig.engine.requests[0].sampling.seed == 3
    await press(rig, "regenerate", turn.id)
    request = await rig.engine.request(1)
    assert (request.sampling.seed, request.sampling.temperature) == (None, temperature)


async def test_an_edit_of_what_is_being_answered_restarts(rig: Rig) -> None:
    event = await rig.say("how is Ada")
    first = await rig.engine.request(0)
    first.write("She")
    await until(lambda: rig.target.sinks[0].shown)
    await rig.service.handle(MessageEdited(THREAD, event.id, ANA, "how is Ben"))
    second = await rig.engine.request(1)
    assert first.closed
    assert second.asked == "how is Ben"
    second.write("He is fine")
    second.finish()
    reply = await rig.target.finished(0)
    assert (reply.text, reply.state) == ("He is fine", TurnState.DELIVERED)
    assert rig.target.sinks[0].shown == "He is fine"
    assert len(rig.target.sinks) == 1


async def test_an_edit_that_changes_no_word_does_not_restart(rig: Rig) -> None:
    event = await rig.say("see this link")
    await rig.engine.request(0)
    await rig.service.handle(MessageEdited(THREAD, event.id, ANA, "see this link"))
    await settle()
    assert len(rig.engine.requests) == 1


async def test_an_edit_of_what_waits_changes_it(rig: Rig) -> None:
    await rig.say("first")
    request = await rig.engine.request(0)
    waiting = await rig.say("secnd")
    await rig.service.handle(MessageEdited(THREAD, waiting.id, ANA, "second"))
    await settle()
    assert not request.closed
    request.finish()
    assert (await rig.engine.request(1)).asked == "second"


async def test_an_edit_of_an_older_turn_is_only_stored(rig: Rig) -> None:
    turn = await rig.exchange("old")
    message = turn.messages[0]
    # Platforms name the channel of an edit, and not always the thread.
    await rig.service.handle(MessageEdited(CHANNEL, message.platform_id, ANA, "newer"))
    await settle()
    assert len(rig.engine.requests) == 1
    assert rig.store.turns[turn.id].messages[0].text == "newer"


async def test_a_deleted_question_is_cancelled_and_withdrawn(rig: Rig) -> None:
    event = await rig.say("oops")
    request = await rig.engine.request(0)
    request.write("Well")
    await until(lambda: rig.target.sinks[0].shown)
    await rig.service.handle(MessageDeleted(THREAD, event.id))
    await until(lambda: "withdraw" in rig.target.sinks[0].names)
    assert request.closed
    assert rig.target.sinks[0].finished is None
    assert rig.store.turns == {}
    await rig.exchange("something else", id="m-next")


async def test_the_rest_of_a_burst_is_answered_when_one_of_it_is_deleted(rig: Rig) -> None:
    await rig.say("first")
    (await rig.engine.request(0)).write("x")
    await rig.say("keep")
    gone = await rig.say("drop")
    rig.engine.requests[0].finish()
    assert (await rig.engine.request(1)).asked == "keep\ndrop"
    await rig.service.handle(MessageDeleted(THREAD, gone.id))
    assert (await rig.engine.request(2)).asked == "keep"


async def test_deleting_a_waiting_message_leaves_nothing_to_answer(rig: Rig) -> None:
    await rig.say("first")
    request = await rig.engine.request(0)
    waiting = await rig.say("second")
    await rig.service.handle(MessageDeleted(THREAD, waiting.id))
    request.finish()
    await rig.target.finished(0)
    await settle()
    assert len(rig.engine.requests) == 1


async def test_a_turn_waits_for_its_own_files_only(rig: Rig) -> None:
    loaded = asyncio.Event()

    async def load() -> bytes:
        await loaded.wait()
        return b"pixels"

    await rig.say("what is this", attachments=(file("a.png", load),))
    await rig.say("quick", thread="other")
    await rig.say("I mean the corner")
    assert (await rig.engine.request(0)).asked == "quick"
    await settle()
    assert len(rig.engine.requests) == 1
    loaded.set()
    assert (await rig.engine.request(1)).asked == (
        "[image: a.png]\nwhat is this\nI mean the corner"
    )


async def test_a_file_accepted_while_the_runner_looks_for_work_is_waited_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, loaded = asyncio.Event(), asyncio.Event()
    accept = rig.store.accept

    async def slow_accept(key, event):  # written down, but its files are not known yet
        accepted = await accept(key, event)
        await stored.wait()
        return accepted

    async def load() -> bytes:
        await loaded.wait()
        return b"pixels"

    await rig.say("first")
    request = await rig.engine.request(0)
    monkeypatch.setattr(rig.store, "accept", slow_accept)
    saying = asyncio.create_task(rig.say("look", attachments=(file("a.png", load),)))
    await settle()
    request.finish()
    await rig.target.finished(0)
    stored.set()
    await saying
    await settle()
    assert len(rig.engine.requests) == 1
    loaded.set()
    assert (await rig.engine.request(1)).asked == "[image: a.png]\nlook"


async def slow_reply(rig: Rig):
    """A reply whose platform is in the middle of a call; lets what comes happen meanwhile."""
    event = await rig.say("hi")
    request = await rig.engine.request(0)
    (sink,) = rig.target.sinks
    sink.hold = asyncio.Event()
    request.write("a")
    await settle()
    return event, request, sink


async def test_an_edit_does_not_undo_a_stop(rig: Rig) -> None:
    event, _, sink = await slow_reply(rig)
    await press(rig, "stop", sink.turn.id)
    await rig.service.handle(MessageEdited(THREAD, event.id, ANA, "hello"))
    sink.hold.set()
    assert (await rig.target.finished(0)).state is TurnState.CANCELLED
    assert len(rig.engine.requests) == 1


async def test_a_stop_that_comes_after_the_last_word_changes_nothing(rig: Rig) -> None:
    _, request, sink = await slow_reply(rig)
    request.write(" whole answer")
    request.finish()
    await settle()
    await press(rig, "stop", sink.turn.id)
    sink.hold.set()
    reply = await rig.target.finished(0)
    assert (reply.state, reply.text) == (TurnState.DELIVERED, "a whole answer")


async def test_a_place_in_the_queue_is_not_told_after_the_text_has_begun(rig: Rig) -> None:
    await rig.say("hi")
    request = await rig.engine.request(0)
    (sink,) = rig.target.sinks
    request.queued(2)
    request.write("a")
    await until(lambda: sink.shown == "a")
    request.finish()
    await rig.target.finished(0)
    assert ("waiting", 2) not in sink.calls


async def test_what_was_to_be_redone_is_forgotten_by_a_reset(rig: Rig) -> None:
    turn = await rig.exchange("one")
    await rig.say("two")
    await rig.engine.request(1)
    await press(rig, "regenerate", turn.id)
    await rig.service.handle(CommandInvoked(THREAD, ANA, "reset"))
    await settle()
    assert len(rig.target.sinks) == 2


async def test_a_prompt_is_counted_beside_the_loop_and_an_edit_meanwhile_counts(rig: Rig) -> None:
    counting, go_on = threading.Event(), threading.Event()

    def slowly(messages: Sequence[Message]) -> int:
        counting.set()
        assert go_on.wait(20), "the loop stood still"
        return count_words(messages)

    rig.engine.count_tokens = slowly  # type: ignore[method-assign]
    await rig.say("helo", id="m")
    await until(counting.is_set)
    await rig.service.handle(MessageEdited(THREAD, "m", ANA, "hello"))
    go_on.set()
    request = await rig.engine.request(0)
    assert request.asked == "hello"
    request.finish()
    await rig.target.finished(0)
    assert len(rig.engine.requests) == 1
