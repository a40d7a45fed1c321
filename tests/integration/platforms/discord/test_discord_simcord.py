"""The adapter on simcord, in process: somebody else's idea of Discord, with its validations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import discord
import simcord

from bot.platforms.discord.adapter import DiscordAdapter, DiscordOptions
from bot.platforms.discord.client import make_client
from tests.support.core_rig import Rig as CoreRig


@dataclass
class Home:
    env: simcord.Env
    core: CoreRig
    channel: Any
    ana: Any
    bob: Any
    olga: Any

    @property
    def call(self) -> str:
        user = self.env.bot.user
        assert user is not None
        return user.mention

    async def ask(self, text: str = "Hello", **options: Any) -> Any:
        message = await self.ana.send(self.channel, f"{self.call} {text}", **options)
        await self.env.settle()
        return message

    def thread(self, number: int = 0) -> Any:
        return self.channel.threads[number]

    def texts(self, channel: Any) -> list[str]:
        me = self.env.bot.user
        return [m.content for m in channel.history() if m.author == me]


@asynccontextmanager
async def a_home() -> AsyncIterator[Home]:
    core = CoreRig()
    core.engine.auto = "An answer."
    adapter = DiscordAdapter(core.service, DiscordOptions("token", catch_up_s=0))
    adapter._pacer._interval_s = 0
    client = make_client(adapter, content=True)
    async with simcord.run(client) as env:
        core.service.register("discord", adapter)
        guild = env.create_guild(name="Home")
        channel = guild.create_text_channel("general")
        ana, bob = (guild.add_member(env.create_user(name)) for name in ("ana", "bob"))
        admins = guild.create_role("admins", permissions=discord.Permissions(manage_guild=True))
        olga = guild.add_member(env.create_user("olga"), roles=[admins])
        yield Home(env, core, channel, ana, bob, olga)
        await core.service.drain(0)
        await adapter.close()


async def test_a_mention_opens_a_thread_with_the_answer() -> None:
    async with a_home() as home:
        await home.ask("Why?")
        assert home.thread().name == "Why?"
        assert home.texts(home.thread()) == ["An answer."]
        await home.ana.send(home.thread(), "And why that?")
        await home.env.settle()
        assert home.texts(home.thread()) == ["An answer.", "An answer."]


async def test_the_buttons() -> None:
    async with a_home() as home:
        await home.ask()
        post = home.thread().last_message
        good = post.components[0].children[1].custom_id
        assert good.startswith("parley:good:")
        liked = await home.bob.click(post, custom_id=good)
        assert [m.content for m in liked.followups] == ["Thank you, noted."]
        refused = await home.bob.click(post, label="Regenerate")
        assert "Only the person who asked" in refused.followups[0].content
        assert refused.followups[0].ephemeral
        home.core.engine.auto = "Another answer."
        await home.ana.click(post, label="Regenerate")
        await home.env.settle()
        assert home.texts(home.thread()) == ["Another answer."]


async def test_an_admin_sets_a_persona_and_others_do_not_see_the_command() -> None:
    async with a_home() as home:
        shown = await home.olga.slash(home.channel, "persona set")
        assert shown.modal is not None
        done = await home.olga.submit_modal(shown, {"text": "You are a pirate.", "more": "seed=1"})
        assert "is set" in done.response.content
        assert "persona set" not in home.ana.available_commands(home.channel)
        assert "ask" in home.ana.available_commands(home.channel)
        await home.ask()
        (request,) = home.core.engine.requests
        assert "You are a pirate." in "".join(p.text for m in request.messages for p in m.parts)


async def test_ask_and_the_menu() -> None:
    async with a_home() as home:
        asked = await home.bob.slash(home.channel, "ask", question="What?", private=True)
        await home.env.settle()
        assert asked.response.content == "An answer."
        assert asked.response.ephemeral
        message = await home.ana.send(home.channel, "my cat", attachments=[("cat.png", b"a cat")])
        form = await home.bob.context_menu(home.channel, "Ask about this", message)
        answered = await home.bob.submit_modal(form, {"question": "What is it?"})
        await home.env.settle()
        assert answered.response.content.startswith("An answer.")
        assert "my cat" in home.core.engine.requests[-1].asked


async def test_edit_and_delete() -> None:
    async with a_home() as home:
        message = await home.ask("What is 2+2?")
        await home.ana.edit(message, f"{home.call} What is 3+3?")
        await home.env.settle()
        await home.ana.click(home.thread().last_message, label="Regenerate")
        await home.env.settle()
        assert home.core.engine.requests[-1].asked.endswith("What is 3+3?")
        await home.ana.delete(message)
        await home.env.settle()
        assert home.texts(home.thread()) == []


async def test_a_long_answer_is_split() -> None:
    async with a_home() as home:
        home.core.engine.auto = "```\n" + "line\n" * 900 + "```"
        await home.ask()
        texts = home.texts(home.thread())
        assert len(texts) == 3
        assert all(text.count("```") == 2 and len(text) <= 2000 for text in texts)
