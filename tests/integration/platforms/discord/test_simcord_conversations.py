"""Talking on simcord, a Discord in process that is not ours: buttons, edits, deletes, splits."""

from __future__ import annotations

import pytest

from tests.support.simcord_home import a_home
from tests.support.waiting import until


def custom_id(post: object, number: int) -> str:
    return str(post.components[0].children[number].custom_id)  # type: ignore[attr-defined]


async def test_a_mention_opens_a_thread_with_the_answer() -> None:
    async with a_home() as home:
        await home.ask("Why?")
        assert home.thread().name == "Why?"
        assert home.texts(home.thread()) == ["An answer."]
        await home.ana.send(home.thread(), "And why that?")
        await home.env.settle()
        assert home.texts(home.thread()) == ["An answer.", "An answer."]


async def test_a_dm() -> None:
    async with a_home() as home:
        await home.ana.send_dm("Hello")
        await home.env.settle()
        (request,) = home.core.engine.requests
        assert request.asked.endswith("Hello")


# Buttons


@pytest.mark.parametrize("who", ["ana", "mo", "olga"])
async def test_stop_is_for_the_asker_and_moderators(who: str) -> None:
    async with a_home(running=True) as home:
        request = await home.begin()
        post = home.thread().last_message
        refused = await home.bob.click(post, label="Stop")
        assert "Only the person who asked" in refused.followups[0].content
        assert refused.followups[0].ephemeral
        assert not request.closed
        await getattr(home, who).click(post, label="Stop")
        await until(lambda: request.closed)
        await until(lambda: home.thread().last_message.components[0].children[0].label != "Stop")
        assert home.texts(home.thread()) == ["First words\n-# Stopped."]


@pytest.mark.parametrize("who", ["ana", "mo", "olga"])
async def test_regenerate_is_for_the_asker_and_moderators(who: str) -> None:
    async with a_home() as home:
        await home.ask()
        post = home.thread().last_message
        refused = await home.bob.click(post, label="Regenerate")
        assert "Only the person who asked" in refused.followups[0].content
        assert refused.followups[0].ephemeral
        home.core.engine.auto = "Another answer."
        await getattr(home, who).click(post, label="Regenerate")
        await home.env.settle()
        assert home.texts(home.thread()) == ["Another answer."]


@pytest.mark.parametrize(("number", "rating"), [(1, "good"), (2, "bad")])
async def test_anybody_may_rate(number: int, rating: str) -> None:
    async with a_home() as home:
        await home.ask()
        post = home.thread().last_message
        rated = await home.bob.click(post, custom_id=custom_id(post, number))
        assert [m.content for m in rated.followups] == ["Thanks for the feedback."]
        assert rated.followups[0].ephemeral
        assert list(home.core.store.ratings.values()) == [rating]


# Edits and deletes of the question


async def test_an_edit_begins_a_running_reply_again() -> None:
    async with a_home(running=True) as home:
        await home.begin("What is 2+2?")
        home.core.engine.auto = "6"
        await home.ana.edit(home.question, f"{home.call} What is 3+3?")
        await until(lambda: home.texts(home.thread()) == ["6"])
        assert home.core.engine.requests[-1].asked.endswith("What is 3+3?")


async def test_after_an_edit_regenerate_answers_the_new_text() -> None:
    async with a_home() as home:
        message = await home.ask("What is 2+2?")
        await home.ana.edit(message, f"{home.call} What is 3+3?")
        await home.env.settle()
        assert len(home.core.engine.requests) == 1
        await home.ana.click(home.thread().last_message, label="Regenerate")
        await home.env.settle()
        assert home.core.engine.requests[-1].asked.endswith("What is 3+3?")


async def test_an_edit_that_adds_the_mention_asks() -> None:
    async with a_home() as home:
        message = await home.ana.send(home.channel, "Why?")
        await home.env.settle()
        assert home.core.engine.requests == []
        for text in ("Why?", "Why, indeed?"):
            await home.ana.edit(message, f"{home.call} {text}")
            await home.env.settle()
        assert len(home.core.engine.requests) == 1
        assert home.texts(home.thread()) == ["An answer."]


async def test_deleting_the_question_takes_a_running_reply_back() -> None:
    async with a_home(running=True) as home:
        request = await home.begin()
        await home.ana.delete(home.question)
        await until(lambda: request.closed)
        await until(lambda: home.texts(home.thread()) == [])


async def test_deleting_the_question_takes_the_reply_back() -> None:
    async with a_home() as home:
        message = await home.ask()
        await home.ana.delete(message)
        await home.env.settle()
        assert home.texts(home.thread()) == []
        assert home.core.store.turns == {}


# Splits


@pytest.mark.parametrize(
    ("answer", "count", "has_file"),
    [
        ("word " * 100, 1, False),
        ("```\n" + "line\n" * 900 + "```", 3, False),
        ("\n\n".join(f"Paragraph {n}: {'word ' * 60}" for n in range(12)), 2, False),
        ("😀" * 1500, 2, False),  # Discord counts each as two
        ("word " * 2000, 5, True),
        ("word " * 9000, 10, True),
    ],
    ids=["short", "code", "paragraphs", "emoji", "long", "very long"],
)
async def test_a_long_answer_is_split(answer: str, count: int, has_file: bool) -> None:
    async with a_home() as home:
        home.core.engine.auto = answer
        await home.ask()
        posts = [m for m in home.thread().history() if m.author == home.env.bot.user]
        assert len(posts) == count
        for post in posts:
            assert len(post.content.encode("utf-16-le")) // 2 <= 2000
            assert post.content.count("```") % 2 == 0
        with_buttons = [bool(post.components) for post in posts]
        assert with_buttons == [False] * (count - 1) + [True]
        files = [attachment.filename for post in posts for attachment in post.attachments]
        assert files == (["reply.md"] if has_file else [])
        assert len(posts[-1].attachments) == has_file


# Permissions of the bot's own


async def test_without_the_right_to_open_threads_replies_are_inline_and_go_on() -> None:
    async with a_home(create_public_threads=False) as home:
        await home.ask("My name is Ana.")
        (text,) = home.texts(home.channel)
        assert text.startswith("An answer.\n-# I'm answering here because I can't open a thread")
        await home.ana.send(home.channel, "Who am I?", reply_to=home.channel.last_message)
        await home.env.settle()
        first, second = home.core.engine.requests
        assert second.conversation == first.conversation
        assert home.texts(home.channel)[1] == "An answer."
