"""`parley run` as a real process against the local Slack: a tiny random model answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers.process import Process, parley
from tests.servers.slack.people import Person
from tests.servers.slack.server import SlackServer
from tests.servers.slack.world import Channel, buttons, shown
from tests.servers.waiting import until
from tests.support.models import save_tiny
from tests.support.pictures import encoded, plain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE_S = 300.0  # a loaded machine takes minutes to import torch
PNG = encoded(plain())
Message = dict[str, Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), sees=True)


class World:
    """One workspace with people in it."""

    def __init__(self, slack: SlackServer, model: Path, folder: Path) -> None:
        self.slack, self.team = slack, slack.add_team()
        team, self._folder = self.team, folder
        self._env = {
            "SLACK_API_URL": slack.api_url,
            "SLACK_BOT_TOKEN": team.bot_token,
            "PARLEY_MODEL": str(model),
            "PARLEY_EXTRA_MEDIA_HOSTS": slack.host,
            "PARLEY_MAX_CONTEXT": "2048",
            "PARLEY_MAX_NEW_TOKENS": "24",
            "PARLEY_SYSTEM_PROMPT": "Be short.",
            "PARLEY_SHUTDOWN_GRACE_S": "1",
        }
        self.people = [Person(slack, team, name) for name in ("Ana", "Bob", "Cy", "Dee", "Eve")]
        self.ana, self.bob = self.people[:2]
        self.root = Person(slack, team, "Root", admin=True)
        self.general = team.add_channel("general")

    @asynccontextmanager
    async def served(self, *, ready: bool = True, **env: str) -> AsyncIterator[Process]:
        """`parley run` serves it, by Socket Mode unless `env` says otherwise; its log is clean."""
        tokens = {"SLACK_APP_TOKEN": self.slack.app_token}
        async with parley(self._folder, {**self._env, **tokens, **env}, ready=ready) as process:
            yield process
        log = "\n".join(process.log)
        assert "Traceback" not in log
        for secret in (self.team.bot_token, *tokens.values(), *env.values()):
            assert len(secret) < 8 or secret not in log

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
        yield World(slack, model, tmp_path)


@pytest.fixture
async def served(world: World) -> AsyncIterator[World]:
    async with world.served() as process:
        yield world
        assert await process.stop() == 0


async def test_a_mention_with_a_picture_a_follow_up_and_a_dm(served: World) -> None:
    ana, general = served.ana, served.general
    question = ana.mention(general, "what is this?", files=[("a.png", "image/png", PNG)])
    reply = await served.answer(general, question)
    assert shown(reply)
    assert reply["appends"] >= 1
    assert "can't see" not in str(reply["blocks"])
    more = ana.say(general, "and now?", thread=question["ts"])
    await served.answer(general, more, 1)
    private = ana.say(ana.dm, "hello")
    await served.answer(ana.dm, private)
    assert not served.slack.made("chat.startStream", "missing_recipient_user_id")


async def test_five_people_in_three_threads_each_answered_once(served: World) -> None:
    served.slack.delivery.echoes = 2
    general = served.general
    roots = [person.mention(general, f"I am {person.name}") for person in served.people[:3]]
    for root in roots:
        await served.answer(general, root)
    for person, root in zip(served.people[3:], roots, strict=False):
        person.say(general, f"and I am {person.name}", thread=root["ts"])
    for root in roots[:2]:
        await served.answer(general, root, 1)
    await served.slack.delivery.settled()
    mine = [m for m in general.messages.values() if m.get("bot_id")]
    assert len(mine) == 5


async def test_a_persona_by_modal_is_refused_to_others(served: World) -> None:
    assert "admin" in await served.ana.told(served.ana.slash(served.general, "persona set"))
    served.root.slash(served.general, "persona set")
    view = await served.root.view()
    sent = served.ana.submit(view, {"text": "Ana was here"})
    await asyncio.wait_for(sent.acked.wait(), 10)
    assert sent.answer is not None
    sent = served.root.submit(view, {"text": "You are a pirate."})
    await asyncio.wait_for(sent.acked.wait(), 10)
    shown_persona = await served.ana.told(served.ana.slash(served.general, "persona show"))
    assert "You are a pirate." in shown_persona
    assert "Root" in shown_persona


async def test_a_429_on_every_method(served: World) -> None:
    served.slack.limit_all(retry_after=1)
    question = served.ana.mention(served.general, "hello")
    await served.answer(served.general, question)
    assert served.slack.made("chat.stopStream", "ratelimited")


async def test_a_dropped_socket(served: World) -> None:
    await served.answer(served.general, served.ana.mention(served.general, "hello"))
    served.slack.sockets.drop()
    question = served.bob.mention(served.general, "are you still there?")
    await served.answer(served.general, question)


async def test_kill_minus_nine_in_mid_answer(world: World) -> None:
    general = world.general
    # The likeliest words of the tiny model go on for some thousand tokens; drawn ones end soon.
    long = {
        "PARLEY_MAX_NEW_TOKENS": "3000",
        "PARLEY_MAX_CONTEXT": "8192",
        "PARLEY_TEMPERATURE": "0",
    }
    async with world.served(**long) as process:
        story = world.ana.mention(general, "tell me a long story")
        # Where it stands is written down before the next piece is shown.
        await until(
            lambda: any(m.get("appends", 0) >= 3 for m in general.thread(story["ts"])),
            PATIENCE_S,
            "the story's beginning",
        )
        await process.kill()
    begun = general.thread(story["ts"])[0]
    assert begun["streaming"]
    meanwhile = world.bob.mention(general, "while you were away")
    async with world.served():
        reply = await world.answer(general, story)
        await world.answer(general, meanwhile)
    assert reply["ts"] == begun["ts"]
    assert len(general.thread(story["ts"])) == 1


async def test_http_mode(world: World) -> None:
    secret = world.slack.signing_secret
    async with world.served(SLACK_APP_TOKEN="", SLACK_SIGNING_SECRET=secret) as process:
        where = (await process.says("health is at ")).rpartition("at ")[2]
        world.slack.over_http(where.replace("/healthz", "/slack/events"))
        question = world.ana.mention(world.general, "hello over HTTP")
        await world.answer(world.general, question)
        assert "/parley" in await world.ana.told(world.ana.slash(world.general, "help"))
        assert await process.stop() == 0


async def test_a_wrong_token_ends_the_process_with_one_line(world: World) -> None:
    async with world.served(ready=False, SLACK_APP_TOKEN="xapp-wrong") as process:
        assert await asyncio.wait_for(process.process.wait(), PATIENCE_S) == 1
        assert (await process.says("SLACK_APP_TOKEN")).startswith("parley: ")
