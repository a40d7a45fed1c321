"""The toy platform: connects to its server, hands lines to the core, posts replies whole."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

from bot.core.events import Attachment, Author, MessageReceived, ThreadKey
from bot.core.ports import FinishedReply, InboundHandler, ReplySink
from bot.core.records import Turn
from bot.platforms.base import PlatformError
from bot.platforms.shared.mentions import Mention, Target, read_mentions
from bot.platforms.shared.message_splitter import split
from bot.platforms.shared.reply_ending import reply_ending

PLATFORM = "toy"
LIMIT = 300  # characters of one post


class ToyAdapter:
    """`bot.platforms.base.Adapter` for the toy platform."""

    platform = PLATFORM

    def __init__(self, handle: InboundHandler, port: int, token: str) -> None:
        self._handle = handle
        self._port = port
        self._token = token
        self._bot = ""
        self._reading: asyncio.Task[None] | None = None
        self._lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._posting = asyncio.Lock()

    @property
    def is_connected(self) -> bool:
        return self._reading is not None and not self._reading.done()

    async def start(self) -> None:
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._send({"token": self._token})
        welcome = json.loads(await reader.readline())
        if welcome["type"] != "welcome":
            raise PlatformError("TOY_TOKEN is refused by the toy server: copy it again")
        self._bot = welcome["bot"]
        self._reading = asyncio.create_task(self._run(reader), name="toy")

    async def watch(self) -> None:
        if self._reading is not None:
            await asyncio.shield(self._reading)
            raise PlatformError("the toy server has gone: start it again")

    async def close(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
            self._writer.close()

    async def open_reply(self, turn: Turn) -> ReplySink:
        return ToyReply(self, turn)

    async def post(self, room: str, text: str) -> int:
        """Post one text; its id. Raises ConnectionError where the server doesn't take it."""
        async with self._posting:
            self._send({"type": "post", "room": room, "text": text})
            answer = await self._answers.get()
        if answer["type"] != "posted":
            raise ConnectionError(answer["reason"])
        return int(answer["id"])

    def _send(self, event: dict[str, Any]) -> None:
        self._writer.write(json.dumps(event).encode() + b"\n")

    async def _run(self, reader: asyncio.StreamReader) -> None:
        taking = asyncio.create_task(self._take(), name="toy lines")
        try:
            while line := await reader.readline():
                event = json.loads(line)
                queue = self._lines if event["type"] == "message" else self._answers
                queue.put_nowait(event)
        finally:
            taking.cancel()

    async def _take(self) -> None:
        """Hand lines to the core in their order. Not in `_run`: a post waits for its answer."""
        while True:
            await self._received(await self._lines.get())

    async def _received(self, line: dict[str, Any]) -> None:
        answer = await self._handle(self._event(line))
        if answer is not None:  # nothing is private here: the answer names whom it is for
            for text in split(f"@{line['by']} {answer.text}", LIMIT):
                await self.post(line["room"], text)

    def _event(self, line: dict[str, Any]) -> MessageReceived:
        said = read_mentions(line["text"], [*self._mentions(line["text"])])
        return MessageReceived(
            key=ThreadKey(PLATFORM, "home", line["room"]),
            id=str(line["id"]),
            author=Author(line["by"], line["by"].title(), is_admin=line["admin"]),
            text=said.text,
            attachments=tuple(map(_attachment, line["files"])),
            is_dm=line["room"].startswith("@"),
            has_threads=False,
            mentions_bot=said.calls_bot,
            addresses_other=said.addresses_other,
        )

    def _mentions(self, text: str) -> Iterator[Mention]:
        for match in re.finditer(r"(?<!\w)@(\w+)", text):
            is_bot = match[1].lower() == self._bot
            target = Target.BOT if is_bot else Target.OTHER
            yield Mention(match.start(), match.end(), target, "@Parley" if is_bot else match[0])


class ToyReply:
    """`bot.core.ports.ReplySink`: posts can't be edited, so the reply comes at its end."""

    def __init__(self, adapter: ToyAdapter, turn: Turn) -> None:
        self._adapter = adapter
        self._room = turn.key.channel

    async def waiting(self, ahead: int) -> None: ...

    async def write(self, delta: str) -> None: ...

    async def restart(self) -> None: ...

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        ending = reply_ending(reply)
        whole = "\n".join(filter(None, (reply.text, ending.marked_error, *ending.notes)))
        posted = [await self._adapter.post(self._room, text) for text in split(whole, LIMIT)]
        return tuple(map(str, posted))

    async def withdraw(self) -> None: ...


def _attachment(file: dict[str, str]) -> Attachment:
    data = base64.b64decode(file["data"])

    async def load() -> bytes:
        return data

    return Attachment(file["name"], file["type"], len(data), load)
