"""Whom a message is for: the bot answers what is said to it, and only that."""

from __future__ import annotations

from tests.contract.harness import Ability, Harness, needs


async def every_line_is_for_the_bot(chat: Harness) -> None:
    question = await chat.say("Is anybody here?")
    assert await chat.answer(question, "I am.") == ["I am."]


@needs(Ability.MENTIONS, otherwise=every_line_is_for_the_bot)
async def test_what_people_say_to_each_other_is_left_alone(chat: Harness) -> None:
    await chat.say("Good morning.")
    await chat.say("Is anybody here?")
    await chat.only_asked()
