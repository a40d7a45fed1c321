"""A conversation on Discord: from the mention to the thread, the reply and what follows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core.gate import Mode
from bot.core.service_settings import ServiceSettings
from tests.servers.discord.rig import Rig, rig
from tests.servers.discord.world import FORUM, PUBLIC_THREAD, VOICE, Channel, Message
from tests.support.scripted_engine import prompt_text
from tests.support.waiting import settle


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as found:
        yield found
        assert found.discord.rest.unknown == []


async def test_a_mention_is_answered_in_a_thread_of_its_own(home: Rig) -> None:
    asked = await home.ask("Why is the **sky** blue?\nTell me all.")
    request = await home.request(0)
    assert request.asked.endswith("Why is the **sky** blue?\nTell me all.")
    assert "<@" not in request.asked
    request.write("Because of ")
    await home.until(lambda: home.thread(asked) is not None)
    thread = home.discord.channels[asked.id]
    assert thread.name == "Why is the sky blue?"
    post = await home.reply(thread)
    assert post.labels == ["Stop"]
    request.write("Rayleigh.")
    request.finish()
    post = await home.ended(thread)
    assert post.content == "Because of Rayleigh."
    assert post.labels == ["Regenerate", "👍", "👎"]
    assert thread.typing >= 1
    assert home.general.of_bot() == []
    assert post.allowed_mentions == {
        "parse": [],
        "users": [home.ana.id],
        "replied_user": True,
    }


async def test_a_follow_up_needs_no_mention_and_the_reply_remembers(home: Rig) -> None:
    _, thread = await home.exchange("My name is Ana.", "Hello Ana.")
    await home.discord.say(home.ana, thread, "What is my name?")
    request = await home.request(1)
    assert "My name is Ana." in "".join(p.text for m in request.messages for p in m.parts)
    request.write("Ana.")
    request.finish()
    await home.until(lambda: len(thread.of_bot()) == 2 and thread.last.content == "Ana.")


async def test_others_in_the_thread_are_left_alone(home: Rig) -> None:
    _, thread = await home.exchange("Hello", "Hi")
    await home.discord.say(home.ana, thread, f"{home.bob.mention} what do you think?")
    theirs = await home.discord.say(home.bob, thread, f"{home.ana.mention} I agree")
    await home.discord.say(home.ana, thread, "Good.", reply_to=theirs)
    await home.discord.say(home.ana, thread, "And you, Parley?")
    request = await home.request(1)
    assert request.asked.endswith("And you, Parley?")
    assert len(home.engine.requests) == 2


async def test_everyone_and_bots_and_the_unaddressed_are_ignored(home: Rig) -> None:
    robot = home.discord.user("Robot", bot=True)
    await home.discord.say(home.ana, home.general, "@everyone lunch!")
    await home.discord.say(home.ana, home.general, "hello all")
    await home.discord.say(robot, home.general, f"{home.discord.bot.mention} hello")
    await home.discord.say(
        home.ana, home.general, f"`{home.discord.bot.mention}` is how you call it"
    )
    await home.ask("Now!")
    await home.request(0)
    assert len(home.engine.requests) == 1


async def test_a_role_of_the_bots_is_a_mention(home: Rig) -> None:
    guild = home.general.guild
    assert guild is not None
    role = guild.role("helpers")
    guild.members[home.discord.bot.id] = [role.id]
    await home.discord.gateway.dispatch(
        "GUILD_ROLE_CREATE",
        lambda _: {"guild_id": str(guild.id), "role": role.payload()},
        guild.id,
    )
    await home.discord.gateway.dispatch(
        "GUILD_MEMBER_UPDATE",
        lambda _: {"guild_id": str(guild.id), **guild.member(home.discord.bot)},
        guild.id,
    )
    await home.discord.say(home.ana, home.general, f"<@&{role.id}> help me")
    request = await home.request(0)
    assert request.asked.endswith("help me")
    assert "helpers" not in request.asked


async def test_a_dm_is_answered_where_it_is(home: Rig) -> None:
    dm = home.discord.dm(home.ana)
    await home.discord.say(home.ana, dm, "Hello")
    request = await home.request(0)
    request.write("Hi!")
    request.finish()
    post = await home.ended(dm)
    assert post.content == "Hi!"
    assert post.reference is None


async def test_inline_replies_refer_to_the_question(tmp_path: Path) -> None:
    async with rig(tmp_path, settings=ServiceSettings(inline=True), auto="Inline.") as home:
        asked = await home.ask("Hello")
        post = await home.ended(home.general)
        assert (post.content, post.reference) == ("Inline.", asked)
        assert home.thread(asked) is None


async def test_strict_wants_a_mention_in_threads_too(tmp_path: Path) -> None:
    async with rig(tmp_path, settings=ServiceSettings(mode=Mode.STRICT), auto="Yes.") as home:
        _, thread = await home.exchange("Hello", "")
        await home.discord.say(home.ana, thread, "and again")
        await home.discord.say(home.ana, thread, f"{home.discord.bot.mention} and now?")
        await home.request(1)
        assert home.engine.requests[1].asked.endswith("and now?")


async def test_a_thread_that_exists_already_is_used(home: Rig) -> None:
    asked = Message(home.general, home.ana, f"{home.discord.bot.mention} hello")
    home.general.messages[asked.id] = asked
    # Somebody is quicker: the thread is there, but this session has not been told.
    thread = Channel(
        PUBLIC_THREAD, home.general.guild, "theirs", home.general, home.bob, id=asked.id
    )
    assert home.general.guild is not None
    await home.discord.announce("MESSAGE_CREATE", asked)
    request = await home.request(0)
    home.discord.channels[thread.id] = home.general.guild.channels[thread.id] = thread
    request.write("Here.")
    request.finish()
    assert (await home.ended(home.discord.channels[asked.id])).content == "Here."


async def test_without_the_right_to_threads_it_replies_in_the_channel_and_says_why(
    home: Rig,
) -> None:
    await home.discord.deny(home.general, "create_public_threads")
    asked = await home.ask("Hello")
    request = await home.request(0)
    request.write("Hi.")
    request.finish()
    post = await home.ended(home.general)
    assert post.reference is asked
    assert post.content.startswith("Hi.\n-# I'm answering here because I can't open a thread")


async def test_in_a_thread_where_it_may_not_write_it_answers_in_the_channel(home: Rig) -> None:
    _, thread = await home.exchange("My name is Ana.", "Hello Ana.")
    await home.discord.deny(home.general, "send_messages_in_threads")
    await home.discord.say(home.ana, thread, "Who am I?")
    request = await home.request(1)
    request.write("Ana.")
    request.finish()
    post = await home.ended(home.general)
    assert post.content.startswith("Ana.\n-# I'm answering here because I can't")
    await home.put_down(post)
    assert len(thread.of_bot()) == 1
    await home.discord.say(home.ana, home.general, "Really?", reply_to=post)
    assert "My name is Ana." in prompt_text((await home.request(2)).messages)


async def test_where_it_may_not_write_it_tells_the_asker_in_a_dm(home: Rig) -> None:
    await home.discord.deny(home.general, "send_messages", "create_public_threads")
    await home.ask("Hello")
    dm = home.discord.dm(home.ana)
    post = await home.reply(dm)
    assert "don't have permission to send messages" in post.content
    assert home.general.of_bot() == []


async def test_a_forum_post_is_a_thread(home: Rig) -> None:
    assert home.general.guild is not None
    forum = home.discord.channel(home.general.guild, "forum", FORUM)
    await home.discord.gateway.dispatch(
        "CHANNEL_CREATE", lambda _: forum.payload(home.discord.bot), home.general.guild.id
    )
    post = Channel(PUBLIC_THREAD, home.general.guild, "a post", forum, home.ana)
    home.discord.channels[post.id] = home.general.guild.channels[post.id] = post
    await home.discord.gateway.dispatch(
        "THREAD_CREATE", lambda _: post.payload(home.discord.bot), home.general.guild.id
    )
    await home.discord.say(home.bob, post, "I wonder about whales.", id=post.id)
    await home.discord.say(home.ana, post, f"{home.discord.bot.mention} do you know?")
    request = await home.request(0)
    said = "".join(p.text for m in request.messages for p in m.parts)
    assert "I wonder about whales." in said
    request.write("Whales sing.")
    request.finish()
    assert (await home.ended(post)).content == "Whales sing."


async def test_a_voice_channels_chat_gets_a_reply(home: Rig) -> None:
    assert home.general.guild is not None
    voice = home.discord.channel(home.general.guild, "voice", VOICE)
    await home.discord.gateway.dispatch(
        "CHANNEL_CREATE", lambda _: voice.payload(home.discord.bot), home.general.guild.id
    )
    asked = await home.discord.say(home.ana, voice, f"{home.discord.bot.mention} hello")
    request = await home.request(0)
    request.write("Hi.")
    request.finish()
    post = await home.ended(voice)
    assert (post.content, post.reference) == ("Hi.", asked)


async def test_it_reads_the_thread_that_it_is_called_into(home: Rig) -> None:
    starter = await home.discord.say(home.bob, home.general, "Bananas are berries.")
    thread = await home.discord.open_thread(starter, "fruit", home.bob)
    await home.discord.say(home.bob, thread, "Strawberries are not.")
    await home.discord.say(
        home.bob, thread, "", embeds=[{"type": "rich", "title": "Kiwi", "description": "A berry."}]
    )
    await home.discord.say(home.ana, thread, f"{home.discord.bot.mention} is that so?")
    request = await home.request(0)
    said = "\n".join(p.text for m in request.messages for p in m.parts)
    for text in ("Bananas are berries.", "Strawberries are not.", "Kiwi", "A berry."):
        assert text in said
    assert said.index("Bananas") < said.index("Strawberries") < said.index("is that so?")


async def test_it_reads_the_chain_of_replies_that_it_is_called_into(home: Rig) -> None:
    first = await home.discord.say(home.bob, home.general, "The moon is made of cheese.")
    second = await home.discord.say(home.ana, home.general, "Which cheese?", reply_to=first)
    await home.discord.say(
        home.bob, home.general, f"{home.discord.bot.mention} you say", reply_to=second
    )
    request = await home.request(0)
    said = "\n".join(p.text for m in request.messages for p in m.parts)
    assert said.index("made of cheese") < said.index("Which cheese?") < said.index("you say")


async def test_what_was_forgotten_is_not_read_again(home: Rig) -> None:
    _, thread = await home.exchange("The secret is 42.", "I see.")
    await home.discord.slash(home.ana, thread, "reset")
    await home.until(lambda: "I've forgotten" in thread.last.content)
    await home.discord.say(home.ana, thread, f"{home.discord.bot.mention} what is the secret?")
    request = await home.request(1)
    assert "42" not in "\n".join(p.text for m in request.messages for p in m.parts)


async def test_pictures_of_all_kinds_reach_the_model(home: Rig) -> None:
    embedded = home.discord.upload("e.png", b"embedded", "image/png")
    await home.ask(
        "look",
        files=(("a.png", b"first"), ("b.png", b"second")),
        embeds=[
            {
                "type": "image",
                "url": "http://example.com/e.png",
                "thumbnail": {"url": "http://example.com/e.png", "proxy_url": embedded["url"]},
            }
        ],
        snapshots=[
            {
                "type": 0,
                "content": "forwarded words",
                "embeds": [],
                "attachments": [home.discord.upload("c.png", b"third", "image/png")],
                "timestamp": "2026-01-01T00:00:00+00:00",
                "edited_timestamp": None,
                "flags": 0,
                "mentions": [],
                "mention_roles": [],
            }
        ],
    )
    request = await home.request(0)
    pictures = [p for m in request.messages for p in m.parts if hasattr(p, "digest")]
    assert {p.data for p in pictures} == {b"first", b"second", b"third", b"embedded"}
    assert "forwarded words" in request.asked


async def test_a_linked_picture_is_taken_from_discords_preview(home: Rig) -> None:
    proxied = home.discord.upload("p.png", b"preview", "image/png")
    asked = await home.ask("what is http://example.com/p.png ?")
    link = "http://example.com/p.png"
    asked.embeds = [
        {"type": "image", "url": link, "thumbnail": {"url": link, "proxy_url": proxied["url"]}}
    ]
    await home.discord.announce("MESSAGE_UPDATE", asked)
    request = await home.request(0)
    assert [p.data for m in request.messages for p in m.parts if hasattr(p, "digest")] == [
        b"preview"
    ]
    await settle()
    assert len(home.engine.requests) == 1  # the preview is no edit of the question


async def test_a_long_reply_is_split_with_the_buttons_on_the_last(home: Rig) -> None:
    text = "```python\n" + "print('hello world')\n" * 200 + "```\nDone."
    _, thread = await home.exchange("Write much", text)
    posts = thread.of_bot()
    assert len(posts) == 3
    assert [post.labels for post in posts] == [[], [], ["Regenerate", "👍", "👎"]]
    for post in posts:
        assert len(post.content) <= 2000
        assert post.content.count("```") == 2
    assert posts[-1].content.endswith("Done.")
    assert posts[0].attachments == []


async def test_a_very_long_reply_comes_as_a_file_too(home: Rig) -> None:
    text = "\n\n".join(f"Paragraph {number}: {'word ' * 60}" for number in range(80))
    _, thread = await home.exchange("Write a book", text)
    posts = thread.of_bot()
    assert len(posts) == 10
    (file,) = posts[-1].attachments
    assert file["filename"] == "reply.md"
    path = file["url"].partition("/cdn/")[2].partition("?")[0]
    assert home.discord.files[path][0].decode() == text
    assert "The rest is in the file." in posts[-1].content


async def test_it_says_how_many_are_ahead(home: Rig) -> None:
    asked = await home.ask("Hello")
    request = await home.request(0)
    request.queued(2)
    await home.until(lambda: home.thread(asked) is not None)
    post = await home.reply(home.discord.channels[asked.id])
    assert post.content == "⏳ 2 ahead of you"
    assert post.labels == ["Stop"]
    request.write("Now.")
    request.finish()
    assert (await home.ended(home.discord.channels[asked.id])).content == "Now."
    assert len(home.discord.channels[asked.id].of_bot()) == 1


async def test_a_failure_is_one_sentence_with_a_reference(home: Rig) -> None:
    asked = await home.ask("Hello")
    request = await home.request(0)
    request.fail(RuntimeError("secret detail"))
    await home.until(lambda: home.thread(asked) is not None)
    post = await home.ended(home.discord.channels[asked.id])
    assert "reference" in post.content
    assert "secret detail" not in post.content


async def test_a_typed_command_is_answered_in_place(home: Rig) -> None:
    asked = await home.ask("/persona show")
    post = await home.reply(home.general)
    assert post.reference is asked
    assert "built-in persona" in post.content
    assert home.engine.requests == []
