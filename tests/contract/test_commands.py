"""Commands as people type them: what they change, and what a mistyped one is told."""

from __future__ import annotations

import re

from tests.contract.harness import Ability, Harness, Person, needs
from tests.support.scripted_engine import prompt_text


async def test_reset_forgets_the_conversation(chat: Harness) -> None:
    first = await chat.ask("The secret is 42.")
    await chat.answer(first, "I see.")
    assert await chat.command("reset", after=first)
    await chat.ask_more(first, "What is the secret?")
    request = await chat.request(1)
    assert "42" not in prompt_text(request.messages)
    assert "I see." not in prompt_text(request.messages)


async def test_a_mistyped_command_is_told_what_to_type(chat: Harness) -> None:
    question = await chat.ask("Hello.")
    await chat.answer(question, "Hello.")
    sentence = await chat.command("persona sett You are a pirate.", after=question)
    assert "persona" in sentence
    assert "set" in sentence
    assert len(chat.engine.requests) == 1


async def test_help_names_commands_as_they_are_typed_there(chat: Harness) -> None:
    question = await chat.ask("Hello.")
    await chat.answer(question, "Hello.")
    for place in (None, question):
        answer = await chat.command("help persona set", after=place)
        assert f"`{chat.typed('persona set', after=place)} " in answer
    answer = await chat.command("persona sett You are a pirate.", after=question)
    assert chat.typed("persona", after=question) in answer


async def test_a_value_out_of_range_is_refused_with_the_range(chat: Harness) -> None:
    question = await chat.ask("Hello.")
    await chat.answer(question, "Hello.")
    command = "persona set --temperature 9 You are a pirate."
    sentence = await chat.command(command, by=Person.ADMIN, after=question)
    assert re.search(r"temperature .*\b0\b.*\b5\b", sentence)
    await chat.ask("Who are you?")
    assert "pirate" not in prompt_text((await chat.request(1)).messages[:1])


async def test_a_persona_counts_from_the_next_message_on(chat: Harness) -> None:
    question = await chat.ask("Who are you?")
    await chat.answer(question, "I am Parley.")
    await chat.command("persona set You are a pirate.", by=Person.ADMIN, after=question)
    await chat.ask("Who are you now?")
    request = await chat.request(1)
    assert "You are a pirate." in prompt_text(request.messages[:1])


async def the_answer_stands_where_the_command_was_typed(chat: Harness) -> None:
    answer = await chat.command("usage")
    assert "replies" in answer
    if Ability.OTHER_PEOPLE not in chat.missing:
        assert answer in chat.overheard()


@needs(Ability.PRIVATE_REPLIES, otherwise=the_answer_stands_where_the_command_was_typed)
async def test_only_the_asker_reads_an_answer_that_concerns_nobody_else(chat: Harness) -> None:
    assert "replies" in await chat.command("usage")
    assert chat.overheard() == []


async def the_only_person_is_an_admin(chat: Harness) -> None:
    await chat.command("persona set You are a pirate.")
    await chat.ask("Who are you?")
    assert "You are a pirate." in prompt_text((await chat.request(0)).messages[:1])


@needs(Ability.OTHER_PEOPLE, otherwise=the_only_person_is_an_admin)
async def test_a_command_that_is_not_allowed_is_refused_with_a_sentence(chat: Harness) -> None:
    question = await chat.ask("Who are you?")
    await chat.answer(question, "I am Parley.")
    told = await chat.command("persona set You are a pirate.", by=Person.OTHER, after=question)
    assert "admin" in told
    await chat.ask("Who are you now?")
    request = await chat.request(1)
    assert "pirate" not in prompt_text(request.messages[:1])
