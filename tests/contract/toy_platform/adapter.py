"""The toy platform: connects to its server, hands lines to the core, posts replies whole."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
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

logger = logging.getLogger(__name__)

PLATFORM = "toy"
MAX_TEXT = 300  # characters of one post
RECONNECT_S = 1.0
DISCONNECTED = {"type": "refused", "reason": "not connected"}


class ToyAdapter:
    """`bot.platforms.base.Adapter` for the toy platform."""

    platform = PLATFORM

    def __init__(self, handle: InboundHandler, port: int, token: str) -> None:
        self._handle = handle
        self._port = port
        self._token = token
        self._bot = ""
        self._connected = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._writer: asyncio.StreamWriter | None = None
        self._lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._acks: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._posting = asyncio.Lock()

    # --- life

    @property
    def is_connected(self) -> bool:
        return self._connected.is_set()

    async def start(self) -> None:
        connection = asyncio.create_task(self._stay_connected(), name="toy connection")
        lines = asyncio.create_task(self._handle_lines(), name="toy lines")
        self._tasks = [connection, lines]
        connected = asyncio.create_task(self._connected.wait())
        await asyncio.wait((connected, connection), return_when=asyncio.FIRST_COMPLETED)
        connected.cancel()
        if connection.done():
            connection.result()

    async def watch(self) -> None:
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _stay_connected(self) -> None:
        """Raises PlatformError if the server refuses the token."""
        while True:
            try:
                reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
                await self._log_in(reader)
                await self._read(reader)
            except OSError as error:
                logger.warning("no connection to the toy server (%s)", type(error).__name__)
            finally:
                self._connected.clear()
                self._acks.put_nowait(DISCONNECTED)  # for a post that waits
                if self._writer is not None:
                    self._writer.close()
            await asyncio.sleep(RECONNECT_S)

    async def _log_in(self, reader: asyncio.StreamReader) -> None:
        self._send({"token": self._token})
        answer = json.loads(await reader.readline() or b"{}")
        if answer.get("type") == "refused":
            raise PlatformError("TOY_TOKEN is refused by the toy server: copy it again")
        self._bot = answer["bot"]
        self._acks = asyncio.Queue()
        self._connected.set()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            event = json.loads(line)
            (self._lines if event["type"] == "message" else self._acks).put_nowait(event)

    def _send(self, event: dict[str, Any]) -> None:
        assert self._writer is not None
        self._writer.write(json.dumps(event).encode() + b"\n")

    # --- events in

    async def _handle_lines(self) -> None:
        """Hand lines to the core in their order; not in `_read`, since a post waits for its ack."""
        while True:
            line = await self._lines.get()
            answer = await self._handle(self._event(line))
            if answer is not None:  # nothing is private here: the answer names whom it is for
                try:
                    await self.post(line["room"], f"@{line['by']} {answer.text}", line["id"])
                except ConnectionError as error:
                    logger.warning("room %s takes no answer: %s", line["room"], error)

    def _event(self, line: dict[str, Any]) -> MessageReceived:
        message = read_mentions(line["text"], list(self._mentions(line["text"])))
        return MessageReceived(
            key=ThreadKey(PLATFORM, "home", line["room"]),
            id=str(line["id"]),
            author=Author(line["by"], line["by"].title(), is_admin=line["admin"]),
            text=message.text,
            attachments=tuple(map(_attachment, line["files"])),
            is_dm=line["room"].startswith("@"),
            has_threads=False,
            mentions_bot=message.calls_bot,
            addresses_other=message.addresses_other,
        )

    def _mentions(self, text: str) -> Iterator[Mention]:
        for match in re.finditer(r"(?<!\w)@(\w+)", text):
            is_bot = match[1].lower() == self._bot
            target = Target.BOT if is_bot else Target.OTHER
            yield Mention(match.start(), match.end(), target, "@Parley" if is_bot else match[0])

    # --- replies out

    async def open_reply(self, turn: Turn) -> ReplySink:
        return ToyReply(self, turn)

    async def post(self, room: str, text: str, cause: object) -> tuple[str, ...]:
        """Post a text, in pieces if it is long; their ids.

        `cause`: the server posts nothing twice for the same one.

        Raises:
            ConnectionError: the server doesn't take it.
        """
        return tuple(
            [
                await self._post_piece(room, piece, f"{cause}/{number}")
                for number, piece in enumerate(split(text, MAX_TEXT))
            ]
        )

    async def _post_piece(self, room: str, text: str, nonce: str) -> str:
        if not self.is_connected:
            raise ConnectionError(DISCONNECTED["reason"])
        async with self._posting:
            self._send({"type": "post", "room": room, "text": text, "nonce": nonce})
            ack = await self._acks.get()
        if ack["type"] != "posted":
            raise ConnectionError(ack["reason"])
        return str(ack["id"])


class ToyReply:
    """A `ReplySink` that posts the reply whole: posts can't be edited or deleted here."""

    def __init__(self, adapter: ToyAdapter, turn: Turn) -> None:
        self._adapter = adapter
        self._turn = turn

    async def waiting(self, ahead: int) -> None: ...

    async def write(self, delta: str) -> None: ...

    async def restart(self) -> None: ...

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        ending = reply_ending(reply)
        text = "\n".join(filter(None, (reply.text, ending.marked_error, *ending.notes)))
        return await self._adapter.post(self._turn.key.channel, text, f"turn {self._turn.id}")

    async def withdraw(self) -> None: ...


def _attachment(file: dict[str, str]) -> Attachment:
    data = base64.b64decode(file["data"])

    async def load() -> bytes:
        return data

    return Attachment(file["name"], file["type"], len(data), load)
