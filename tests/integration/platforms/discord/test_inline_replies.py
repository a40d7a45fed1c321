"""Conversations without a thread: inline replies that people reply to, and questions by edit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core.service_settings import ServiceSettings
from bot.storage.models import utcnow
from tests.servers.discord.rig import Rig, rig
from tests.servers.discord.world import Message, snowflake
from tests.support.scripted_engine import Request, prompt_text


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Rig]:
    """A channel in which no thread can be opened."""
    async with rig(tmp_path) as found:
        await found.discord.deny(found.general, "create_public_threads")
        yield found
        assert found.discord.rest.unknown == []


async def answered(home: Rig, number: int, answer: str) -> tuple[Request, Message]:
    """The engine's request of this number, answered in the channel."""
    request = await home.request(number)
    request.write(answer)
    request.finish()
    await home.until(lambda: len(home.general.of_bot()) > number)
    await home.until(lambda: "Regenerate" in home.general.of_bot()[number].labels)
    post = home.general.of_bot()[number]
    await home.put_down(post)
    return request, post


async def test_a_reply_to_an_inline_answer_goes_on_with_its_conversation(home: Rig) -> None:
    first = await home.ask("My name is Ana.")
    _, post = await answered(home, 0, "Hello Ana.")
    assert post.reference is first
    follow_up = await home.discord.say(home.ana, home.general, "What is my name?", reply_to=post)
    request, second = await answered(home, 1, "Ana.")
    assert "My name is Ana." in prompt_text(request.messages)
    assert request.conversation == home.engine.requests[0].conversation
    assert second.reference is follow_up
    assert "can't open a thread" not in second.content  # said once
    await home.discord.say(home.bob, home.general, "And mine?", reply_to=second)
    request, _ = await answered(home, 2, "I don't know.")
    assert request.conversation == home.engine.requests[0].conversation
    assert "My name is Ana." in prompt_text(request.messages)


async def test_a_mention_of_its_own_begins_another_conversation(home: Rig) -> None:
    await home.ask("My name is Ana.")
    await answered(home, 0, "Hello Ana.")
    await home.ask("What is my name?", author=home.bob)
    request, _ = await answered(home, 1, "I don't know.")
    assert "My name is Ana." not in prompt_text(request.messages)


async def test_two_at_once_do_not_wait_for_each_other(home: Rig) -> None:
    await home.ask("One")
    await home.ask("Two", author=home.bob)
    _, later = await home.request(0), await home.request(1)
    later.write("Second.")
    later.finish()
    await home.until(lambda: any(m.content == "Second." for m in home.general.of_bot()))


async def test_it_goes_on_after_a_restart(home: Rig, tmp_path: Path) -> None:
    await home.ask("My name is Ana.")
    _, post = await answered(home, 0, "Hello Ana.")
    await home.service.drain(0)
    await home.adapter.close()
    async with rig(tmp_path, discord=home.discord) as second:
        await second.discord.say(second.ana, second.general, "Who am I?", reply_to=post)
        request = await second.request(0)
        assert "My name is Ana." in prompt_text(request.messages)


async def test_once_a_thread_can_be_opened_what_began_without_goes_on_without(home: Rig) -> None:
    await home.ask("My name is Ana.")
    _, post = await answered(home, 0, "Hello Ana.")
    await home.discord.deny(home.general)
    follow_up = await home.discord.say(home.ana, home.general, "Who am I?", reply_to=post)
    _, second = await answered(home, 1, "Ana.")
    assert second.reference is follow_up
    another = await home.ask("Something else")
    (await home.request(2)).finish()
    await home.until(lambda: home.thread(another) is not None)


async def test_a_command_typed_in_reply_means_that_conversation(home: Rig) -> None:
    await home.ask("My name is Ana.")
    _, post = await answered(home, 0, "Hello Ana.")
    await home.discord.say(
        home.ana, home.general, f"{home.discord.bot.mention} /reset", reply_to=post
    )
    await home.until(lambda: "I've forgotten" in home.general.last.content)
    assert await home.store.turn(1) is None


async def test_a_reply_to_an_old_answer_does_not_bring_back_what_was_forgotten(home: Rig) -> None:
    await home.ask("The secret is 42.")
    _, post = await answered(home, 0, "I see.")
    await home.discord.say(
        home.ana, home.general, f"{home.discord.bot.mention} /reset", reply_to=post
    )
    await home.until(lambda: home.general.last.author.bot)
    await home.discord.say(
        home.ana, home.general, f"{home.discord.bot.mention} what is it?", reply_to=post
    )
    request = await home.request(1)
    assert prompt_text(request.messages).endswith("what is it?")
    assert "42" not in prompt_text(request.messages)


async def test_where_replies_are_inline_a_reply_goes_on_too(tmp_path: Path) -> None:
    async with rig(tmp_path, settings=ServiceSettings(inline=True)) as home:
        await home.ask("My name is Ana.")
        _, post = await answered(home, 0, "Hello Ana.")
        await home.discord.say(home.ana, home.general, "Who am I?", reply_to=post)
        request, second = await answered(home, 1, "Ana.")
        assert "My name is Ana." in prompt_text(request.messages)
        assert second.labels == ["Regenerate", "👍", "👎"]


async def test_a_reply_to_the_answer_of_a_command_goes_on_with_it(home: Rig) -> None:
    asked = await home.discord.slash(home.bob, home.general, "ask", question="I am Bob.")
    first = await home.request(0)
    first.write("Hello Bob.")
    first.finish()
    await home.until(lambda: asked.original and "Regenerate" in asked.original.labels)
    assert asked.original is not None
    await home.put_down(asked.original)
    question = await home.discord.say(home.bob, home.general, "Who am I?", reply_to=asked.original)
    request, post = await answered(home, 1, "Bob.")
    assert "I am Bob." in prompt_text(request.messages)
    assert post.reference is question
    assert asked.original.content == "Hello Bob."  # it stands as it was
    await home.discord.press(home.bob, post, "Regenerate")
    another = await home.request(2)
    another.write("You are Bob.")
    another.finish()
    await home.until(lambda: post.content == "You are Bob.")
    assert asked.original.content == "Hello Bob."


# Questions by edit


async def test_an_edit_that_adds_a_mention_asks_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as home:
        call = home.discord.bot.mention
        message = await home.discord.say(home.ana, home.general, "why is the sky blue?")
        await home.exchange("The first", "Yes.")  # by now the message was seen as it was
        await home.discord.edit(message, "why is the sky so blue?")
        await home.discord.edit(message, f"{call} why is the sky blue?")
        request = await home.request(1)
        assert request.asked.endswith("why is the sky blue?")
        request.write("Because.")
        request.finish()
        await home.until(lambda: home.thread(message) is not None)
        await home.ended(home.discord.channels[message.id])
        await home.discord.edit(message, f"{call} why is the sky green?")  # an edit as ever
        await home.exchange("Another", "Yes.")
        assert len(home.engine.requests) == 3
        assert len(home.discord.channels[message.id].of_bot()) == 1


async def test_what_was_forgotten_is_not_asked_again_by_an_edit(tmp_path: Path) -> None:
    async with rig(tmp_path) as home:
        asked, thread = await home.exchange("The secret is 42.", "I see.")
        await home.discord.slash(home.ana, thread, "reset")
        await home.until(lambda: "I've forgotten" in thread.last.content)
        await home.discord.edit(asked, f"{home.discord.bot.mention} The secret was 42.")
        await home.exchange("Another", "Yes.")
        assert len(home.engine.requests) == 2


async def test_an_old_message_is_not_made_a_question(tmp_path: Path) -> None:
    async with rig(tmp_path) as home:
        an_hour_ago = snowflake(utcnow().timestamp() - 3600)
        message = await home.discord.say(home.ana, home.general, "why?", id=an_hour_ago)
        await home.exchange("The first", "Yes.")  # by now the message was seen as it was
        await home.discord.edit(message, f"{home.discord.bot.mention} why?")
        await home.exchange("Another", "Yes.")
        assert len(home.engine.requests) == 2


async def test_an_edit_right_after_the_question_is_the_question(tmp_path: Path) -> None:
    async with rig(tmp_path, auto="Yes.") as home:
        call = home.discord.bot.mention
        message = await home.discord.say(home.ana, home.general, f"{call} what is 2+2?")
        await home.discord.edit(message, f"{call} what is 3+3?")
        await home.until(
            lambda: any(r.asked.endswith("what is 3+3?") for r in home.engine.requests)
        )
        await home.until(lambda: home.thread(message) is not None)
        thread = home.discord.channels[message.id]
        await home.ended(thread)
        assert len(thread.of_bot()) == 1
