"""Buttons, edits, deletes, typed commands: who may, and what happens."""

from __future__ import annotations

import time

from tests.servers.slack.rig import Rig
from tests.servers.slack.world import buttons, shown, small_print
from tests.servers.waiting import until
from tests.support.scripted_engine import prompt_text


async def test_stop_keeps_what_is_written(rig: Rig) -> None:
    rig.team.features.discard("stream")
    question = rig.ana.mention(rig.general, "count to a million")
    request = await rig.asked(0)
    request.write("1 2 3")
    await until(lambda: rig.general.thread(question["ts"]))
    reply = rig.general.thread(question["ts"])[0]
    await until(lambda: "parley_stop" in buttons(reply))
    rig.bob.click(rig.general, reply, "parley_stop")
    await until(lambda: rig.team.ephemeral)
    assert rig.team.ephemeral[0]["user"] == rig.bob.id
    assert not request.closed
    rig.ana.click(rig.general, reply, "parley_stop")
    ended = await rig.reply(rig.general, question["ts"], "1 2 3")
    assert small_print(ended) == "Stopped."
    assert request.closed


async def test_a_stream_that_takes_long_gets_a_stop_button_below_it(rig: Rig) -> None:
    await rig.restart(timing=_impatient())
    question = rig.ana.mention(rig.general, "count")
    request = await rig.asked(0)
    request.write("1 2 ")
    await until(lambda: rig.general.thread(question["ts"]))
    request.write("3 ")
    await until(lambda: len(rig.general.thread(question["ts"])) == 2)
    button = rig.general.thread(question["ts"])[1]
    rig.root.click(rig.general, button, "parley_stop")  # an admin may
    reply = await rig.reply(rig.general, question["ts"], "1 2 3")
    await until(lambda: len(rig.general.thread(question["ts"])) == 1)
    assert small_print(reply) == "Stopped."


async def test_regenerate_takes_the_place_of_the_reply(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "hello")
    reply = await rig.exchange(rig.general, question, "first try")
    rig.bob.click(rig.general, reply, "parley_regenerate")
    await until(lambda: rig.team.ephemeral)
    rig.ana.click(rig.general, reply, "parley_regenerate")
    again = await rig.exchange(rig.general, question, "second try")
    assert again["ts"] == reply["ts"]
    assert shown(again) == "second try"
    assert len(rig.bots(rig.general)) == 1
    assert len(rig.engine.requests) == 2


async def test_feedback_is_anybody_s_and_the_last_one_counts(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "hello")
    reply = await rig.exchange(rig.general, question, "hi")
    rig.bob.click(rig.general, reply, "parley_feedback", "positive")
    await until(lambda: rig.store.ratings)
    rig.bob.click(rig.general, reply, "parley_feedback", "negative")
    await until(lambda: "bad" in rig.store.ratings.values())
    assert len(rig.store.ratings) == 1


async def test_a_button_can_t_reach_another_channel(rig: Rig) -> None:
    secret = rig.team.add_channel("secret", kind="group")
    question = rig.ana.mention(rig.general, "hello")
    reply = await rig.exchange(rig.general, question, "hi")
    other = rig.root.mention(secret, "hello")
    theirs = await rig.exchange(secret, other, "psst")
    forged = {**reply, "blocks": theirs["blocks"]}
    rig.root.click(rig.general, forged, "parley_regenerate")
    await until(lambda: rig.team.ephemeral)
    assert len(rig.engine.requests) == 2


async def test_nonsense_in_a_button_is_ignored(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "hello")
    reply = await rig.exchange(rig.general, question, "hi")
    for value in ("²", "9" * 40, "-1", "x", "1; DROP TABLE turns"):
        sent = rig.ana.click(rig.general, reply, "parley_regenerate", value)
        await sent.acked.wait()
    assert len(rig.engine.requests) == 1


async def test_an_edit_begins_the_answer_again(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "capital of Frnace?")
    request = await rig.asked(0)
    request.write("I don't kn")
    await until(lambda: rig.general.thread(question["ts"]))
    rig.ana.edit(rig.general, question, f"<@{rig.team.bot_user}> capital of France?")
    again = await rig.asked(1)
    assert "capital of France?" in prompt_text(again.messages)
    again.write("Paris")
    again.finish()
    reply = await rig.reply(rig.general, question["ts"], "Paris")
    assert shown(reply) == "Paris"
    assert len(rig.bots(rig.general)) == 1


async def test_an_unfurl_is_no_edit(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "see https://x.test")
    await rig.asked(0)
    rig.ana.edit(rig.general, question, question["text"])
    await rig.slack.delivery.settled()
    rig.engine.requests[0].write("seen")
    rig.engine.requests[0].finish()
    await rig.reply(rig.general, question["ts"], "seen")
    assert len(rig.engine.requests) == 1


async def test_a_mention_added_by_an_edit_is_answered(rig: Rig) -> None:
    message = rig.ana.say(rig.general, "what is a qubit?")
    await rig.slack.delivery.settled()
    rig.ana.edit(rig.general, message, f"<@{rig.team.bot_user}> what is a qubit?")
    await rig.exchange(rig.general, message, "a quantum bit")


async def test_an_old_message_is_not_made_a_question_by_an_edit(rig: Rig) -> None:
    an_hour_ago = f"{time.time() - 3600:.6f}"
    message = rig.ana.say(rig.general, "what is a qubit?", ts=an_hour_ago)
    await rig.slack.delivery.settled()
    rig.ana.edit(rig.general, message, f"<@{rig.team.bot_user}> what is a qubit?")
    await rig.slack.delivery.settled()
    assert not rig.engine.requests


async def test_a_deleted_question_takes_its_answer_along(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "oops, a password")
    request = await rig.asked(0)
    request.write("That is")
    await until(lambda: rig.bots(rig.general))
    rig.ana.delete(rig.general, question)
    await until(lambda: not rig.bots(rig.general))
    assert not rig.store.turns
    assert request.closed


async def test_commands_typed_in_a_thread(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "hello")
    await rig.exchange(rig.general, question, "hi")
    thread = question["ts"]
    rig.ana.say(rig.general, "!persona set You are a pirate.", thread=thread)
    await until(lambda: rig.team.ephemeral)
    assert "admin" in rig.team.ephemeral[0]["text"]
    assert rig.team.ephemeral[0]["thread_ts"] == thread
    rig.root.say(rig.general, "!persona set You are a pirate.", thread=thread)
    await until(lambda: len(rig.general.thread(thread)) == 4)
    rig.ana.say(rig.general, "who are you?", thread=thread)
    request = await rig.asked(1)
    assert "You are a pirate." in prompt_text(request.messages)
    rig.ana.say(rig.general, "!stop", thread=thread)
    await until(lambda: request.closed)
    await until(lambda: len(rig.team.ephemeral) == 2)
    rig.ana.say(rig.general, "!reset", thread=thread)
    await until(lambda: not rig.store.turns)


async def test_a_typed_command_that_comes_twice_runs_once(rig: Rig) -> None:
    rig.slack.delivery.echoes = 3
    rig.root.mention(rig.general, "!persona set You are a pirate.")
    await until(lambda: rig.bots(rig.general))
    await rig.slack.delivery.settled()
    assert len(rig.store.entries) == 1


async def test_admins_can_be_named_by_the_operator(rig: Rig) -> None:
    await rig.restart(admins=frozenset({rig.bob.id}))
    rig.bob.mention(rig.general, "!persona set You are a pirate.")
    await until(lambda: rig.store.entries)


async def test_rights_are_asked_for_anew(rig: Rig) -> None:
    rig.root.mention(rig.general, "hello")
    request = await rig.asked(0)
    request.write("hi")
    request.finish()
    rig.team.users[rig.root.id]["is_admin"] = False
    await until(lambda: rig.slack.made("users.info"))
    rig.age_names()
    sent = rig.root.slash(rig.general, "persona clear")
    assert "admin" in await rig.root.told(sent)
    assert not rig.store.entries


def _impatient() -> object:
    from bot.platforms.slack.sink import Timing

    return Timing(append_s=0.0, edit_s=0.0, eager_chars=1, stop_after_s=0.0)
