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


async def code_reaches_the_prompt_as_typed(chat: Harness) -> None:
    await chat.say("What does `@Parley` do?")
    assert (await chat.request(0)).asked.endswith("What does `@Parley` do?")


@needs(Ability.MENTIONS, otherwise=code_reaches_the_prompt_as_typed)
async def test_a_mention_in_code_does_not_wake_the_bot(chat: Harness) -> None:
    await chat.say(f"`{chat.bot}` is its name")
    await chat.say(f"Type:\n```\n{chat.bot} hello\n```")
    await chat.only_asked()


async def a_quote_reaches_the_prompt_as_typed(chat: Harness) -> None:
    await chat.say("> @Parley hello")
    assert (await chat.request(0)).asked.endswith("> @Parley hello")


@needs(Ability.MENTIONS, otherwise=a_quote_reaches_the_prompt_as_typed)
async def test_a_mention_in_a_quote_does_not_wake_the_bot(chat: Harness) -> None:
    await chat.say(f"> {chat.bot} hello\nThat is what she wrote.")
    await chat.only_asked()


async def a_name_reaches_the_prompt_as_typed(chat: Harness) -> None:
    await chat.say("What can Parley do?")
    assert (await chat.request(0)).asked.endswith("What can Parley do?")


@needs(Ability.MENTIONS, otherwise=a_name_reaches_the_prompt_as_typed)
async def test_a_mention_stays_where_the_sentence_needs_it(chat: Harness) -> None:
    cases = {
        "{bot} what is a qubit?": "what is a qubit?",
        "{bot}, what is an atom?": "what is an atom?",
        "what is a quark? {bot}": "what is a quark?",
        "what can {bot} do?": "what can @Parley do?",
        "I want to talk to {bot}": "I want to talk to @Parley",
        "is this said to {bot}?": "is this said to @Parley?",
    }
    for number, (typed, prompt) in enumerate(cases.items()):
        question = await chat.say(typed.format(bot=chat.bot))
        assert (await chat.request(number)).asked.split("\n")[-1] == prompt
        await chat.answer(question, "Well.")
