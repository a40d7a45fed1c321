"""What Slack has done and nobody wrote down: after a crash, or where its answer was lost."""

from __future__ import annotations

from typing import Any

import pytest

from bot.platforms.slack.recovery import MAX_CLOCK_SKEW_S
from tests.servers.slack.rig import Rig
from tests.servers.slack.world import Channel, shown
from tests.servers.waiting import until
from tests.support.scripted_engine import Request

Message = dict[str, Any]


async def begin(rig: Rig, channel: Channel, words: str) -> tuple[Message, Request]:
    """A question, and the first words of an answer whose first call is done."""
    question = rig.ana.mention(channel, "hello")
    request = await rig.asked(0)
    request.write(words)
    await until(lambda: rig.bots(channel))
    return question, request


async def complete(rig: Rig, number: int, text: str) -> None:
    again = await rig.asked(number)
    again.write(text)
    again.finish()


@pytest.mark.parametrize(
    ("features", "method"), [(set(), "chat.startStream"), ({"stream"}, "chat.postMessage")]
)
async def test_a_crash_before_the_first_message_is_noted_leaves_no_second_one(
    rig: Rig, features: set[str], method: str
) -> None:
    rig.team.features -= features
    rig.slack.hold_answer(method)
    question, _ = await begin(rig, rig.general, "I was just say")
    assert not any(turn.posted for turn in rig.store.turns.values())
    await rig.crash()
    await complete(rig, 1, "The whole answer.")
    reply = await rig.reply(rig.general, question["ts"], "The whole answer.")
    assert shown(reply) == "The whole answer."
    assert len(rig.bots(rig.general)) == 1
    assert not reply.get("streaming")


async def test_in_the_channel_itself_too(rig: Rig) -> None:
    await rig.root.told(rig.root.slash(rig.general, "settings set inline=on"))
    rig.slack.hold_answer("chat.postMessage")
    await begin(rig, rig.general, "I was just say")
    await rig.crash()
    await complete(rig, 1, "The whole answer.")
    await rig.reply(rig.general, "", "The whole answer.")
    assert len(rig.bots(rig.general)) == 1


async def test_in_a_dm_s_thread_too(rig: Rig) -> None:
    rig.slack.hold_answer("chat.startStream")
    question = rig.ana.say(rig.ana.dm, "hello")
    request = await rig.asked(0)
    request.write("I was just say")
    await until(lambda: rig.bots(rig.ana.dm))
    await rig.crash()
    await complete(rig, 1, "The whole answer.")
    await rig.reply(rig.ana.dm, question["ts"], "The whole answer.")
    assert len(rig.bots(rig.ana.dm)) == 1


async def test_a_crash_between_two_messages_of_a_long_reply(rig: Rig) -> None:
    rig.team.features -= {"stream", "markdown"}
    long = "\n\n".join(f"Paragraph {n} of a reply that needs some messages." for n in range(120))
    question, request = await begin(rig, rig.general, "Para")
    request.write(long.removeprefix("Para"))
    # Where its second message stands is not known to anybody when the crash comes.
    rig.slack.lose_answer("chat.postMessage")
    rig.slack.fail("conversations.replies", "internal_error", times=99)
    request.finish()
    await until(lambda: len(rig.bots(rig.general)) >= 2)
    turn = next(iter(rig.store.turns.values()))
    await rig.store.release_turn(turn.id)
    rig.slack.forgive("conversations.replies")
    await rig.crash()
    await complete(rig, 1, long)
    await rig.reply(rig.general, question["ts"], "Paragraph 119")
    said = "".join(shown(m) for m in rig.bots(rig.general))
    assert all(said.count(f"Paragraph {n} of") == 1 for n in range(120))


async def test_the_answers_to_commands_are_nobody_s_reply(rig: Rig) -> None:
    rig.slack.hold_answer("chat.startStream")
    question, _ = await begin(rig, rig.general, "I was just say")
    rig.root.say(rig.general, "!persona use pirate", thread=question["ts"])
    await until(lambda: len(rig.bots(rig.general)) == 2)
    await rig.crash()
    await complete(rig, 1, "The whole answer.")
    await rig.reply(rig.general, question["ts"], "The whole answer.")
    replies = [shown(m) for m in rig.bots(rig.general)]
    assert len(replies) == 2
    assert "pirate" in replies[1]


async def test_where_the_thread_can_t_be_read_the_answer_comes_all_the_same(rig: Rig) -> None:
    question, _ = await begin(rig, rig.general, "I was just say")
    await until(lambda: any(turn.posted for turn in rig.store.turns.values()))
    rig.team.scopes -= {s for s in rig.team.scopes if s.endswith(":history")}
    await rig.crash()
    await complete(rig, 1, "The whole answer.")
    await rig.reply(rig.general, question["ts"], "The whole answer.")
    assert len(rig.bots(rig.general)) == 1


@pytest.mark.parametrize(
    ("features", "method"), [(set(), "chat.startStream"), ({"stream"}, "chat.postMessage")]
)
async def test_a_lost_answer_makes_no_second_message(
    rig: Rig, features: set[str], method: str
) -> None:
    rig.team.features -= features
    rig.slack.lose_answer(method)
    question, request = await begin(rig, rig.general, "One, ")
    request.write("two.")
    request.finish()
    reply = await rig.reply(rig.general, question["ts"], "One, two.")
    assert shown(reply) == "One, two."
    assert len(rig.bots(rig.general)) == 1


async def test_a_lost_answer_to_an_append_shows_nothing_twice(rig: Rig) -> None:
    question, request = await begin(rig, rig.general, "One, ")
    rig.slack.lose_answer("chat.appendStream")
    request.write("two, ")
    await until(lambda: rig.slack.made("chat.update", "ok"))
    request.write("three.")
    request.finish()
    reply = await rig.reply(rig.general, question["ts"], "three.")
    assert shown(reply) == "One, two, three."
    assert len(rig.bots(rig.general)) == 1


async def test_a_lost_answer_to_the_end_of_a_stream_shows_nothing_twice(rig: Rig) -> None:
    question, request = await begin(rig, rig.general, "One, ")
    rig.slack.lose_answer("chat.stopStream")
    request.finish()
    reply = await rig.reply(rig.general, question["ts"], "One,")
    await until(lambda: rig.slack.made("chat.stopStream", "message_not_in_streaming_state"))
    await until(lambda: rig.slack.made("chat.update", "ok"))
    assert shown(reply).strip() == "One,"
    assert len(rig.bots(rig.general)) == 1


async def test_a_lost_answer_to_a_later_message_makes_no_second_one(rig: Rig) -> None:
    rig.team.features -= {"stream", "markdown"}
    question, request = await begin(rig, rig.general, "word ")
    rig.slack.lose_answer("chat.postMessage")
    request.write("word " * 1_199)
    request.finish()
    await until(lambda: request.closed)
    await rig.reply(rig.general, question["ts"], "word")
    assert sum(shown(m).count("word") for m in rig.bots(rig.general)) == 1_200


async def test_a_question_that_comes_again_after_the_crash_is_not_taken_for_a_new_one(
    rig: Rig,
) -> None:
    rig.slack.hold_answer("chat.startStream")
    question, _ = await begin(rig, rig.general, "I was just say")
    await rig.crash()
    again = {**question, "channel": rig.general.id, "channel_type": "channel"}
    rig.slack.delivery.event(rig.team, again)
    await complete(rig, 1, "The whole answer.")
    await rig.reply(rig.general, question["ts"], "The whole answer.")
    assert len(rig.bots(rig.general)) == 1


async def test_only_what_an_earlier_process_may_have_begun_is_looked_up(rig: Rig) -> None:
    rig.adapter._started_at -= 2 * MAX_CLOCK_SKEW_S
    question = rig.ana.mention(rig.general, "hello")
    await rig.exchange(rig.general, question, "hi")
    assert not rig.slack.made("conversations.replies")
