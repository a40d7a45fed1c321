"""How replies end: streamed or whole, with notes, with an error; also after a crash."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from bot.core import texts
from bot.platforms.shared.reply_ending import NO_ANSWER, STOPPED
from tests.contract.harness import Ability, Harness, needs


async def nothing_is_posted_before_the_reply_is_whole(chat: Harness) -> None:
    question, request = await chat.being_answered("Why is the sky blue?", "Because of ")
    assert chat.posts(question) == []
    assert await chat.answer_on(question, request, "Rayleigh.") == ["Because of Rayleigh."]


@needs(Ability.STREAMING, otherwise=nothing_is_posted_before_the_reply_is_whole)
async def test_a_reply_is_seen_while_it_is_written(chat: Harness) -> None:
    question = await chat.ask("Why is the sky blue?")
    request = await chat.request(0)
    request.write("Because of ")
    await chat.until(lambda: "Because of" in "".join(chat.posts(question)), "the first words")
    assert await chat.answer_on(question, request, "Rayleigh.") == ["Because of Rayleigh."]


async def test_a_note_stands_below_the_reply(chat: Harness) -> None:
    question = await chat.ask("Write a book.")
    request = await chat.request(0)
    request.write("Once upon a time")
    request.finish("length")
    text = "\n".join(await chat.ended(question))
    assert text.index("Once upon a time") < text.index(texts.AT_LENGTH)


async def test_an_answer_without_words_is_said_to_be_none(chat: Harness) -> None:
    question = await chat.ask("Hello?")
    request = await chat.request(0)
    request.finish()
    assert NO_ANSWER in "\n".join(await chat.ended(question))


async def test_a_reply_that_was_stopped_says_so(chat: Harness) -> None:
    question, _ = await chat.being_answered("Count to a million.", "One, two, three, ")
    await chat.stop_reply(question)
    text = "\n".join(await chat.ended(question))
    assert text.index("One, two, three,") < text.rindex(STOPPED)


async def test_a_failure_is_one_sentence_with_a_reference(
    chat: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL, logger="bot.core"):
        question = await chat.ask("Hello?")
        request = await chat.request(0)
        request.fail(RuntimeError("secret internals"))
        text = "\n".join(await chat.ended(question))
    assert re.search(r"reference [0-9a-f]{8}", text)
    assert "secret internals" not in text


async def test_a_crash_in_mid_reply_ends_in_exactly_one_whole_reply(chat: Harness) -> None:
    question, _ = await chat.being_answered("Tell me a story.", "Once upon a time there ")
    await chat.crash()
    await chat.restart()
    again = await chat.request(0)
    assert again.asked.endswith("Tell me a story.")
    text = "\n".join(await chat.answer(question, "There was a whole story."))
    assert text.count("There was a whole story.") == 1
    assert "Once upon" not in text


async def test_a_crash_before_the_end_is_stored_makes_no_second_reply(chat: Harness) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    question = await chat.ask("Tell me a story.")
    request = await chat.request(0)
    chat.core.store.save_reply = never  # type: ignore[method-assign]
    request.write("A whole story.")
    request.finish()
    await chat.until(lambda: "A whole story." in "".join(chat.posts(question)), "the story")
    await chat.until(lambda: request.closed, "the end of the request")
    await chat.crash()
    await chat.restart()
    text = "\n".join(await chat.answer(question, "A whole story."))
    assert text.count("A whole story.") == 1


async def what_was_said_to_a_stopped_bot_is_asked_again(chat: Harness) -> None:
    question = await chat.ask("Remember: 42.")
    await chat.answer(question, "I will.")
    await chat.crash()
    await chat.restart()
    again = await chat.ask("Are you back?")
    assert (await chat.answer(again, "I am."))[-1] == "I am."


@needs(Ability.CATCH_UP, otherwise=what_was_said_to_a_stopped_bot_is_asked_again)
async def test_what_was_said_to_a_stopped_bot_is_answered_when_it_is_back(chat: Harness) -> None:
    first = await chat.ask("Hello?")
    await chat.answer(first, "Hello.")
    await chat.crash()
    missed = await chat.say_unheard("Where are you?")
    await chat.restart()
    request = await chat.request(0)
    assert request.asked.endswith("Where are you?")
    assert await chat.answer(missed, "Here again.") == ["Here again."]
