"""What was said in a thread before the bot was called into it."""

from __future__ import annotations

from bot.core import texts
from bot.core.limits import MAX_EARLIER_MESSAGES
from tests.contract.harness import Ability, Harness, needs
from tests.support.scripted_engine import prompt_text


async def a_conversation_begins_with_its_first_question(chat: Harness) -> None:
    await chat.ask("What do you think?")
    messages = (await chat.request(0)).messages
    assert [message.role for message in messages] == ["system", "user"]


@needs(Ability.HISTORY, otherwise=a_conversation_begins_with_its_first_question)
async def test_a_discussion_is_read_when_the_bot_is_called_into_it(chat: Harness) -> None:
    root = await chat.discussion(["Bananas are berries.", "Strawberries are not."])
    await chat.say(f"{chat.bot} is that so?", after=root)
    text = prompt_text((await chat.request(0)).messages)
    assert text.index("Bananas are berries.") < text.index("Strawberries are not.")
    assert text.index("Strawberries are not.") < text.index("is that so?")


async def a_summary_is_asked_for_in_words(chat: Harness) -> None:
    first = await chat.ask("Bananas are berries.")
    await chat.answer(first, "So they say.")
    await chat.ask_more(first, "Please sum up.")
    text = prompt_text((await chat.request(1)).messages)
    assert text.index("Bananas") < text.index("So they say.") < text.index("sum up")


@needs(Ability.MESSAGE_MENUS, otherwise=a_summary_is_asked_for_in_words)
async def test_a_summary_is_asked_for_in_the_same_words_and_read_by_its_asker(
    chat: Harness,
) -> None:
    root = await chat.discussion(["Fruit.", "Bananas are berries.", "Strawberries are not."])
    summary = await chat.summarize(root)
    request = await chat.request(0)
    assert request.asked.endswith(texts.SUMMARIZE)
    text = prompt_text(request.messages)
    assert text.index("Bananas are berries.") < text.index("Strawberries are not.")
    assert await chat.answer(summary, "It is about fruit.") == ["It is about fruit."]
    assert chat.overheard() == []


@needs(Ability.HISTORY, otherwise=a_conversation_begins_with_its_first_question)
async def test_of_a_long_discussion_the_newest_messages_are_read(chat: Harness) -> None:
    remarks = [f"Remark number {number}." for number in range(MAX_EARLIER_MESSAGES + 10)]
    root = await chat.discussion(remarks)
    await chat.say(f"{chat.bot} please sum up", after=root)
    text = prompt_text((await chat.request(0)).messages)
    read = [remark for remark in remarks if remark in text]
    assert read == remarks[-MAX_EARLIER_MESSAGES:]
