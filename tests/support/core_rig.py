"""A whole service on a store in memory, a scripted engine and a platform that records."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from bot.core.events import Attachment, Author, MessageReceived, ThreadKey
from bot.core.ports import BadImage, FinishedReply
from bot.core.queries import StoreQueries
from bot.core.records import FileContent, FileText, NormalizedImage, Turn
from bot.core.service import Service
from bot.core.service_settings import ServiceSettings
from tests.support.memory_store import MemoryStore
from tests.support.scripted_engine import ScriptedEngine
from tests.support.waiting import until

CHANNEL = ThreadKey("test", "w", "c")
ANA = Author("u1", "Ana")
BOB = Author("u2", "Bob")
ADMIN = Author("u9", "Root", is_admin=True)


class RecordingSink:
    """Writes down what is called; `failing` names calls that raise; `hold` makes them wait."""

    def __init__(self, turn: Turn, failing: set[str], hold: asyncio.Event) -> None:
        self.turn = turn
        self.calls: list[tuple[str, Any]] = []
        self.posted: tuple[str, ...] = (f"post-{turn.id}",)
        self._failing = failing
        self.hold = hold

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    @property
    def shown(self) -> str:
        """The text as it stands on the platform before the end."""
        text = ""
        for name, value in self.calls:
            text = "" if name == "restart" else text + (value if name == "write" else "")
        return text

    @property
    def finished(self) -> FinishedReply | None:
        return next((value for name, value in self.calls if name == "finish"), None)

    async def waiting(self, ahead: int) -> None:
        await self._call("waiting", ahead)

    async def write(self, delta: str) -> None:
        await self._call("write", delta)

    async def restart(self) -> None:
        await self._call("restart", None)

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        await self._call("finish", reply)
        return self.posted

    async def withdraw(self) -> None:
        await self._call("withdraw", None)

    async def _call(self, name: str, value: object) -> None:
        await self.hold.wait()
        if name in self._failing:
            raise ConnectionError("the platform is down")
        self.calls.append((name, value))


class RecordingTarget:
    """A platform. `failing` may be changed at any time; clearing `hold` makes it hang."""

    def __init__(self) -> None:
        self.sinks: list[RecordingSink] = []
        self.failing: set[str] = set()
        self.hold = asyncio.Event()
        self.hold.set()

    async def open_reply(self, turn: Turn) -> RecordingSink:
        if "open" in self.failing:
            raise ConnectionError("the platform is down")
        self.sinks.append(RecordingSink(turn, self.failing, self.hold))
        return self.sinks[-1]

    async def finished(self, number: int) -> FinishedReply:
        """How the reply of this number (from 0) ended, as soon as it has."""
        await until(lambda: len(self.sinks) > number and self.sinks[number].finished)
        reply = self.sinks[number].finished
        assert reply is not None
        return reply


class FakeReader:
    """Every file is a picture, unless its bytes say `bad: <reason>` or `text: <text>`."""

    async def read(self, data: bytes) -> NormalizedImage:
        if data.startswith(b"bad: "):
            raise BadImage(data[5:].decode())
        return NormalizedImage(data, hashlib.sha256(data).hexdigest()[:8], 1, 1)

    async def read_file(self, data: bytes) -> FileContent:
        if data.startswith(b"text: "):
            return FileText(data[6:].decode())
        return await self.read(data)


def picture(name: str, data: bytes | Exception = b"pixels", **claims: Any) -> Attachment:
    async def load() -> bytes:
        if isinstance(data, Exception):
            raise data
        return data

    return file(name, load, **claims)


def file(
    name: str,
    load: Callable[[], Awaitable[bytes]],
    *,
    content_type: str = "image/png",
    size: int = 10,
) -> Attachment:
    return Attachment(name, content_type, size, load)


@dataclass
class Rig:
    """The service and everything around it."""

    engine: ScriptedEngine = field(default_factory=ScriptedEngine)
    settings: ServiceSettings = field(default_factory=ServiceSettings)
    store: MemoryStore = field(default_factory=MemoryStore)
    target: RecordingTarget = field(default_factory=RecordingTarget)
    _numbers: Any = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.service = self.new_service()
        self.service.register("test", self.target)
        self.queries = StoreQueries(self.store, self.settings)

    def new_service(self) -> Service:
        return Service(self.store, self.engine, FakeReader(), self.settings)

    def message(
        self,
        text: str,
        *,
        thread: str = "t",
        author: Author = ANA,
        id: str = "",
        **fields: Any,
    ) -> MessageReceived:
        """A message that mentions the bot, in a thread."""
        fields.setdefault("mentions_bot", True)
        key = CHANNEL.in_thread(thread)
        return MessageReceived(key, id or f"m{next(self._numbers)}", author, text, **fields)

    async def say(self, text: str, **fields: Any) -> MessageReceived:
        """Send a message; the service must take it silently."""
        event = self.message(text, **fields)
        assert await self.service.handle(event) is None
        return event

    async def exchange(self, text: str, answer: str = "fine", **fields: Any) -> Turn:
        """A message and its whole reply; the turn as it is stored then."""
        before, sinks = len(self.engine.requests), len(self.target.sinks)
        await self.say(text, **fields)
        request = await self.engine.request(before)
        request.write(answer)
        request.finish()
        await self.target.finished(sinks)
        turn = self.target.sinks[sinks].turn
        await until(lambda: self.store.turns[turn.id].reply_text == answer)
        return self.store.turns[turn.id]
