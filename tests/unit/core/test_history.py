"""A thread that the bot has not seen: what was said there before is read, once, within limits."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.core.events import Attachment, Author, CommandInvoked, PastMessage, ThreadKey
from bot.core.history import without_forgotten
from bot.core.records import ResetPoint, person_hash
from bot.core.service_settings import ServiceSettings
from tests.support.core_rig import ADMIN, ANA, BOB, CHANNEL, Rig, picture
from tests.support.scripted_engine import ScriptedEngine, prompt_text
from tests.support.waiting import until

NOW = datetime(2026, 5, 1, tzinfo=UTC)
PARLEY = Author("p", "Parley", is_bot=True, is_self=True)


def past(id: str, text: str, author: Author = BOB, *files: Attachment) -> PastMessage:
    return PastMessage(id, author, text, files)


class Thread:
    """What an adapter would read; counts how often it is asked."""

    def __init__(self, *messages: PastMessage, error: Exception | None = None) -> None:
        self.messages = messages
        self.error = error
        self.asked = 0

    async def __call__(self) -> Sequence[PastMessage]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.messages


async def ask(rig: Rig, earlier: Any, text: str = "well?", **fields: Any) -> list[tuple[str, str]]:
    """The prompt's messages (role, text) for a question in this thread."""
    number = len(rig.engine.requests)
    await rig.say(text, earlier=earlier, **fields)
    request = await rig.engine.request(number)
    request.write("ok")
    request.finish()
    await rig.target.finished(number)
    await until(lambda: not len(rig.service._conversations))
    return [(m.role, prompt_text([m])) for m in request.messages if m.role != "system"]


async def test_people_and_its_own_replies_take_their_turns() -> None:
    rig = Rig()
    thread = Thread(
        past("1", "Which way?"), past("2", "North.", PARLEY), past("3", "Sure?"), past("4", "Hm.")
    )
    assert await ask(rig, thread) == [
        ("user", "Bob: Which way?"),
        ("assistant", "North."),
        ("user", "Bob: Sure?\nBob: Hm.\nAna: well?"),
    ]


async def test_it_is_read_once_and_remembered() -> None:
    rig = Rig()
    thread = Thread(past("1", "The door is red."))
    await ask(rig, thread)
    messages = await ask(rig, thread, "and now?")
    assert thread.asked == 1
    assert messages[0] == ("user", "Bob: The door is red.\nAna: well?")
    assert messages[-1] == ("user", "Ana: and now?")


async def test_it_is_not_asked_where_something_is_remembered() -> None:
    rig = Rig()
    await rig.exchange("hi")
    thread = Thread(past("1", "old"))
    await ask(rig, thread)
    assert thread.asked == 0


async def test_what_was_forgotten_is_not_read_again() -> None:
    rig = Rig()
    turn = await rig.exchange("hi")
    await rig.service._conversations.reset(turn.key, ANA, NOW)
    thread = Thread(past("1", "old"))
    await ask(rig, thread)
    assert thread.asked == 0


THE_DAY_BEFORE = NOW - timedelta(days=1)


def said(id: str, text: str, author: Author = BOB, at: datetime = THE_DAY_BEFORE) -> PastMessage:
    return PastMessage(id, author, text, at=at)


@pytest.mark.parametrize(
    ("points", "left"),
    [
        ((), "abcde"),
        ((ResetPoint(CHANNEL, NOW),), "e"),
        ((ResetPoint(CHANNEL, THE_DAY_BEFORE),), "de"),
        ((ResetPoint(CHANNEL, THE_DAY_BEFORE - timedelta(days=1)),), "abcde"),
        # Bob's messages go, and what the bot answered to them.
        ((ResetPoint(CHANNEL, NOW, person_hash(CHANNEL, BOB.id)),), "ce"),
        ((ResetPoint(CHANNEL, THE_DAY_BEFORE, person_hash(CHANNEL, BOB.id)),), "cde"),
        ((ResetPoint(CHANNEL, NOW, person_hash(CHANNEL, ANA.id)),), "abde"),
        (  # of several points of a person the latest counts
            (
                ResetPoint(CHANNEL, NOW, person_hash(CHANNEL, BOB.id)),
                ResetPoint(CHANNEL.workspace_key, THE_DAY_BEFORE, person_hash(CHANNEL, BOB.id)),
            ),
            "ce",
        ),
    ],
)
def test_what_was_said_before_a_reset_point_is_left_out(
    points: tuple[ResetPoint, ...], left: str
) -> None:
    messages = [
        said("1", "a"),
        said("2", "b", PARLEY),
        said("3", "c", ANA),
        said("4", "d", at=NOW),
        said("5", "e", ANA, at=NOW + timedelta(hours=1)),
    ]
    kept = without_forgotten(messages, points, CHANNEL)
    assert "".join(message.text for message in kept) == left


async def command(rig: Rig, name: str, by: Author, key: ThreadKey, **args: str) -> None:
    reply = await rig.service.handle(CommandInvoked(key, by, name, args))
    assert reply is not None
    assert reply.ok


async def test_after_forget_here_a_new_thread_is_read_from_then_on() -> None:
    rig = Rig()
    await command(rig, "forget", ADMIN, CHANNEL, what="here")
    later = datetime.now(UTC) + timedelta(hours=1)
    thread = Thread(said("1", "the secret is 42"), said("2", "hello", at=later))
    assert await ask(rig, thread) == [("user", "Bob: hello\nAna: well?")]


async def test_after_forget_me_only_others_are_read() -> None:
    rig = Rig()
    await command(rig, "forget", BOB, CHANNEL, what="me")
    thread = Thread(
        said("1", "the secret is 42"), said("2", "Noted.", PARLEY), said("3", "hi", ANA)
    )
    assert await ask(rig, thread) == [("user", "hi\nwell?")]


async def test_after_a_reset_a_reply_to_an_old_answer_does_not_bring_it_back() -> None:
    rig = Rig()
    turn = await rig.exchange("the secret is 42", thread="", id="q")
    await command(rig, "reset", ANA, turn.key)
    chain = Thread(said("q", "the secret is 42", ANA), said("post", "I see.", PARLEY))
    assert await ask(rig, chain, thread="", id="again") == [("user", "well?")]


async def test_what_a_shortcut_points_at_is_read_all_the_same() -> None:
    rig = Rig()
    await command(rig, "forget", ADMIN, CHANNEL, what="here")
    thread = Thread(said("1", "We meet on Monday."))
    messages = await ask(rig, thread, thread="ask-1", asked_in=CHANNEL)
    assert messages == [("user", "Bob: We meet on Monday.\nAna: well?")]


async def test_only_the_newest_that_fit_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.core.history.MAX_EARLIER_MESSAGES", 2)
    rig = Rig()
    thread = Thread(past("1", "one"), past("2", "two"), past("3", "three"))
    assert await ask(rig, thread) == [("user", "Bob: two\nBob: three\nAna: well?")]
    rig = Rig(settings=ServiceSettings(max_earlier_characters=8))
    assert await ask(rig, thread) == [("user", "Bob: two\nBob: three\nAna: well?")]


async def test_commands_blanks_and_the_question_itself_are_left_out() -> None:
    rig = Rig()
    thread = Thread(past("1", "!stop"), past("2", " "), past("mine", "well?", ANA))
    assert await ask(rig, thread, id="mine") == [("user", "well?")]


async def test_pictures_are_looked_at_the_newest_first() -> None:
    rig = Rig(engine=ScriptedEngine(sees_images=True), settings=ServiceSettings(max_images=1))
    old, new = picture("old.png", b"old"), picture("new.png", b"new")
    ((_, text),) = await ask(rig, Thread(past("1", "a", ANA, old), past("2", "b", ANA, new)))
    digest = hashlib.sha256(b"new").hexdigest()[:8]
    assert text == (f"[file: old.png (from before I joined, not read)]\na<{digest}>b\nwell?")


@pytest.mark.parametrize("store_fails", [False, True])
async def test_a_failure_is_said_and_the_question_is_answered(
    caplog: pytest.LogCaptureFixture, store_fails: bool
) -> None:
    rig = Rig()
    if store_fails:
        rig.store.failing.add("add_earlier")
    error = None if store_fails else ConnectionError("secret host")
    assert await ask(rig, Thread(past("1", "x"), error=error)) == [("user", "well?")]
    (note,) = (await rig.target.finished(0)).notes
    assert note.startswith("I couldn't read the earlier messages here (reference ")
    assert note.split("reference ")[1].rstrip(").") in caplog.text
    assert "secret" not in note


async def test_a_platform_that_hangs_is_not_waited_for_for_ever() -> None:
    rig = Rig(settings=ServiceSettings(earlier_timeout_s=0.01))

    async def never() -> Sequence[PastMessage]:
        await asyncio.Event().wait()
        return ()

    assert await ask(rig, never) == [("user", "well?")]


async def test_a_deleted_message_of_before_is_gone_as_any_other() -> None:
    rig = Rig()
    await ask(rig, Thread(past("1", "secret"), past("2", "open")))
    await rig.store.delete_message(CHANNEL, "1")
    messages = await ask(rig, None, "and now?")
    assert messages[0] == ("user", "Bob: open\nAna: well?")


async def test_notes_of_the_adapter_stand_at_the_foot() -> None:
    rig = Rig()
    await ask(rig, None, foot=("I can't see earlier messages here.",))
    assert (await rig.target.finished(0)).notes == ("I can't see earlier messages here.",)
    await ask(rig, None, "again")
    assert (await rig.target.finished(1)).notes == ()
