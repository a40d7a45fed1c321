"""What comes in: messages, files, typed commands, buttons; and what the asker is told."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from bot.core.events import Author, CommandInvoked, MessageEdited, MessageReceived
from bot.core.gate import Mode
from bot.core.limits import EDIT_WINDOW
from bot.core.ports import CommandReply
from bot.core.records import TurnState
from bot.core.service_settings import ServiceSettings
from bot.core.texts import BLIND
from tests.support.core_rig import ADMIN, ANA, BOB, CHANNEL, Rig, file, picture
from tests.support.scripted_engine import ScriptedEngine
from tests.support.waiting import settle, until

THREAD = CHANNEL.in_thread("t")


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def command(
    rig: Rig,
    which: str,
    by: Author = ADMIN,
    key: Any = THREAD,
    is_dm: bool = False,
    /,
    **args: str,
) -> CommandReply:
    reply = await rig.service.handle(CommandInvoked(key, by, which, args, is_dm))
    assert reply is not None
    return reply


# Messages


async def test_what_is_not_for_the_bot_leaves_no_trace(rig: Rig) -> None:
    await rig.say("chatter", mentions_bot=False)
    await settle()
    assert rig.store.turns == {}
    assert len(rig.service._conversations) == 0


async def test_a_reply_in_the_channel_goes_on_with_the_conversation_it_answers(rig: Rig) -> None:
    turn = await rig.exchange("hi", thread="", id="root")
    assert turn.posted
    await rig.say("go on", thread="", mentions_bot=False, replies_to_bot=True, replies_to="unknown")
    await rig.say(
        "go on", thread="", mentions_bot=False, replies_to_bot=True, replies_to=turn.posted[0]
    )
    await until(lambda: len(rig.engine.requests) == 3)
    conversations = [request.conversation for request in rig.engine.requests]
    assert conversations[2] == conversations[0]
    assert conversations[1] != conversations[0]


@pytest.mark.parametrize("calls", [True, False])
async def test_an_edit_makes_a_question_if_it_calls_the_bot_and_once_only(
    rig: Rig, calls: bool
) -> None:
    await rig.say("hello all", id="m", thread="", mentions_bot=False)
    now = rig.message("hello bot", id="m", thread="", mentions_bot=calls)
    edit = MessageEdited(now.key, "m", ANA, now.text, now)
    for _ in range(3):
        assert await rig.service.handle(edit) is None
    await settle()
    assert len(rig.store.turns) == calls


async def test_an_edit_of_an_old_message_asks_nothing(rig: Rig) -> None:
    now = rig.message("hello bot", id="m", thread="")
    late = now.at + EDIT_WINDOW + timedelta(seconds=1)
    assert await rig.service.handle(MessageEdited(now.key, "m", ANA, now.text, now, late)) is None
    await settle()
    assert not rig.store.turns


async def test_a_mention_in_the_channel_opens_a_thread_that_is_then_followed(rig: Rig) -> None:
    event = await rig.say("hi", thread="", id="root")
    (await rig.engine.request(0)).finish()
    await rig.target.finished(0)
    assert rig.target.sinks[0].turn.key == CHANNEL.in_thread(event.id)
    await rig.say("go on", thread="root", mentions_bot=False)
    await rig.engine.request(1)


async def test_inline_answers_in_the_channel_and_does_not_follow_it() -> None:
    rig = Rig(settings=ServiceSettings(inline=True))
    await rig.exchange("hi", thread="")
    assert rig.target.sinks[0].turn.key == CHANNEL
    await rig.say("talk among people", thread="", mentions_bot=False)
    await settle()
    assert len(rig.engine.requests) == 1


async def test_a_message_delivered_twice_is_answered_once(rig: Rig) -> None:
    for _ in range(3):
        await rig.say("hi", id="same")
    (await rig.engine.request(0)).finish()
    await rig.target.finished(0)
    await rig.say("hi", id="same")
    await settle()
    assert len(rig.engine.requests) == 1


async def test_the_same_message_delivered_at_once_is_answered_once(rig: Rig) -> None:
    await asyncio.gather(*(rig.say("hi", id="same") for _ in range(5)))
    await rig.engine.request(0)
    assert len(rig.store.turns) == 1


async def test_the_mode_of_the_settings_counts() -> None:
    rig = Rig(settings=ServiceSettings(mode=Mode.ALWAYS))
    await rig.say("anyone?", thread="", mentions_bot=False)
    await rig.engine.request(0)


# Files


async def ask(rig: Rig, *files: Any, text: str = "look") -> tuple[str, tuple[str, ...]]:
    """Send files; the question as the model reads it, and the notes under the reply."""
    await rig.say(text, attachments=files)
    request = await rig.engine.request(0)
    request.finish()
    return request.asked, (await rig.target.finished(0)).notes


def seeing(**settings: Any) -> Rig:
    return Rig(ScriptedEngine(sees_images=True), ServiceSettings(**settings))


async def test_a_model_that_sees_gets_the_pictures() -> None:
    asked, notes = await ask(seeing(), picture("a.png", b"one"), picture("b.png", b"two"))
    assert asked.startswith("Picture 1 (a.png):<")
    assert asked.endswith(">look")
    assert notes == ()


async def test_a_later_question_still_sees_the_picture() -> None:
    rig = seeing()
    await ask(rig, picture("a.png"))
    # An empty reply leaves no turn in the transcript, so let there be one.
    await rig.exchange("and?", "a square", attachments=(picture("b.png", b"other"),))
    await rig.say("what colour is it?")
    request = await rig.engine.request(2)
    assert any(not hasattr(part, "text") for part in request.messages[1].parts)


async def test_a_model_that_reads_text_only_says_so_kindly(rig: Rig) -> None:
    asked, notes = await ask(rig, picture("chart.png"))
    assert asked == "[image: chart.png]\nlook"
    assert notes == (BLIND,)


async def test_pictures_over_the_limit_of_a_prompt_are_named() -> None:
    rig = seeing(max_images=1)
    asked, notes = await ask(rig, picture("a.png", b"1"), picture("b.png", b"2"))
    assert "[image: b.png]" in asked
    assert notes == ("That's more than I can look at at once, so I didn't see: b.png.",)


async def hang() -> bytes:
    await asyncio.Event().wait()
    return b""


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (picture("x.png", size=31 * 2**20), "too large, 31 MB, limit 1.0 MB"),
        (picture("x.png", b"x" * (2**20 + 1)), "too large, 1.0 MB, limit 1.0 MB"),
        (picture("x.tiff", b"bad: 900 megapixels"), "900 megapixels"),
        (picture("x.png", b"bad: "), "a type of file that I can't read"),
        (picture("x.png", OSError("secret host")), "couldn't be loaded"),
        (picture("x.png", b"bad: a video, which I can't read"), "a video, which I can't read"),
        (file("x.png", hang), "took too long to load"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
async def test_a_bad_file_is_named_and_the_rest_is_answered(bad: Any, reason: str) -> None:
    rig = seeing(max_attachment_bytes=2**20, attachment_timeout_s=0.05)
    asked, notes = await ask(rig, bad, picture("good.png"))
    assert asked.startswith("<")
    assert f"[file: {bad.name} ({reason})]" in asked
    assert notes == (f"{bad.name}: {reason}",)


async def test_more_files_than_allowed_are_not_fetched() -> None:
    fetched = []

    async def load() -> bytes:
        fetched.append(1)
        return b"x"

    rig = seeing(max_attachments=2)
    _, notes = await ask(rig, *(file(f"{n}.png", load) for n in range(5)))
    assert len(fetched) == 2
    assert notes == ("2.png, 3.png, 4.png: too many files; I read 2 per message",)


async def test_files_load_at_the_same_time_but_not_all_at_once() -> None:
    running, most = 0, 0

    async def load() -> bytes:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await settle(5)
        running -= 1
        return b"x"

    await ask(seeing(max_parallel_loads=3), *(file(f"{n}.png", load) for n in range(6)))
    assert most == 3


# Commands


async def test_a_persona_changes_the_next_reply_and_is_refused_to_others(rig: Rig) -> None:
    refused = await command(rig, "persona set", ANA, text="You are a cat.")
    assert not refused.ok
    assert "admin" in refused.text
    done = await command(rig, "persona set", text="You are a cat.", temperature="0.1")
    assert done.ok
    assert not done.private
    await rig.say("hi")
    request = await rig.engine.request(0)
    assert request.messages[0].parts[0].text == "You are a cat."
    assert request.sampling.temperature == 0.1
    await rig.say("hi", thread="other")
    request = await rig.engine.request(1)
    assert request.messages[0].parts[0].text == "You are a cat.", "set for the whole channel"


async def test_a_persona_of_one_thread(rig: Rig) -> None:
    await command(rig, "persona use", name="Pirate", scope="thread")
    for thread, persona in (("t", "pirate"), ("other", "Parley")):
        await rig.say("hi", thread=thread)
        request = await rig.engine.request(len(rig.engine.requests))
        assert persona in request.messages[0].parts[0].text


async def test_show_says_where_it_comes_from_and_who_set_it(rig: Rig) -> None:
    assert "the built-in persona" in (await command(rig, "persona show", ANA)).text
    await command(rig, "persona use", name="love bug", scope="workspace")
    shown = (await command(rig, "persona show", ANA)).text
    assert shown.startswith("> You are a love bug.")
    assert "This is the workspace's persona (love bug)." in shown
    assert "because neither the thread nor the channel has one of its own" in shown
    assert "Set by Root on 20" in shown
    assert "UTC" in shown


async def test_clear_inherits_again(rig: Rig) -> None:
    await command(rig, "persona set", text="A")
    cleared = await command(rig, "persona clear")
    assert "In effect here now: the built-in persona" in cleared.text


async def test_in_a_dm_everybody_sets_the_own_persona_but_not_the_workspace_s(rig: Rig) -> None:
    assert (await command(rig, "persona set", ANA, CHANNEL, True, text="Mine")).ok
    assert not (
        await command(rig, "persona set", ANA, CHANNEL, True, text="All", scope="workspace")
    ).ok


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("persona set", {"text": " "}, "Write the persona's instructions"),
        ("persona set", {"text": "x", "temperature": "warm"}, "must be a number"),
        ("persona set", {"text": "x", "scope": "planet"}, "channel, thread, workspace"),
        ("persona use", {"name": "wizard"}, "Available: pirate"),
        ("persona dance", {}, "followed by one of"),
        ("dance", {}, "There's no command"),
    ],
)
async def test_wrong_commands_are_explained(
    rig: Rig, name: str, args: dict[str, str], told: str
) -> None:
    reply = await command(rig, name, **args)
    assert not reply.ok
    assert told in reply.text


async def test_a_thread_scope_needs_a_thread(rig: Rig) -> None:
    reply = await command(rig, "persona set", ADMIN, CHANNEL, text="x", scope="thread")
    assert "only works in a thread" in reply.text


async def test_list_and_help(rig: Rig) -> None:
    assert "- haiku: Answer only with a haiku" in (await command(rig, "persona list", ANA)).text
    assert "/persona set" in (await command(rig, "help", ANA)).text


async def test_stop_stops_the_reply_of_this_thread(rig: Rig) -> None:
    assert not (await command(rig, "stop")).ok
    await rig.say("hi")
    await rig.say("hi", thread="other")
    await rig.engine.request(1)
    assert not (await command(rig, "stop", BOB)).ok
    assert (await command(rig, "stop", ANA)).ok
    await until(lambda: rig.engine.requests[0].closed)
    assert not rig.engine.requests[1].closed


async def test_reset_stops_and_deletes(rig: Rig) -> None:
    await rig.exchange("one")
    await rig.say("two")
    await rig.engine.request(1)
    await rig.say("three waits")
    refused = await command(rig, "reset", BOB)
    assert not refused.ok
    assert len(rig.store.turns) == 3
    done = await command(rig, "reset", ANA)
    assert "3 exchanges" in done.text
    reply = rig.target.sinks[1].finished
    assert reply is not None, "it is over before anything is deleted"
    assert reply.state is TurnState.CANCELLED
    assert rig.store.turns == {}
    await settle()
    assert len(rig.engine.requests) == 2, "what waited is gone, too"
    await rig.say("anew")
    assert len((await rig.engine.request(2)).messages) == 2
    assert "nothing to forget" in (await command(rig, "reset", ADMIN, CHANNEL)).text


async def test_reset_lets_go_of_files_that_never_come(rig: Rig) -> None:
    await rig.say("look", attachments=(file("a.png", hang),))
    await command(rig, "reset", ANA)
    await rig.say("anew")
    assert (await rig.engine.request(0)).asked == "anew"


@pytest.mark.parametrize("text", ["/stop", "!stop"])
async def test_a_command_typed_to_the_bot_is_run_and_not_answered(rig: Rig, text: str) -> None:
    await rig.say("hi")
    await rig.engine.request(0)
    event: MessageReceived = rig.message(text)
    assert await rig.service.handle(event) == CommandReply("Stopped.")
    await rig.target.finished(0)
    assert len(rig.store.turns) == 1


async def test_a_mistyped_command_is_explained(rig: Rig) -> None:
    reply = await rig.service.handle(rig.message("/persona sett x"))
    assert reply is not None
    assert not reply.ok
    assert "followed by one of" in reply.text
