"""Parley's adapter on the local Discord, with a real database and an engine that tests drive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.core.events import ThreadKey
from bot.core.queries import StoreQueries
from bot.core.service import Service
from bot.core.service_settings import ServiceSettings
from bot.media.hosts import parse_extra_hosts
from bot.platforms.discord import keys
from bot.platforms.discord.adapter import DiscordAdapter, DiscordOptions
from bot.storage.database import Database
from bot.storage.discord import DiscordInteractions
from bot.storage.store import SqlStore
from tests.servers.discord.server import DiscordServer
from tests.servers.discord.world import Channel, Message, User
from tests.servers.waiting import until
from tests.support import databases
from tests.support.core_rig import FakeReader
from tests.support.scripted_engine import Request, ScriptedEngine

WAIT_S = 30.0


@dataclass
class Rig:
    """A server "Home" with a channel "general", Ana and Bob in it, and the bot."""

    discord: DiscordServer
    engine: ScriptedEngine
    service: Service
    adapter: DiscordAdapter
    store: SqlStore
    ana: User
    bob: User
    general: Channel

    async def until(self, condition: Callable[[], object]) -> None:
        await until(condition, WAIT_S)

    async def request(self, number: int) -> Request:
        """The engine's request of this number, from 0."""
        await self.until(lambda: len(self.engine.requests) > number)
        return self.engine.requests[number]

    def thread(self, message: Message) -> Channel | None:
        """The thread that was opened from a message."""
        return self.discord.channels.get(message.id)

    async def ask(self, text: str, *, author: User | None = None, **options: Any) -> Message:
        """Mention the bot in the channel."""
        asker = author or self.ana
        return await self.discord.say(
            asker, self.general, f"{self.discord.bot.mention} {text}", **options
        )

    async def reply(self, channel: Channel, number: int = 0) -> Message:
        """The bot's message of this number in a channel, as soon as it is there."""
        await self.until(lambda: len(channel.of_bot()) > number)
        return channel.of_bot()[number]

    async def put_down(self, post: Message) -> None:
        """Wait until the core has stored that a reply stands in this message: a moment after it
        does."""
        posted = keys.posted_id(post.channel.id, post.id)
        guild = post.channel.guild
        workspace = str(guild.id) if guild is not None else keys.DIRECT
        parent = post.channel.parent or post.channel
        channel = ThreadKey(keys.PLATFORM, workspace, str(parent.id))
        async with asyncio.timeout(WAIT_S):
            while await self.store.conversation_of(channel, posted) is None:
                await asyncio.sleep(0.02)

    async def exchange(self, text: str, answer: str, **options: Any) -> tuple[Message, Channel]:
        """A question in the channel, answered in its thread to the end."""
        number = len(self.engine.requests)
        asked = await self.ask(text, **options)
        request = await self.request(number)
        request.write(answer)
        request.finish()
        await self.until(lambda: self.thread(asked) is not None)
        thread = self.discord.channels[asked.id]
        await self.ended(thread)
        return asked, thread

    async def ended(self, channel: Channel, number: int = -1) -> Message:
        """A reply of the bot's that has its last buttons."""

        def found() -> bool:
            posts = channel.of_bot()
            return bool(posts) and "Regenerate" in posts[number].labels

        await self.until(found)
        return channel.of_bot()[number]


@asynccontextmanager
async def rig(
    folder: Path,
    *,
    discord: DiscordServer | None = None,
    settings: ServiceSettings | None = None,
    auto: str | None = None,
    pace_s: float = 0.05,
    **options: Any,
) -> AsyncIterator[Rig]:
    """Everything between Discord's sockets and the engine."""
    if discord is None:
        async with (
            DiscordServer() as server,
            rig(
                folder, discord=server, settings=settings, auto=auto, pace_s=pace_s, **options
            ) as found,
        ):
            yield found
        return
    discord.limits.rules |= {"send": (200, 1.0), "edit": (200, 1.0)}  # tests of limits set theirs
    engine = ScriptedEngine(sees_images=True, max_context=4000)
    engine.auto = auto
    database = Database(f"sqlite+aiosqlite:///{folder / 'parley.db'}")
    await databases.migrate(database)
    store = SqlStore(database)
    service = Service(store, engine, FakeReader(), settings or ServiceSettings())
    wanted = DiscordOptions(
        token=discord.token,
        api_url=discord.api_url,
        extra_hosts=parse_extra_hosts(discord.host),
        **({"servers_within_s": 0.3} | options),
    )
    queries = StoreQueries(store, settings or ServiceSettings())
    adapter = DiscordAdapter(
        service.handle, queries, wanted, DiscordInteractions(database), clock=discord.moment
    )
    adapter._pacer._interval_s = pace_s
    if not discord.guilds:
        ana, bob = discord.user("Ana"), discord.user("Bob")
        discord.channel(discord.guild("Home", ana, bob))
    guild = next(iter(discord.guilds.values()))
    people = [discord.users[user] for user in guild.members]
    ana = next(user for user in people if user.name == "Ana")
    bob = next(user for user in people if user.name == "Bob")
    general = next(c for c in guild.channels.values() if c.name == "general")
    await service.start()
    await adapter.start()
    service.register(adapter.platform, adapter)
    try:
        yield Rig(discord, engine, service, adapter, store, ana, bob, general)
    finally:
        await service.drain(0)
        await adapter.close()
        await database.close()


__all__ = ["WAIT_S", "Rig", "rig"]
