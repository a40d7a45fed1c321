"""A conversation: from the question to the whole reply, and what follows."""

from __future__ import annotations

from tests.contract.harness import Ability, Harness, needs
from tests.support.pictures import encoded, plain
from tests.support.scripted_engine import prompt_text


async def test_a_question_is_answered(chat: Harness) -> None:
    question = await chat.ask("Why is the sky blue?")
    request = await chat.request(0)
    assert request.asked.endswith("Why is the sky blue?")
    request.write("Because of ")
    request.write("Rayleigh.")
    request.finish()
    assert await chat.ended(question) == ["Because of Rayleigh."]


async def a_follow_up_is_addressed_like_the_first_question(chat: Harness) -> None:
    first = await chat.ask("My name is Ana.")
    await chat.answer(first, "Hello Ana.")
    await chat.ask("What is my name?")
    request = await chat.request(1)
    assert "My name is Ana." in prompt_text(request.messages)
    request.write("It is Ana.")
    request.finish()
    assert await chat.ended(first) == ["Hello Ana.", "It is Ana."]


@needs(Ability.THREADS, otherwise=a_follow_up_is_addressed_like_the_first_question)
async def test_a_follow_up_in_the_thread_needs_no_mention(chat: Harness) -> None:
    first = await chat.ask("My name is Ana.")
    await chat.answer(first, "Hello Ana.")
    await chat.say("What is my name?", after=first)
    request = await chat.request(1)
    assert "My name is Ana." in prompt_text(request.messages)
    request.write("It is Ana.")
    request.finish()
    assert await chat.ended(first) == ["Hello Ana.", "It is Ana."]


async def test_a_private_message_is_answered_in_private(chat: Harness) -> None:
    question = await chat.say_in_private("A secret?")
    assert await chat.answer(question, "A secret.") == ["A secret."]
    if Ability.OTHER_PEOPLE not in chat.missing:
        assert chat.overheard() == []


async def test_a_picture_reaches_the_prompt(chat: Harness) -> None:
    data = encoded(plain())
    question = await chat.ask("What is this?", picture=data)
    request = await chat.request(0)
    pictures = [p.data for m in request.messages for p in m.parts if hasattr(p, "digest")]
    assert pictures == [data]
    assert "What is this?" in request.asked
    await chat.answer(question, "A red rectangle.")


async def test_a_long_reply_arrives_whole(chat: Harness) -> None:
    words = [f"word{number}" for number in range(1_800)]
    question = await chat.ask("Write a book.")
    posts = await chat.answer(question, " ".join(words))
    assert " ".join(posts).split() == words
