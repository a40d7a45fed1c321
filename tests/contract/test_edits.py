"""Messages that are edited: the question as it reads now is what is answered."""

from __future__ import annotations

from datetime import timedelta

from tests.contract.harness import Ability, Harness, needs
from tests.support.scripted_engine import prompt_text


async def a_correction_is_a_new_message(chat: Harness) -> None:
    first = await chat.ask("What is the capital of Frnace?")
    await chat.answer(first, "I don't know.")
    await chat.ask("I mean the capital of France.")
    request = await chat.request(1)
    assert "capital of Frnace" in prompt_text(request.messages)
    request.write("Paris.")
    request.finish()
    assert (await chat.ended(first))[-1] == "Paris."


@needs(Ability.EDITS, otherwise=a_correction_is_a_new_message)
async def test_an_edit_that_adds_a_mention_asks(chat: Harness) -> None:
    message = await chat.say("What is a qubit?")
    await chat.only_asked()
    await chat.edit(message, f"{chat.bot} What is a qubit?")
    request = await chat.request(1)
    assert request.asked.endswith("What is a qubit?")
    assert await chat.answer(message, "A quantum bit.") == ["A quantum bit."]


@needs(Ability.EDITS, otherwise=a_correction_is_a_new_message)
async def test_an_old_message_is_not_made_a_question(chat: Harness) -> None:
    message = await chat.written_before("What is a qubit?", timedelta(hours=1))
    await chat.edit(message, f"{chat.bot} What is a qubit?")
    await chat.only_asked()


@needs(Ability.EDITS, otherwise=a_correction_is_a_new_message)
async def test_an_edited_question_is_answered_as_it_reads_now(chat: Harness) -> None:
    question = await chat.ask("What is the capital of Frnace?")
    request = await chat.request(0)
    request.write("I don't kn")
    await chat.edit(question, f"{chat.bot} What is the capital of France?")
    again = await chat.request(1)
    assert again.asked.endswith("What is the capital of France?")
    assert request.closed
    assert await chat.answer(question, "Paris.") == ["Paris."]


@needs(Ability.EDITS, otherwise=a_correction_is_a_new_message)
async def test_an_edit_of_an_answered_question_asks_nothing(chat: Harness) -> None:
    question = await chat.ask("What is a qubit?")
    await chat.answer(question, "A quantum bit.")
    await chat.edit(question, f"{chat.bot} What is a qubit, please?")
    await chat.only_asked("What is a qubit?")
