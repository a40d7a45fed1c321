"""Buttons, edits and deletes, while a reply is being written and after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.servers.discord.rig import Rig, rig
from tests.servers.discord.world import Channel, Message
from tests.support.scripted_engine import Request


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as found:
        yield found
        assert found.discord.rest.unknown == []


async def begun(home: Rig, text: str = "Hello") -> tuple[Message, Channel, Request]:
    """A reply that is being written: its first words stand there, with a Stop button."""
    asked = await home.ask(text)
    request = await home.request(len(home.engine.requests))
    request.write("First words")
    await home.until(lambda: home.thread(asked) is not None)
    thread = home.discord.channels[asked.id]
    await home.reply(thread)
    return asked, thread, request


async def test_the_asker_stops_a_reply_and_keeps_what_there_is(home: Rig) -> None:
    _, thread, request = await begun(home)
    pressed = await home.discord.press(home.ana, thread.of_bot()[0], "Stop")
    post = await home.ended(thread)
    assert post.content == "First words\n-# Stopped."
    assert request.closed
    assert pressed.texts == []


async def test_somebody_else_may_not_stop_it(home: Rig) -> None:
    _, thread, request = await begun(home)
    pressed = await home.discord.press(home.bob, thread.of_bot()[0], "Stop")
    await home.until(lambda: pressed.texts)
    assert pressed.texts == ["Only the person who asked, or an admin, can do that."]
    assert pressed.followups[0].flags & 64  # seen by Bob alone
    assert not request.closed
    request.finish()
    await home.ended(thread)


async def test_a_moderator_may_stop_it(home: Rig) -> None:
    assert home.general.guild is not None
    role = home.general.guild.role("moderators", "manage_messages")
    home.general.guild.members[home.bob.id] = [role.id]
    _, thread, request = await begun(home)
    await home.discord.press(home.bob, thread.of_bot()[0], "Stop")
    await home.until(lambda: request.closed)
    await home.ended(thread)


async def test_regenerate_writes_another_reply_in_the_same_message(home: Rig) -> None:
    _, thread = await home.exchange("Hello", "One.")
    await home.discord.press(home.ana, thread.of_bot()[0], "Regenerate")
    request = await home.request(1)
    request.write("Two.")
    request.finish()
    await home.until(lambda: thread.of_bot()[0].content == "Two.")
    await home.ended(thread)
    assert len(thread.of_bot()) == 1


async def test_a_shorter_second_reply_leaves_no_chunk_behind(home: Rig) -> None:
    _, thread = await home.exchange("Hello", "word " * 900)
    assert len(thread.of_bot()) == 3
    await home.discord.press(home.ana, thread.of_bot()[-1], "Regenerate")
    request = await home.request(1)
    request.write("Short.")
    request.finish()
    await home.until(lambda: [m.content for m in thread.of_bot()] == ["Short."])


async def test_thumbs_are_stored_for_each_person(home: Rig) -> None:
    _, thread = await home.exchange("Hello", "One.")
    for user, label in ((home.ana, "👍"), (home.bob, "👎"), (home.bob, "👍")):
        pressed = await home.discord.press(user, thread.of_bot()[0], label)
        await home.until(lambda pressed=pressed: pressed.texts)
        assert pressed.texts == ["Thanks for the feedback."]
        assert pressed.followups[0].flags & 64


async def test_a_button_that_fails_says_so(home: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    _, thread = await home.exchange("Hello", "One.")
    client = home.adapter._client
    assert client is not None

    async def broken(turn_id: int) -> None:
        raise RuntimeError("secret internals")

    monkeypatch.setattr(client.interactions._queries, "turn", broken)
    pressed = await home.discord.press(home.ana, thread.of_bot()[0], "Regenerate")
    await home.until(lambda: pressed.texts)
    (text,) = pressed.texts
    assert text.startswith("Something went wrong")
    assert "secret" not in text
    assert pressed.followups[0].flags & 64  # seen by Ana alone


async def test_buttons_of_an_earlier_run_work(tmp_path: Path) -> None:
    async with rig(tmp_path) as first:
        _, thread = await first.exchange("Hello", "One.")
        server = first.discord
        await first.service.drain(0)
        await first.adapter.close()
        async with rig(tmp_path, discord=server) as second:
            await server.press(second.ana, thread.of_bot()[0], "Regenerate")
            request = await second.request(0)
            request.write("Two.")
            request.finish()
            await second.until(lambda: thread.of_bot()[0].content == "Two.")


async def test_a_button_with_a_made_up_id_reaches_nothing(home: Rig) -> None:
    _, thread = await home.exchange("Hello", "One.")
    post = thread.of_bot()[0]
    post.components[0]["components"][0]["custom_id"] = "parley:regenerate:999"
    pressed = await home.discord.press(home.ana, post, "Regenerate")
    await home.until(lambda: pressed.texts)
    assert pressed.texts == ["I no longer have that reply."]


async def test_a_button_does_not_reach_into_another_channel(home: Rig) -> None:
    _, thread = await home.exchange("Hello", "One.")
    custom_id = thread.of_bot()[0].button("Regenerate")["custom_id"]
    dm = home.discord.dm(home.ana)
    await home.discord.say(home.ana, dm, "Hello")
    request = await home.request(1)
    request.write("DM.")
    request.finish()
    post = await home.ended(dm)
    post.components[0]["components"][0]["custom_id"] = custom_id
    pressed = await home.discord.press(home.ana, post, "Regenerate")
    await home.until(lambda: pressed.texts)
    assert pressed.texts == ["I no longer have that reply."]


async def test_an_edit_of_the_question_begins_the_reply_again(home: Rig) -> None:
    asked, thread, _ = await begun(home, "What is 2+2?")
    await home.discord.edit(asked, f"{home.discord.bot.mention} What is 3+3?")
    request = await home.request(1)
    assert request.asked.endswith("What is 3+3?")
    request.write("6")
    request.finish()
    post = await home.ended(thread)
    assert post.content == "6"
    assert len(thread.of_bot()) == 1


async def test_an_edit_that_changes_no_text_changes_nothing(home: Rig) -> None:
    asked, thread, request = await begun(home)
    asked.embeds = [{"type": "link", "url": "http://example.com", "title": "Unfurled"}]
    await home.discord.announce("MESSAGE_UPDATE", asked)
    request.write(" and more")
    request.finish()
    post = await home.ended(thread)
    assert post.content == "First words and more"
    assert len(home.engine.requests) == 1


async def test_after_an_edit_regenerate_answers_the_new_text(home: Rig) -> None:
    asked, thread = await home.exchange("What is 2+2?", "4")
    await home.discord.edit(asked, f"{home.discord.bot.mention} What is 3+3?")
    await home.discord.press(home.ana, thread.of_bot()[0], "Regenerate")
    request = await home.request(1)
    assert request.asked.endswith("What is 3+3?")
    request.write("6")
    request.finish()
    await home.until(lambda: thread.of_bot()[0].content == "6")


async def test_deleting_the_question_takes_the_running_reply_back(home: Rig) -> None:
    asked, thread, request = await begun(home)
    await home.discord.remove(asked)
    await home.until(lambda: request.closed)
    await home.until(lambda: thread.of_bot() == [])


async def test_deleting_the_question_later_takes_the_reply_back_and_forgets(home: Rig) -> None:
    asked, thread = await home.exchange("My name is Ana.", "Hello Ana.")
    await home.discord.remove(asked)
    await home.until(lambda: thread.of_bot() == [])
    await home.discord.say(home.ana, thread, f"{home.discord.bot.mention} who am I?")
    request = await home.request(1)
    said = "\n".join(p.text for m in request.messages for p in m.parts)
    assert "My name is Ana." not in said
    assert "Hello Ana." not in said


async def test_a_reply_that_a_moderator_deletes_while_it_is_written_stays_deleted(
    home: Rig,
) -> None:
    _, thread, request = await begun(home)
    await home.discord.remove(thread.of_bot()[0])
    request.write(" and more")
    request.finish()
    await home.until(lambda: request.closed)
    await home.discord.say(home.ana, thread, "Another question")
    another = await home.request(1)
    another.write("Another answer")
    another.finish()
    await home.ended(thread)
    assert [post.content for post in thread.of_bot()] == ["Another answer"]


@pytest.mark.parametrize("retry_s", [0.0, 300.0])
async def test_an_old_reply_that_takes_no_more_edits_is_posted_anew(
    home: Rig, monkeypatch: pytest.MonkeyPatch, retry_s: float
) -> None:
    """Error 30046, whether discord.py gives up on it or would wait for minutes."""
    monkeypatch.setattr("bot.platforms.discord.sink.OLD_EDIT_WITHIN_S", 0.5 if retry_s else 20.0)
    _, thread = await home.exchange("Hello", "word " * 450)
    old = list(thread.of_bot())
    assert len(old) == 2
    home.discord.clock_ahead_s = 2 * 3600.0
    limits = home.discord.limits
    limits.old_edits, limits.old_retry_s = 1, retry_s
    await home.discord.press(home.ana, old[-1], "Regenerate")
    request = await home.request(1)
    request.write("Another ")
    await home.until(lambda: limits.old_edits == 0)
    request.write("answer.")
    request.finish()
    await home.until(lambda: [m.content for m in thread.of_bot()] == ["Another answer."])
    (post,) = thread.of_bot()
    assert post not in old
    await home.until(lambda: post.labels == ["Regenerate", "👍", "👎"])


async def test_an_old_reply_is_edited_sparingly(home: Rig) -> None:
    _, thread = await home.exchange("Hello", "One.")
    (old,) = thread.of_bot()
    home.discord.clock_ahead_s = 2 * 3600.0
    home.discord.limits.old_edits = 2  # the first sign of life and the last words
    await home.discord.press(home.ana, old, "Regenerate")
    request = await home.request(1)
    for number in range(10):
        request.write(f"{number} ")
        await asyncio.sleep(0.1)
    request.finish()
    await home.until(lambda: old.content == "0 1 2 3 4 5 6 7 8 9")
    assert thread.of_bot() == [old]
