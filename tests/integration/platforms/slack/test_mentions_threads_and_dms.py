"""Talking: mentions, threads, DMs, pictures, what is said twice, what is not for the bot."""

from __future__ import annotations

import pytest

from tests.servers.slack.rig import Rig, slack_rig
from tests.servers.slack.world import buttons, new_ts, shown, small_print
from tests.servers.waiting import until
from tests.support.scripted_engine import prompt_text


async def test_a_mention_is_answered_by_a_stream_in_its_thread(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "what &amp; why?")
    request = await rig.asked(0)
    assert request.asked.endswith("what & why?")
    request.write("Because ")
    await until(lambda: rig.general.thread(question["ts"]))
    reply = rig.general.thread(question["ts"])[0]
    assert reply["streaming"]
    request.write("it is.")
    request.finish()
    await rig.reply(rig.general, question["ts"], "Because it is.")
    assert reply["streamed"] == "Because it is."
    assert {"parley_regenerate", "parley_feedback"} == set(buttons(reply))
    started = rig.slack.made("chat.startStream", "ok")[0].args
    assert started["recipient_user_id"] == rig.ana.id
    assert started["recipient_team_id"] == rig.team.id


async def test_app_mention_and_message_are_one_question(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "hello")
    await rig.exchange(rig.general, question, "hi")
    await rig.slack.delivery.settled()
    said = [s.payload["event"] for s in rig.slack.delivery.sent]
    kinds = [e["type"] for e in said if e.get("ts") == question["ts"]]
    assert sorted(kinds) == ["app_mention", "message"]
    assert len(rig.engine.requests) == 1
    assert len(rig.bots(rig.general)) == 1


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("{bot} what is a qubit?", "what is a qubit?"),
        ("what can {bot} do?", "what can @Parley do?"),
        ("is Claude better than {bot}!", "is Claude better than @Parley!"),
        ("what is this? {bot}", "what is this?"),
        ("&gt; a qubit\n{bot} what is that?", "> a qubit\nwhat is that?"),
    ],
)
async def test_a_mention_stays_where_the_sentence_needs_it(rig: Rig, text: str, asked: str) -> None:
    rig.ana.say(rig.general, text.format(bot=f"<@{rig.team.bot_user}>"))
    request = await rig.asked(0)
    assert request.asked.endswith(asked)
    request.finish()


@pytest.mark.parametrize(
    "text",
    ["`{bot}` calls it", "```\n{bot} hello\n```", "&gt; {bot} what is a qubit?\nthat was asked"],
    ids=["code", "code block", "quote"],
)
async def test_a_mention_in_code_or_a_quote_is_not_for_the_bot(rig: Rig, text: str) -> None:
    rig.ana.say(rig.general, text.format(bot=f"<@{rig.team.bot_user}>"))
    await rig.slack.delivery.settled()
    question = rig.ana.mention(rig.general, "hello")
    await rig.exchange(rig.general, question, "hi")
    assert len(rig.engine.requests) == 1


async def test_whatever_is_delivered_again_is_answered_once(rig: Rig) -> None:
    rig.slack.delivery.echoes = 4
    question = rig.ana.mention(rig.general, "hello")
    await rig.exchange(rig.general, question, "hi")
    await rig.slack.delivery.settled()
    assert len(rig.engine.requests) == 1
    await rig.restart()
    again = {**question, "type": "app_mention", "channel": rig.general.id}
    rig.slack.delivery.event(rig.team, again)
    await rig.slack.delivery.settled()
    assert len(rig.engine.requests) == 1


async def test_a_retry_of_what_never_arrived_is_answered(rig: Rig) -> None:
    rig.slack.delivery.lose = 2  # the first delivery of the app_mention and of the message
    question = rig.ana.mention(rig.general, "hello")
    await rig.exchange(rig.general, question, "hi after all")
    await rig.slack.delivery.settled()
    assert max(sent.tries for sent in rig.slack.delivery.sent) == 2
    assert len(rig.engine.requests) == 1


async def test_a_failing_database_is_said_to_who_asked(rig: Rig) -> None:
    rig.store.failing.add("accept")
    rig.ana.mention(rig.general, "hello")
    await until(lambda: rig.team.ephemeral)
    assert "reference" in rig.team.ephemeral[0]["text"]
    assert rig.team.ephemeral[0]["user"] == rig.ana.id


async def test_a_thread_goes_on_without_a_mention(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "my name is Ana")
    await rig.exchange(rig.general, question, "Hello Ana")
    more = rig.ana.say(rig.general, "what is my name?", thread=question["ts"])
    await rig.exchange(rig.general, more, "Ana")
    assert "my name is Ana" in prompt_text(rig.engine.requests[1].messages)


async def test_a_thread_message_to_somebody_else_is_left_alone(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "hello")
    await rig.exchange(rig.general, question, "hi")
    rig.bob.say(rig.general, f"<@{rig.ana.id}> did you see this?", thread=question["ts"])
    rig.bob.say(rig.general, "unrelated, not in the thread")
    await rig.slack.delivery.settled()
    assert len(rig.engine.requests) == 1


async def test_a_mention_in_a_thread_that_went_on_before_reads_it(rig: Rig) -> None:
    first = rig.bob.say(rig.general, "The launch is on Friday.")
    rig.bob.say(rig.general, "Or Monday.", thread=first["ts"])
    question = rig.ana.mention(rig.general, "when is it?", thread=first["ts"])
    await rig.exchange(rig.general, question, "Friday or Monday")
    prompt = prompt_text(rig.engine.requests[0].messages)
    assert prompt.index("on Friday") < prompt.index("Or Monday") < prompt.index("when is it?")


async def test_other_bots_and_notices_are_not_answered(rig: Rig) -> None:
    rig.ana.mention(rig.general, "I am a bot", bot_id="B77", app_id="A77")
    rig.ana.mention(rig.general, "joined", subtype="channel_join")
    await rig.slack.delivery.settled()
    # The app_mention of the second one has no subtype: that of a notice never comes in Slack.
    assert all("I am a bot" not in r.asked for r in rig.engine.requests)


async def test_several_pictures_and_a_follow_up_about_them(rig: Rig) -> None:
    files = [("a.png", "image/png", b"first pixels"), ("b.png", "image/png", b"second pixels")]
    question = rig.ana.mention(rig.general, "what are these?", files=files)
    await rig.exchange(rig.general, question, "two pictures")
    assert prompt_text(rig.engine.requests[0].messages).count("<") == 2
    more = rig.ana.say(rig.general, "and the second?", thread=question["ts"])
    await rig.exchange(rig.general, more, "the second one")
    assert prompt_text(rig.engine.requests[1].messages).count("<") == 2


async def test_a_missing_files_read_is_said(rig: Rig) -> None:
    rig.team.scopes.discard("files:read")
    question = rig.ana.mention(
        rig.general, "what is this?", files=[("a.png", "image/png", b"pixels")]
    )
    reply = await rig.exchange(rig.general, question, "I can't tell")
    assert "files:read" in small_print(reply)


async def test_a_dm_is_answered_in_the_message_s_thread_and_remembered(rig: Rig) -> None:
    dm = rig.ana.dm
    first = rig.ana.say(dm, "my name is Ana")
    await rig.exchange(dm, first, "Hello Ana")
    second = rig.ana.say(dm, "and what is my name?")
    reply = await rig.exchange(dm, second, "It is Ana")
    assert reply["thread_ts"] == second["ts"]
    assert "my name is Ana" in prompt_text(rig.engine.requests[1].messages)
    third = rig.ana.say(dm, "say it again", thread=first["ts"])
    reply = await rig.exchange(dm, third, "Ana, again")
    assert reply["thread_ts"] == first["ts"]
    assert "It is Ana" in prompt_text(rig.engine.requests[2].messages)
    assert rig.team.titles[(dm.id, first["ts"])] == "my name is Ana"


async def test_a_dm_thread_is_found_again_after_a_restart(rig: Rig) -> None:
    dm = rig.ana.dm
    first = rig.ana.say(dm, "hello")
    await rig.exchange(dm, first, "hi")
    third = rig.ana.say(dm, "in the thread", thread=first["ts"])
    reply = await rig.exchange(dm, third, "yes, here")
    await rig.restart()
    rig.ana.click(dm, reply, "parley_regenerate")
    request = await rig.asked(2)
    request.write("yes, anew")
    request.finish()
    again = await rig.reply(dm, first["ts"], "yes, anew")
    assert again["ts"] == reply["ts"]


async def test_a_group_dm_is_as_a_channel(rig: Rig) -> None:
    group = rig.team.add_channel("mpdm-ana--bob-1", kind="mpim")
    rig.ana.say(group, "not for you")
    question = rig.ana.mention(group, "for you")
    await rig.exchange(group, question, "thank you")
    more = rig.bob.say(group, "and for me?", thread=question["ts"])
    await rig.exchange(group, more, "and you")
    rig.bob.say(group, f"<@{rig.ana.id}> shall we go?", thread=question["ts"])
    await rig.slack.delivery.settled()
    assert len(rig.engine.requests) == 2
    assert "admin" in await rig.ana.told(rig.ana.slash(group, "persona set I am Ana's."))


async def test_a_mention_in_a_group_dm_is_heard_without_an_app_mention(rig: Rig) -> None:
    group = rig.team.add_channel("mpdm-ana--bob-1", kind="mpim")
    text = f"<@{rig.team.bot_user}> hello"
    question = {"type": "message", "ts": new_ts(), "user": rig.ana.id, "text": text}
    group.messages[question["ts"]] = question
    event = {**question, "channel": group.id, "channel_type": "mpim"}
    rig.slack.delivery.event(rig.team, event)
    await rig.exchange(group, question, "hi")


async def test_five_people_in_three_threads_at_once(rig: Rig) -> None:
    rig.engine.auto = "all at once"
    people = [rig.ana, rig.bob, rig.root]
    roots = [p.mention(rig.general, f"question of {p.name}") for p in people]
    for root in roots:
        await rig.reply(rig.general, root["ts"], "all at once")
    for person, root in zip([rig.bob, rig.ana], roots, strict=False):
        person.say(rig.general, f"more from {person.name}", thread=root["ts"])
    await until(lambda: len(rig.bots(rig.general)) == 5)
    await until(lambda: not any(m.get("streaming") for m in rig.bots(rig.general)))
    assert all(shown(m) == "all at once" for m in rig.bots(rig.general))


async def test_rich_text_is_read_as_markdown(rig: Rig) -> None:
    blocks = [
        {
            "type": "rich_text",
            "elements": [
                {
                    "type": "rich_text_section",
                    "elements": [
                        {"type": "user", "user_id": rig.team.bot_user},
                        {"type": "text", "text": " fix "},
                        {"type": "text", "text": "this", "style": {"bold": True}},
                        {"type": "text", "text": " for "},
                        {"type": "user", "user_id": rig.bob.id},
                    ],
                },
                {
                    "type": "rich_text_preformatted",
                    "elements": [{"type": "text", "text": "if a < b:\n  pass"}],
                },
            ],
        }
    ]
    rig.ana.mention(rig.general, "fix *this*", blocks=blocks)
    request = await rig.asked(0)
    assert "fix **this** for @Bob\n```\nif a < b:\n  pass\n```" in request.asked
    request.finish()


async def test_events_are_acknowledged_although_names_take_long() -> None:
    async with slack_rig() as rig:
        rig.slack.fail("users.info", "ratelimited", retry_after=5)
        question = rig.ana.mention(rig.general, "hello")
        await rig.slack.delivery.settled()
        assert all(sent.tries == 1 and sent.ack_s < 3 for sent in rig.slack.delivery.sent)
        await rig.exchange(rig.general, question, "hi, whoever you are")
