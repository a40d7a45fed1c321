"""Live updates: one connection per open tab, each with its own bounded queue of events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from aiohttp import WSCloseCode, web

from bot.platforms.playground import texts
from bot.platforms.playground.people import Person
from bot.platforms.playground.refusal import Refused

Event: TypeAlias = Mapping[str, Any]

MAX_PENDING = 4000  # events; a tab this far behind is disconnected and starts over
MAX_CONNECTIONS = 64
SEND_TIMEOUT_S = 20.0


class Connection:
    """One tab. Pending events are sent together: a slow tab costs one frame, not many."""

    def __init__(self, socket: web.WebSocketResponse, person: Person) -> None:
        self.person = person
        self._socket = socket
        self._pending: list[str] = []
        self._wake = asyncio.Event()
        self._overrun = False

    def push(self, encoded: str) -> None:
        """Queue an encoded event."""
        if self._overrun:
            return
        if len(self._pending) >= MAX_PENDING:
            self._overrun = True
            self._pending.clear()
        else:
            self._pending.append(encoded)
        self._wake.set()

    def send(self, event: Event) -> None:
        """Queue an event for this tab only."""
        self.push(encode(event))

    async def pump(self) -> None:
        """Send what is queued until the socket closes or the task is cancelled."""
        while not self._socket.closed:
            await self._wake.wait()
            self._wake.clear()
            if self._overrun:
                await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"too slow")
                return
            if not self._pending:
                continue
            batch, self._pending = self._pending, []
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._socket.send_str(f"[{','.join(batch)}]")

    async def close(self) -> None:
        """Tell the tab that the server is shutting down, so that it reconnects."""
        await self._socket.close(code=WSCloseCode.GOING_AWAY, message=b"shutting down")


class Hub:
    """All open tabs."""

    def __init__(self) -> None:
        self._connections: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: Connection) -> None:
        """Raises Refused (503) when there are too many tabs."""
        self.check_room()
        self._connections.add(connection)

    def check_room(self) -> None:
        """Raises Refused (503) when there are too many tabs."""
        if len(self._connections) >= MAX_CONNECTIONS:
            raise Refused(503, texts.too_many_tabs(MAX_CONNECTIONS))

    def remove(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def publish(self, event: Event, audience: str | None = None) -> None:
        """Send an event to everybody, or to the tabs of the one person in `audience`."""
        encoded = encode(event)
        for connection in self._connections:
            if audience is None or connection.person.id == audience:
                connection.push(encoded)

    async def close(self) -> None:
        await asyncio.gather(
            *(connection.close() for connection in tuple(self._connections)),
            return_exceptions=True,
        )


def encode(event: Event) -> str:
    """An event as sent to the tabs."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))
