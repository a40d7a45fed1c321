"""A question that only its asker sees is answered, or gets a sentence: never silence."""

from __future__ import annotations

import pytest

from bot.core import texts
from bot.core.gate import Mode
from tests.contract.harness import Ability, Harness, needs

switched_off = pytest.mark.service(mode=Mode.NEVER)


@switched_off
async def test_a_private_message_that_is_not_answered_gets_a_sentence(chat: Harness) -> None:
    question = await chat.say_in_private("Are you there?")
    (sentence,) = await chat.told(question)
    assert texts.SWITCHED_OFF in sentence
    assert chat.engine.requests == []


async def a_private_message_asks_the_same(chat: Harness) -> None:
    question = await chat.say_in_private("What is a qubit?")
    assert await chat.answer(question, "A quantum bit.") == ["A quantum bit."]


@needs(Ability.PRIVATE_QUESTIONS, otherwise=a_private_message_asks_the_same)
async def test_a_private_question_is_answered_to_its_asker_alone(chat: Harness) -> None:
    question = await chat.ask_privately("What is a qubit?")
    request = await chat.request(0)
    assert request.asked.endswith("What is a qubit?")
    assert await chat.answer(question, "A quantum bit.") == ["A quantum bit."]
    assert chat.overheard() == []


async def a_private_message_gets_the_sentence(chat: Harness) -> None:
    question = await chat.say_in_private("What is a qubit?")
    assert texts.SWITCHED_OFF in (await chat.told(question))[0]


@switched_off
@needs(Ability.PRIVATE_QUESTIONS, otherwise=a_private_message_gets_the_sentence)
async def test_a_private_question_that_is_not_answered_gets_a_sentence(chat: Harness) -> None:
    question = await chat.ask_privately("What is a qubit?")
    (sentence,) = await chat.told(question)
    assert texts.SWITCHED_OFF in sentence
    assert chat.overheard() == []
    assert chat.engine.requests == []
