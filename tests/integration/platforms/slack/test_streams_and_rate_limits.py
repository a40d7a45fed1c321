"""Streams that end or are not there, rate limits, lengths: no text is lost, Slack's rules kept."""

from __future__ import annotations

import asyncio

import pytest

from bot.platforms.slack.posting import Place
from bot.platforms.slack.status import Status
from tests.servers.slack.rig import Rig, slack_rig
from tests.servers.slack.world import buttons, shown, small_print
from tests.servers.waiting import until


def whole(rig: Rig, thread: str) -> str:
    """All that the bot says in a thread."""
    return "".join(shown(m) for m in rig.general.thread(thread) if m.get("bot_id"))


@pytest.mark.parametrize("feature", ["stream", "markdown", "feedback", "status"])
async def test_a_workspace_without_a_feature_is_served_without_it(rig: Rig, feature: str) -> None:
    rig.team.features.discard(feature)
    question = rig.ana.mention(rig.general, "hello")
    reply = await rig.exchange(rig.general, question, "one **bold** word")
    assert len(rig.bots(rig.general)) == 1
    assert "parley_regenerate" in buttons(reply)
    assert ("parley_good" in buttons(reply)) == (feature == "feedback")
    refused = [c for c in rig.slack.calls if c.answer in ("unknown_method", "invalid_blocks")]
    more = rig.ana.say(rig.general, "more", thread=question["ts"])
    await rig.exchange(rig.general, more, "and more")
    again = [c for c in rig.slack.calls if c.answer in ("unknown_method", "invalid_blocks")]
    assert again == refused  # what failed once is remembered


async def test_without_streams_and_markdown_blocks_it_is_mrkdwn(rig: Rig) -> None:
    rig.team.features -= {"stream", "markdown"}
    question = rig.ana.mention(rig.general, "hello")
    request = await rig.asked(0)
    request.write("a **bold** [link](https://x.test/?a=1&b=2) & <@U1> <!here>")
    request.finish()
    reply = await rig.reply(rig.general, question["ts"], "bold")
    assert shown(reply) == (
        "a *bold* <https://x.test/?a=1&amp;b=2|link> &amp; &lt;@U1&gt; &lt;!here&gt;"
    )


async def test_an_expired_stream_ends_as_an_update(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "hello")
    request = await rig.asked(0)
    request.write("The beginning, ")
    await until(lambda: rig.general.thread(question["ts"]))
    rig.slack.expire_streams()
    request.write("the middle ")
    await until(lambda: rig.slack.made("chat.update", "ok"))
    request.write("and the end.")
    request.finish()
    reply = await rig.reply(rig.general, question["ts"], "and the end.")
    assert shown(reply) == "The beginning, the middle and the end."
    assert len(rig.bots(rig.general)) == 1


async def test_a_stream_that_expires_before_its_end_loses_nothing(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "hello")
    request = await rig.asked(0)
    request.write("All of it.")
    await until(lambda: rig.general.thread(question["ts"]))
    rig.slack.expire_streams()
    request.finish()
    reply = await rig.reply(rig.general, question["ts"], "All of it.")
    assert len(rig.bots(rig.general)) == 1
    assert "parley_regenerate" in buttons(reply)


async def test_a_429_on_every_method_delays_and_loses_nothing(rig: Rig) -> None:
    rig.slack.limit_all(retry_after=1)
    question = rig.ana.mention(rig.general, "hello")
    request = await rig.asked(0)
    request.write("Patience ")
    request.write("pays.")
    request.finish()
    await rig.reply(rig.general, question["ts"], "Patience pays.")
    assert rig.slack.made("chat.startStream", "ratelimited")
    assert rig.slack.made("chat.stopStream", "ratelimited")
    assert len(rig.bots(rig.general)) == 1


async def test_updates_never_exceed_their_tier_however_many_stream() -> None:
    async with slack_rig() as rig:
        rig.team.features.discard("stream")
        roots = [rig.ana.mention(rig.general, f"number {n}") for n in range(8)]
        await until(lambda: len(rig.engine.requests) == 8)
        for _ in range(25):
            for request in rig.engine.requests:
                request.write("word ")
            await until(lambda: all(r.items.empty() for r in rig.engine.requests))
        for request in rig.engine.requests:
            request.write("end")
            request.finish()
        for root in roots:
            reply = await rig.reply(rig.general, root["ts"], "word end")
            assert shown(reply).strip() == "word " * 25 + "end"
        assert not rig.slack.made("chat.update", "ratelimited")
        assert 8 <= len(rig.slack.made("chat.update", "ok")) <= 50


# Without markdown blocks a message holds 2,900 characters, and a channel takes one a second.
PARAGRAPHS = 360
LONG = "".join(
    f"Paragraph {n} has a few words in it.\n\n```python\nprint({n})\n```\n\n"
    for n in range(PARAGRAPHS)
)


@pytest.mark.parametrize("features", [set(), {"stream"}, {"stream", "markdown"}])
async def test_a_very_long_reply_comes_whole_and_as_a_file(rig: Rig, features: set[str]) -> None:
    rig.team.features -= features
    rig.slack.stream_at_most = len(LONG) - 1
    question = rig.ana.mention(rig.general, "hello")
    request = await rig.asked(0)
    request.write(LONG)
    request.write("THE END")
    request.finish()
    last = await rig.reply(rig.general, question["ts"], "THE END")
    said = whole(rig, question["ts"])
    for n in range(PARAGRAPHS):
        assert f"print({n})\n" in said
    assert "parley_regenerate" in buttons(last)
    await until(lambda: rig.team.files)
    assert next(iter(rig.team.files.values())).data.decode() == LONG + "THE END"
    for message in rig.general.thread(question["ts"]):
        assert shown(message).count("```") % 2 == 0


async def test_text_that_slack_finds_too_long_is_split_smaller(rig: Rig) -> None:
    rig.team.features.discard("stream")
    rig.slack.fail("chat.postMessage", "msg_too_long")
    rig.slack.fail("chat.postMessage", "msg_blocks_too_long", times=2)
    question = rig.ana.mention(rig.general, "hello")
    request = await rig.asked(0)
    text = "some words. " * 500
    request.write(text)
    request.finish()
    await until(lambda: rig.engine.requests[0].closed)
    await until(lambda: any(buttons(m) for m in rig.bots(rig.general)))
    await until(lambda: "some words." in shown(rig.bots(rig.general)[-1]))
    await until(lambda: "parley_regenerate" in buttons(rig.bots(rig.general)[-1]))
    assert whole(rig, question["ts"]).count("some words.") == 500


async def test_a_full_queue_is_said_and_renewed(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "hello")
    request = await rig.asked(0)
    request.queued(2)
    await until(lambda: "2 ahead" in rig.general.status(question["ts"]))
    request.queued(0)
    await until(lambda: "thinking" in rig.general.status(question["ts"]))
    request.write("here I am")
    await until(lambda: rig.general.thread(question["ts"]))
    assert rig.general.status(question["ts"]) == ""
    request.finish()
    await rig.reply(rig.general, question["ts"], "here I am")


async def test_a_status_is_renewed_until_it_is_cleared(rig: Rig) -> None:
    question = rig.ana.say(rig.general, "hello")
    assert rig.adapter._teams is not None
    team = await rig.adapter._teams.get(rig.team.id)
    status = Status(team, Place(rig.general.id, question["ts"]), renew_s=0.05)
    assert await status.show("is thinking…")
    await until(lambda: len(rig.general.statuses) >= 3)
    await status.clear(is_posted=False)
    assert rig.general.status(question["ts"]) == ""
    count = len(rig.general.statuses)
    await asyncio.sleep(0.2)
    assert len(rig.general.statuses) == count


async def test_where_no_status_can_be_shown_a_message_says_it(rig: Rig) -> None:
    rig.team.features.discard("status")
    question = rig.ana.mention(rig.general, "hello")
    request = await rig.asked(0)
    request.queued(3)
    await until(lambda: "3 ahead of you" in whole(rig, question["ts"]))
    request.write("here I am")
    request.finish()
    reply = await rig.reply(rig.general, question["ts"], "here I am")
    assert shown(reply) == "here I am"
    assert len(rig.bots(rig.general)) == 1


async def test_notes_stand_at_the_foot(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "hello")
    request = await rig.asked(0)
    request.write("as long as I may")
    request.finish("length")
    reply = await rig.reply(rig.general, question["ts"], "as long as I may")
    assert "the maximum length of a reply" in small_print(reply)


async def test_an_engine_that_fails_is_one_sentence_with_a_reference(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "hello")
    request = await rig.asked(0)
    request.write("I was say")
    request.fail(RuntimeError("CUDA out of memory"))
    reply = await rig.reply(rig.general, question["ts"], "reference")
    assert "CUDA" not in shown(reply)
    assert "parley_regenerate" in buttons(reply)
