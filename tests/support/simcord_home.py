"""Parley's adapter in simcord: Discord in process, a store in memory, an engine tests drive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import discord
import simcord

from bot.core.conversations import Conversations
from bot.core.generation import Generation
from bot.platforms.discord.adapter import DiscordAdapter, DiscordOptions
from bot.platforms.discord.client import make_client
from tests.support.core_rig import Rig as CoreRig
from tests.support.scripted_engine import Request
from tests.support.waiting import until


@dataclass
class Home:
    """A server with a channel; Ana and Bob are members, Mo moderates and Olga manages it."""

    env: simcord.Env
    core: CoreRig
    guild: Any
    channel: Any
    ana: Any
    bob: Any
    mo: Any
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

    async def begin(self, text: str = "Hello", *, written: str = "First words") -> Request:
        """A reply that is being written; the home has to be `running`."""
        self.core.engine.auto = None
        number = len(self.core.engine.requests)
        self.question = await self.ana.send(self.channel, f"{self.call} {text}")
        request = await self.core.engine.request(number)
        request.write(written)
        await until(lambda: self.channel.threads and self.texts(self.thread()) == [written])
        return request

    async def form(self, who: Any, name: str, values: dict[str, str], /, **options: Any) -> Any:
        """A command's form, filled in and sent; what comes of it."""
        shown = await who.slash(self.channel, name, **options)
        assert shown.modal is not None
        return await who.submit_modal(shown, values)

    def allow(self, name: str, who: Any) -> None:
        """Let somebody use a command whatever its default permission, as an admin of Discord's
        can."""
        command = self.env.backend.find_command(name, self.guild.id, type=1)
        assert command is not None
        self.guild.set_command_permissions(int(command["id"]), {who: True})

    def thread(self, number: int = 0) -> Any:
        return self.channel.threads[number]

    def texts(self, channel: Any) -> list[str]:
        me = self.env.bot.user
        return [m.content for m in channel.history() if m.author == me]


@contextmanager
def _declared(env: simcord.Env) -> Iterator[None]:
    """Tell simcord that replies wait for the engine, which only the test can end: `settle` does
    not wait for them then."""

    def declare(original: Any) -> Any:
        async def waits(*args: Any) -> Any:
            return await env.external_wait(original(*args), reason="the engine is a test's")

        return waits

    with (
        patch.object(Conversations, "_run", declare(Conversations._run)),
        patch.object(Generation, "_read", declare(Generation._read)),
    ):
        yield


@asynccontextmanager
async def a_home(*, running: bool = False, **denied: bool) -> AsyncIterator[Home]:
    """`running`: replies do not end by themselves. `denied`: what nobody, and so not the bot,
    may do in the channel (`create_public_threads=False`)."""
    core = CoreRig()
    core.engine.auto = "An answer."
    adapter = DiscordAdapter(
        core.service.handle, core.queries, DiscordOptions("token", catch_up_s=0)
    )
    adapter._pacer._interval_s = 0
    client = make_client(adapter, content=True)
    async with simcord.run(client) as env:
        core.service.register("discord", adapter)
        guild = env.create_guild(name="Home")
        overwrites = {guild.default_role: discord.PermissionOverwrite(**denied)} if denied else {}
        channel = guild.create_text_channel("general", overwrites=overwrites)
        ana, bob = (guild.add_member(env.create_user(name)) for name in ("ana", "bob"))

        def member(name: str, **permissions: bool) -> Any:
            role = guild.create_role(name, permissions=discord.Permissions(**permissions))
            return guild.add_member(env.create_user(name), roles=[role])

        mo, olga = member("mo", manage_messages=True), member("olga", manage_guild=True)
        with _declared(env) if running else nullcontext():
            yield Home(env, core, guild, channel, ana, bob, mo, olga)
        await core.service.drain(0)
        await adapter.close()
