"""The toy platform's server: rooms over a TCP socket, one JSON object a line. No threads, no
edits, no buttons, nothing private but a room with somebody."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from dataclasses import dataclass, field
from typing import Any, Self

MAX_TEXT = 300  # characters of one post; a longer one is refused


@dataclass
class Line:
    """A message in a room."""

    id: int
    room: str
    by: str
    text: str
    admin: bool = False
    files: list[dict[str, str]] = field(default_factory=list)


class ToyServer:
    """`async with ToyServer() as server`: what a bot posts is in `lines`, as people's lines are."""

    token = "a-token-of-the-toy"
    bot = "parley"

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._posted: dict[str, Line] = {}  # by nonce: nothing is posted twice
        self._ids = itertools.count(1)
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()
        self._server.close()
        await self._server.wait_closed()

    def say(
        self, by: str, room: str, text: str, *, admin: bool = False, picture: bytes | None = None
    ) -> Line:
        """Somebody writes; whoever is connected is told."""
        files = []
        if picture is not None:
            data = base64.b64encode(picture).decode()
            files.append({"name": "picture.png", "type": "image/png", "data": data})
        line = self._add(by, room, text, admin=admin, files=files)
        self._tell({"type": "message", **vars(line)})
        return line

    def _add(self, by: str, room: str, text: str, **more: Any) -> Line:
        line = Line(next(self._ids), room, by, text, **more)
        self.lines.append(line)
        return line

    def _tell(self, event: dict[str, Any]) -> None:
        for writer in self._writers:
            _write(writer, event)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            login = json.loads(await reader.readline() or b"{}")
            if login.get("token") != self.token:
                _write(writer, {"type": "refused", "reason": "wrong token"})
                return
            _write(writer, {"type": "welcome", "bot": self.bot})
            self._writers.append(writer)
            while line := await reader.readline():
                self._take(writer, json.loads(line))
        except ConnectionError:
            pass
        finally:
            if writer in self._writers:
                self._writers.remove(writer)
            writer.close()

    def _take(self, writer: asyncio.StreamWriter, post: dict[str, Any]) -> None:
        if not post["text"].strip() or len(post["text"]) > MAX_TEXT:
            _write(writer, {"type": "refused", "reason": f"a text has 1 to {MAX_TEXT} characters"})
            return
        line = self._posted.get(post["nonce"])
        if line is None:
            line = self._posted[post["nonce"]] = self._add(self.bot, post["room"], post["text"])
        _write(writer, {"type": "posted", "id": line.id})


def _write(writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
    writer.write(json.dumps(event).encode() + b"\n")
