"""A whole Parley on the local Slack in one process: real Bolt and SDK, a scripted engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from bot.core.queries import StoreQueries
from bot.core.service import Service
from bot.core.service_settings import ServiceSettings
from bot.media.hosts import parse_extra_hosts
from bot.platforms.slack.adapter import SlackAdapter
from bot.platforms.slack.options import SlackOptions
from bot.platforms.slack.sink import Timing
from tests.servers.slack.people import Person
from tests.servers.slack.server import SlackServer
from tests.servers.slack.world import Channel, Team, buttons, shown
from tests.servers.waiting import until
from tests.support.core_rig import FakeReader
from tests.support.memory_store import MemoryStore
from tests.support.scripted_engine import Request, ScriptedEngine

QUICK = Timing(append_s=0.0, edit_s=0.0, eager_chars=1, stop_after_s=600.0)
Message = dict[str, Any]


@dataclass
class Rig:
    """Everything, at hand for a test."""

    slack: SlackServer
    team: Team
    engine: ScriptedEngine
    store: MemoryStore
    service: Service
    adapter: SlackAdapter
    options: SlackOptions
    ana: Person
    bob: Person
    root: Person
    general: Channel
    crashed: list[SlackAdapter] = field(default_factory=list)

    async def restart(self, **changes: Any) -> None:
        """Another process on the same database."""
        await self.stop()
        await self._begin(**changes)

    async def crash(self) -> None:
        """Another process takes over, and nothing of the old one is drained."""
        self.crashed.append(self.adapter)
        await self._begin()

    def age_names(self) -> None:
        """Let the known names be older than rights may be."""
        cache = self.adapter._names._people
        for place, (at, kept, value) in list(cache._entries.items()):
            cache._entries[place] = (at - 60, kept, value)

    @property
    def queries(self) -> StoreQueries:
        return StoreQueries(self.store, ServiceSettings())

    async def stop(self) -> None:
        """Stop as `parley run` does: hear nothing more, hand back what is owed, let go."""
        await self.adapter.pause()
        await self.service.drain(0.0)
        await self.adapter.close()

    async def close(self) -> None:
        """Let go of everything. What is not closed asks for a new socket again and again, and
        the event loop never ends."""
        for adapter in self.crashed:
            await adapter.close()
        await self.stop()

    async def _begin(self, **changes: Any) -> None:
        self.service = Service(self.store, self.engine, FakeReader(), ServiceSettings())
        self.adapter = SlackAdapter(
            self.service.handle, self.queries, replace(self.options, **changes)
        )
        await self.adapter.start()
        await self.service.start()
        self.service.register("slack", self.adapter)

    async def asked(self, number: int) -> Request:
        """The engine's request of this number."""
        await until(lambda: len(self.engine.requests) > number, what=f"request {number}")
        return self.engine.requests[number]

    async def reply(self, channel: Channel, thread: str, text: str) -> Message:
        """The bot's message in a thread that says `text` in the end, once its buttons are there."""

        def find() -> Message | None:
            messages = channel.thread(thread) if thread else list(channel.messages.values())
            for message in messages:
                ended = "parley_regenerate" in buttons(message)
                if message.get("bot_id") and ended and text in shown(message):
                    return message
            return None

        found: Message = await until(find, what=f"a reply that says {text!r}")
        return found

    async def exchange(self, channel: Channel, question: Message, answer: str) -> Message:
        """Let the engine answer the next request; the finished reply."""
        request: Request = await until(
            lambda: next((r for r in self.engine.requests if not r.written and not r.closed), None),
            what="a request that waits for its answer",
        )
        request.write(answer)
        request.finish()
        root = question.get("thread_ts", question["ts"])
        return await self.reply(channel, root, answer)

    def bots(self, channel: Channel) -> list[Message]:
        """The bot's messages in a channel."""
        return [m for m in channel.messages.values() if m.get("bot_id") == self.team.bot_id]


@asynccontextmanager
async def slack_rig(
    *, engine: ScriptedEngine | None = None, settings: ServiceSettings | None = None, **changes: Any
) -> AsyncIterator[Rig]:
    """A rig that is connected. `changes` are those to `SlackOptions`."""
    engine = engine or ScriptedEngine(sees_images=True, max_context=4_000)
    async with SlackServer() as slack:
        team = slack.add_team()
        ana, bob = Person(slack, team, "Ana"), Person(slack, team, "Bob")
        root = Person(slack, team, "Root", admin=True)
        general = team.add_channel("general")
        store = MemoryStore()
        service = Service(store, engine, FakeReader(), settings or ServiceSettings())
        options = SlackOptions(
            **{
                "api_url": slack.api_url,
                "bot_token": team.bot_token,
                "app_token": slack.app_token,
                "signing_secret": slack.signing_secret,
                "extra_media_hosts": parse_extra_hosts(slack.host),
                "sockets": 1,
                "timing": QUICK,
                **changes,
            }
        )
        adapter = SlackAdapter(service.handle, StoreQueries(store, ServiceSettings()), options)
        await adapter.start()
        await service.start()
        service.register("slack", adapter)
        rig = Rig(slack, team, engine, store, service, adapter, options, ana, bob, root, general)
        try:
            yield rig
        finally:
            await rig.close()
