"""Somebody's tab on the playground: requests as the page makes them, and the events that came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp


class Tab:
    """Somebody's tab: requests as the page makes them, and the events that came."""

    def __init__(self, session: aiohttp.ClientSession, url: str, person: str) -> None:
        self.session = session
        self.url = url
        self.person = person
        self.events: list[dict[str, Any]] = []
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None

    async def ask(
        self, method: str, path: str, json: Any = None, **options: Any
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Origin": self.url, **options.pop("headers", {})}
        async with self.session.request(
            method,
            f"{self.url}/playground/api/{path}",
            params={"as": self.person, **options.pop("params", {})},
            json=json,
            headers=headers,
            **options,
        ) as response:
            return response.status, await response.json()

    async def open(self) -> Tab:
        self._socket = await self.session.ws_connect(
            f"{self.url}/playground/api/socket",
            params={"as": self.person},
            headers={"Origin": self.url},
        )
        self._reader = asyncio.create_task(self._read())
        await self.event(lambda event: event["type"] == "hello")
        return self

    async def _read(self) -> None:
        assert self._socket is not None
        async for message in self._socket:
            self.events.extend(json.loads(message.data))

    async def send(self, **request: Any) -> None:
        assert self._socket is not None
        await self._socket.send_json(request)

    async def event(
        self, wanted: Callable[[dict[str, Any]], object], since: int = 0
    ) -> dict[str, Any]:
        """The first event that fits, as soon as it is there."""
        async with asyncio.timeout(10):
            while True:
                for event in self.events[since:]:
                    if wanted(event):
                        return event
                await asyncio.sleep(0.01)

    async def reply(self, state: str, since: int = 0) -> dict[str, Any]:
        """The first of Parley's posts seen in that state."""
        found = await self.event(
            lambda event: (
                event["type"] == "message"
                and event["message"]["reply"]
                and event["message"]["reply"]["state"] == state
            ),
            since,
        )
        message: dict[str, Any] = found["message"]
        return message

    async def channel(self, name: str = "general", kind: str = "channel") -> int:
        hello = await self.event(lambda event: event["type"] == "hello")
        return next(c["id"] for c in hello["channels"] if c["kind"] == kind and c["name"] == name)

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        if self._reader is not None:
            await self._reader
