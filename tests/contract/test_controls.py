"""Stop and Regenerate: for those who asked, by button or by what stands for it."""

from __future__ import annotations

from tests.contract.harness import Ability, Harness, Person, needs

ONLY_THE_ASKER = "Only the person who asked, or an admin, can do that."


async def test_the_asker_stops_the_reply_and_keeps_what_there_is(chat: Harness) -> None:
    question, request = await chat.being_answered("Count to a million.", "One, two, three, ")
    await chat.stop_reply(question)
    await chat.until(lambda: request.closed, "the end of the request")
    posts = await chat.ended(question)
    assert "One, two, three," in "\n".join(posts)


async def the_only_person_may_stop_anything(chat: Harness) -> None:
    question, request = await chat.being_answered("Count to a million.", "One, two, three, ")
    await chat.stop_reply(question, by=Person.ADMIN)
    await chat.until(lambda: request.closed, "the end of the request")
    await chat.ended(question)


@needs(Ability.OTHER_PEOPLE, otherwise=the_only_person_may_stop_anything)
async def test_somebody_else_is_refused_with_a_sentence_and_the_reply_goes_on(
    chat: Harness,
) -> None:
    question, request = await chat.being_answered("Count to a million.", "One, two, three, ")
    assert ONLY_THE_ASKER in await chat.stop_reply(question, by=Person.OTHER)
    assert not request.closed
    request.write("four.")
    request.finish()
    assert "One, two, three, four." in "\n".join(await chat.ended(question))


@needs(Ability.OTHER_PEOPLE, otherwise=the_only_person_may_stop_anything)
async def test_an_admin_may_stop_anybodys_reply(chat: Harness) -> None:
    question, request = await chat.being_answered("Count to a million.", "One, two, three, ")
    await chat.stop_reply(question, by=Person.ADMIN)
    await chat.until(lambda: request.closed, "the end of the request")
    await chat.ended(question)


async def who_wants_another_reply_asks_again(chat: Harness) -> None:
    first = await chat.ask("Tell me a joke.")
    await chat.answer(first, "No.")
    again = await chat.ask("Tell me a joke, please.")
    assert (await chat.answer(again, "A horse walks into a bar."))[-1].startswith("A horse")


@needs(Ability.BUTTONS, otherwise=who_wants_another_reply_asks_again)
async def test_a_made_up_id_in_a_button_reaches_nothing(chat: Harness) -> None:
    question = await chat.ask("Tell me a joke.")
    await chat.answer(question, "No.")
    for made_up in ("999", "9" * 40, "١", "-1", "1 OR 1=1"):
        await chat.press_made_up(question, made_up)
    await chat.only_asked("Tell me a joke.")
    assert chat.posts(question) == ["No."]


@needs(Ability.BUTTONS, otherwise=who_wants_another_reply_asks_again)
async def test_regenerate_replaces_the_reply(chat: Harness) -> None:
    question = await chat.ask("Tell me a joke.")
    await chat.answer(question, "No.")
    await chat.regenerate(question)
    await chat.request(1)
    assert await chat.answer(question, "A horse walks into a bar.") == ["A horse walks into a bar."]
