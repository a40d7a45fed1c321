"""Settings by place, the audit trail, feedback, usage: commands and what follows from them."""

from __future__ import annotations

from typing import Any

import pytest

from bot.core import scoped_settings, texts
from bot.core.events import Author, CommandInvoked, ControlPressed, MessageReceived, ThreadKey
from bot.core.gate import Mode
from bot.core.ports import CommandReply
from bot.core.records import ChannelSettings
from bot.core.service_settings import ServiceSettings
from tests.support.core_rig import ADMIN, ANA, BOB, CHANNEL, Rig, picture
from tests.support.scripted_engine import ScriptedEngine
from tests.support.waiting import until

THREAD = CHANNEL.in_thread("t")
WORKSPACE = ThreadKey("test", "w")


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.engine.auto = "ok"
    return rig


async def command(
    rig: Rig, which: str, by: Author = ADMIN, key: ThreadKey = THREAD, /, **args: str
) -> CommandReply:
    reply = await rig.service.handle(CommandInvoked(key, by, which, args))
    assert reply is not None
    return reply


async def heard(rig: Rig, **fields: Any) -> bool:
    """Whether a message that mentions nobody, or as told, is answered."""
    before = len(rig.engine.requests)
    fields = {"mentions_bot": False, "thread": ""} | fields
    assert await rig.service.handle(rig.message("hello", **fields)) is None
    await until(lambda: not len(rig.service._conversations))
    return len(rig.engine.requests) > before


def test_each_setting_comes_from_the_narrowest_place_that_has_it() -> None:
    found = {
        WORKSPACE: ChannelSettings(mode=Mode.NEVER, retention_days=30),
        CHANNEL: ChannelSettings(mode=Mode.ALWAYS, inline=True),
        THREAD: ChannelSettings(inline=False, max_images=50),
    }
    resolved = scoped_settings.merge(THREAD.scopes(), found, ServiceSettings(max_images=8))
    assert resolved.settings == ChannelSettings(Mode.ALWAYS, False, False, 30, 8)
    assert resolved.sources["mode"] == CHANNEL
    assert "answer_bots" not in resolved.sources


@pytest.mark.parametrize(
    ("mode", "plain", "mention", "in_thread"),
    [
        ("mention", False, True, True),
        ("always", True, True, True),
        ("strict", False, True, False),
        ("never", False, False, False),
    ],
)
async def test_the_channel_s_mode_counts(
    rig: Rig, mode: str, plain: bool, mention: bool, in_thread: bool
) -> None:
    await rig.exchange("the bot is in this thread", "ok", thread="t")
    assert (await command(rig, "settings set", ADMIN, CHANNEL, mode=mode)).ok
    assert await heard(rig) is plain
    assert await heard(rig, mentions_bot=True) is mention
    assert await heard(rig, thread="t") is in_thread
    assert await heard(rig, thread="other") is (mode == "always")


async def test_a_thread_s_own_mode_comes_before_its_channel_s(rig: Rig) -> None:
    await command(rig, "settings set", ADMIN, CHANNEL, mode="never")
    await command(rig, "settings set", mode="always", scope="thread")
    assert await heard(rig, thread="t")
    assert not await heard(rig)
    await command(rig, "settings set", mode="inherit", scope="thread")
    assert not await heard(rig, thread="t")


async def test_inline_and_bots_by_channel(rig: Rig) -> None:
    bot = Author("b", "Deploys", is_bot=True)
    assert not await heard(rig, mentions_bot=True, author=bot)
    await command(rig, "settings set", inline="on", answer_bots="on")
    assert await heard(rig, mentions_bot=True, author=bot)
    assert rig.target.sinks[-1].turn.key == CHANNEL


async def test_how_many_pictures_a_channel_looks_at() -> None:
    rig = Rig(engine=ScriptedEngine(sees_images=True))
    rig.engine.auto = "ok"
    await command(rig, "settings set", max_images="1")
    await rig.say("look", attachments=(picture("a.png"), picture("b.png", b"other")))
    (note,) = (await rig.target.finished(0)).notes
    assert "didn't see: b.png" in note


async def test_in_a_dm_silence_is_explained(rig: Rig) -> None:
    await command(rig, "settings set", ADMIN, CHANNEL, mode="never")
    event = rig.message("hello?", is_dm=True, thread="")
    reply = await rig.service.handle(event)
    assert reply is not None
    assert not reply.ok
    assert "mode=never" in reply.text


async def test_who_asks_by_a_command_is_told_that_the_bot_is_off_there(rig: Rig) -> None:
    await command(rig, "settings set", ADMIN, THREAD, mode="never", scope="thread")
    event = rig.message("hello?", thread="ask-1", asked_in=THREAD)
    reply = await rig.service.handle(event)
    assert reply is not None
    assert reply.text == texts.SWITCHED_OFF
    elsewhere = rig.message("hello?", thread="ask-2", asked_in=CHANNEL)
    assert await rig.service.handle(elsewhere) is None
    (request,) = [await rig.engine.request(0)]
    assert request.conversation == str(CHANNEL.in_thread("ask-2"))


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({}, "Name a setting to change: mode=..., inline=..., answer_bots=..."),
        ({"mode": "loud"}, "mode must be one of: mention, always, strict, never, inherit"),
        ({"inline": "maybe"}, "inline must be one of: on, off, inherit"),
        ({"retention_days": "-1"}, "retention_days must be a whole number from 0 to 3,650"),
        ({"max_images": "9" * 5000}, "max_images must be a whole number"),
        ({"max_images": "²"}, "max_images must be a whole number"),
        ({"mode": "always", "scope": "moon"}, "The scope must be one of"),
    ],
)
async def test_wrong_settings_are_explained_and_change_nothing(
    rig: Rig, args: dict[str, str], told: str
) -> None:
    reply = await command(rig, "settings set", **args)
    assert not reply.ok
    assert told in reply.text
    assert rig.store.settings == {}
    assert rig.store.entries == []


async def test_show_says_where_each_comes_from(rig: Rig) -> None:
    await command(rig, "settings set", mode="always", retention_days="30", scope="workspace")
    text = (await command(rig, "settings show", ANA)).text
    assert "- mode: always (set for the workspace)" in text
    assert "- retention_days: 30 days (set for the workspace)" in text
    assert "- inline: off (the operator's default)" in text


ADMINS_ONLY = [
    ("settings set", {"mode": "never"}),
    ("audit", {}),
    ("persona set", {"text": "x"}),
    ("persona clear", {}),
    ("persona use", {"name": "pirate"}),
    ("persona undo", {}),
    ("persona default", {"text": "x"}),
    ("persona preview", {"text": "x"}),
    ("persona-library add", {"name": "x", "text": "x"}),
    ("persona-library edit", {"name": "pirate", "text": "x"}),
    ("persona-library remove", {"name": "pirate"}),
]


@pytest.mark.parametrize(("name", "args"), ADMINS_ONLY)
async def test_admin_commands_are_refused_to_others(
    rig: Rig, name: str, args: dict[str, str]
) -> None:
    reply = await command(rig, name, ANA, **args)
    assert not reply.ok
    assert "admin" in reply.text
    assert rig.store.entries == []
    assert rig.engine.requests == []


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("settings set", {"mode": "never", "scope": "workspace"}),
        ("persona default", {"text": "x"}),
        ("persona-library add", {"name": "x", "text": "x"}),
        ("audit", {}),
    ],
)
async def test_a_dm_gives_no_power_over_the_workspace(
    rig: Rig, name: str, args: dict[str, str]
) -> None:
    reply = await rig.service.handle(CommandInvoked(CHANNEL, ANA, name, args, is_dm=True))
    assert reply is not None
    assert not reply.ok
    assert rig.store.entries == []


async def test_every_change_is_in_the_audit_trail(rig: Rig) -> None:
    await command(rig, "persona set", text="Be a pirate.", temperature="0.2")
    await command(rig, "persona clear")
    await command(rig, "settings set", mode="always")
    await command(rig, "persona-library add", name="sea dog", text="Arr.")
    told = [(e.action, e.scope, e.before, e.after) for e in rig.store.entries]
    pirate = "Be a pirate. (temperature 0.2)"
    assert told == [
        ("persona set", CHANNEL, "none", pirate),
        ("persona clear", CHANNEL, pirate, "none"),
        ("settings set", CHANNEL, "nothing set", "mode=always"),
        ("persona-library add", WORKSPACE, "", "sea dog: Arr."),
    ]
    assert {(entry.by_id, entry.by_name) for entry in rig.store.entries} == {("u9", "Root")}
    lines = (await command(rig, "audit")).text.splitlines()
    assert len(lines) == 4
    assert "Root, workspace: persona-library add: none → sea dog: Arr." in lines[0]


async def test_feedback_is_anybody_s_and_the_last_counts(rig: Rig) -> None:
    turn = await rig.exchange("hi", "ok")
    for by, action in ((ANA, "good"), (BOB, "good"), (ANA, "bad")):
        reply = await rig.service.handle(ControlPressed(THREAD, by, action, turn.id))
        assert reply is not None
        assert reply.ok
    assert rig.store.ratings == {(turn.id, "u1"): "bad", (turn.id, "u2"): "good"}


@pytest.mark.parametrize("elsewhere", [ThreadKey("test", "w", "other"), THREAD])
async def test_feedback_does_not_reach_elsewhere(rig: Rig, elsewhere: ThreadKey) -> None:
    turn = await rig.exchange("hi", "ok")
    turn_id = turn.id + 1000 if elsewhere == THREAD else turn.id
    reply = await rig.service.handle(ControlPressed(elsewhere, ANA, "good", turn_id))
    assert reply is not None
    assert not reply.ok
    assert rig.store.ratings == {}


async def test_usage_shows_people_theirs_and_admins_all(rig: Rig) -> None:
    await rig.exchange("hi", "ok")
    await rig.exchange("hi", "ok", author=BOB)
    assert "Your usage in the last 30 days: 1 reply" in (await command(rig, "usage", ANA)).text
    text = (await command(rig, "usage", days="7")).text
    assert "All usage in the last 7 days: 2 replies" in text
    assert "- u1: 1 reply," in text


@pytest.mark.parametrize("days", ["0", "-1", "x", "1" * 40])
async def test_usage_of_no_number_of_days(rig: Rig, days: str) -> None:
    assert not (await command(rig, "usage", days=days)).ok


async def test_a_typed_command_delivered_twice_runs_once(rig: Rig) -> None:
    event = rig.message("!persona set Be kind.", author=ADMIN, id="c1")
    assert await rig.service.handle(event) is not None
    assert await rig.service.handle(event) is None
    assert len(rig.store.entries) == 1


async def test_overview(rig: Rig) -> None:
    await rig.exchange("hi", "ok")
    await command(rig, "persona default", text="Be kind.")
    await command(rig, "settings set", mode="always")
    seen = await rig.queries.overview(THREAD)
    assert [version.text for version in seen.personas] == ["Be kind."]
    assert seen.settings == {CHANNEL: ChannelSettings(mode=Mode.ALWAYS)}
    assert seen.usage.replies == 1
    assert [entry.action for entry in seen.audit] == ["settings set", "persona default"]


async def test_its_own_messages_are_not_looked_up(rig: Rig) -> None:
    rig.store.failing.add("channel_settings")
    me = Author("p", "Parley", is_self=True)
    assert await rig.service.handle(MessageReceived(CHANNEL, "m", me, "hi")) is None
