"""`parley run` as a real process against the local Slack: a tiny random model answers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.servers.slack.people import Person
from tests.servers.slack.server import SlackServer, until
from tests.servers.slack.world import Channel, Team, buttons, shown
from tests.support.models import save_tiny
from tests.support.pictures import encoded, plain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE_S = 300.0  # a loaded machine takes minutes to import torch
PNG = encoded(plain())
Message = dict[str, Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), sees=True)


class Parley:
    """The process; its database and logs are in `folder`."""

    def __init__(self, slack: SlackServer, team: Team, model: Path, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.folder = folder
        self.env = {
            **{name: value for name, value in os.environ.items() if "TOKEN" not in name},
            "SLACK_API_URL": slack.api_url,
            "SLACK_BOT_TOKEN": team.bot_token,
            "SLACK_APP_TOKEN": slack.app_token,
            "PARLEY_MODEL": str(model),
            "PARLEY_DATA_DIR": str(folder),
            "PARLEY_HTTP_PORT": str(self.port),
            "PARLEY_EXTRA_MEDIA_HOSTS": slack.host,
            "PARLEY_MAX_CONTEXT": "2048",
            "PARLEY_MAX_NEW_TOKENS": "24",
            "PARLEY_SYSTEM_PROMPT": "Be short.",
            "PARLEY_SHUTDOWN_GRACE_S": "1",
            "NO_COLOR": "1",
        }
        self.process: asyncio.subprocess.Process | None = None
        self.log = folder / "log.txt"

    async def start(self, **env: str) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot", "run", env={**self.env, **env}, stdout=log, stderr=log
            )
        await self.ready()

    async def ready(self) -> None:
        url = f"http://127.0.0.1:{self.port}/readyz"
        async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as session:
            while True:
                assert self.process is not None
                assert self.process.returncode is None, self.log.read_text()[-2000:]
                try:
                    async with session.get(url) as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.2)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(how)
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()


class World:
    """One workspace with people in it, and the process that serves it."""

    def __init__(self, slack: SlackServer, parley: Parley, team: Team) -> None:
        self.slack, self.parley, self.team = slack, parley, team
        self.people = [Person(slack, team, name) for name in ("Ana", "Bob", "Cy", "Dee", "Eve")]
        self.ana, self.bob = self.people[:2]
        self.root = Person(slack, team, "Root", admin=True)
        self.general = team.add_channel("general")

    async def answer(self, channel: Channel, question: Message, number: int = 0) -> Message:
        """The bot's finished reply of this number in the question's thread."""
        root = question.get("thread_ts", question["ts"])

        def find() -> Message | None:
            mine = [m for m in channel.thread(root) if m.get("bot_id")]
            ended = [m for m in mine if "parley_regenerate" in buttons(m)]
            return ended[number] if len(ended) > number else None

        found: Message = await until(find, PATIENCE_S, f"reply {number} to {question['text']!r}")
        return found


@pytest.fixture
async def world(model: Path, tmp_path: Path) -> AsyncIterator[World]:
    async with SlackServer() as slack:
        team = slack.add_team()
        made = World(slack, Parley(slack, team, model, tmp_path), team)
        await made.parley.start()
        yield made
        assert await made.parley.end() == 0
        log = made.parley.log.read_text()
        assert "Traceback" not in log, log[-4000:]
        for secret in (team.bot_token, slack.app_token):
            assert secret not in log


async def test_a_mention_with_a_picture_a_follow_up_and_a_dm(world: World) -> None:
    ana, general = world.ana, world.general
    question = ana.mention(general, "what is this?", files=[("a.png", "image/png", PNG)])
    reply = await world.answer(general, question)
    assert shown(reply)
    assert reply["appends"] >= 1
    assert "can't see" not in str(reply["blocks"])
    more = ana.say(general, "and now?", thread=question["ts"])
    await world.answer(general, more, 1)
    private = ana.say(ana.dm, "hello")
    await world.answer(ana.dm, private)
    assert not world.slack.made("chat.startStream", "missing_recipient_user_id")


async def test_five_people_in_three_threads_each_answered_once(world: World) -> None:
    world.slack.delivery.echoes = 2
    general = world.general
    roots = [person.mention(general, f"I am {person.name}") for person in world.people[:3]]
    for root in roots:
        await world.answer(general, root)
    for person, root in zip(world.people[3:], roots, strict=False):
        person.say(general, f"and I am {person.name}", thread=root["ts"])
    for root in roots[:2]:
        await world.answer(general, root, 1)
    await world.slack.delivery.settled()
    mine = [m for m in general.messages.values() if m.get("bot_id")]
    assert len(mine) == 5


async def test_a_persona_by_modal_is_refused_to_others(world: World) -> None:
    assert "admin" in await world.ana.told(world.ana.slash(world.general, "persona set"))
    world.root.slash(world.general, "persona set")
    view = await world.root.view()
    sent = world.ana.submit(view, {"text": "Ana was here"})
    await asyncio.wait_for(sent.acked.wait(), 10)
    assert sent.answer is not None
    sent = world.root.submit(view, {"text": "You are a pirate."})
    await asyncio.wait_for(sent.acked.wait(), 10)
    shown_persona = await world.ana.told(world.ana.slash(world.general, "persona show"))
    assert "You are a pirate." in shown_persona
    assert "Root" in shown_persona


async def test_a_429_on_every_method(world: World) -> None:
    world.slack.limit_all(retry_after=1)
    question = world.ana.mention(world.general, "hello")
    await world.answer(world.general, question)
    assert world.slack.made("chat.stopStream", "ratelimited")


async def test_a_dropped_socket_and_kill_minus_nine_in_mid_answer(world: World) -> None:
    general = world.general
    first = world.ana.mention(general, "hello")
    await world.answer(general, first)
    world.slack.sockets.drop()
    second = world.bob.mention(general, "are you still there?")
    await world.answer(general, second)
    await world.parley.end()
    # The likeliest words of the tiny model go on for some thousand tokens; drawn ones end soon.
    await world.parley.start(
        PARLEY_MAX_NEW_TOKENS="3000", PARLEY_MAX_CONTEXT="8192", PARLEY_TEMPERATURE="0"
    )
    third = world.ana.mention(general, "tell me a long story")
    # Where it stands is written down before the next piece is shown.
    await until(
        lambda: any(m.get("appends", 0) >= 3 for m in general.thread(third["ts"])),
        PATIENCE_S,
        "the story's beginning",
    )
    await world.parley.end(signal.SIGKILL)
    begun = general.thread(third["ts"])[0]
    assert begun["streaming"]
    fourth = world.bob.mention(general, "while you were away")
    await world.parley.start()
    reply = await world.answer(general, third)
    await world.answer(general, fourth)
    assert reply["ts"] == begun["ts"]
    assert len(general.thread(third["ts"])) == 1


async def test_http_mode(model: Path, tmp_path: Path) -> None:
    async with SlackServer() as slack:
        team = slack.add_team()
        parley = Parley(slack, team, model, tmp_path)
        del parley.env["SLACK_APP_TOKEN"]
        await parley.start(SLACK_SIGNING_SECRET=slack.signing_secret)
        slack.over_http(f"http://127.0.0.1:{parley.port}/slack/events")
        world = World(slack, parley, team)
        try:
            question = world.ana.mention(world.general, "hello over HTTP")
            await world.answer(world.general, question)
            assert "/parley" in await world.ana.told(world.ana.slash(world.general, "help"))
        finally:
            assert await parley.end() == 0


async def test_a_wrong_token_ends_the_process_with_one_line(model: Path, tmp_path: Path) -> None:
    async with SlackServer() as slack:
        team = slack.add_team()
        parley = Parley(slack, team, model, tmp_path)
        parley.env["SLACK_APP_TOKEN"] = "xapp-wrong"
        with pytest.raises(AssertionError):
            await parley.start()
        assert await parley.end() == 1
        log = parley.log.read_text()
        assert "SLACK_APP_TOKEN" in log
        assert "Traceback" not in log
        assert "xapp-wrong" not in log
