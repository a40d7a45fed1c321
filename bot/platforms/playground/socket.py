"""One tab's WebSocket: first everything it needs to know, then what changes; it asks for pages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

from aiohttp import WSMsgType, web

from bot.platforms.playground.hub import Connection, Hub
from bot.platforms.playground.refusal import Refused
from bot.platforms.playground.requests import acting_person, id_field
from bot.platforms.playground.workspace import Greeting, Workspace

log = logging.getLogger(__name__)

HEARTBEAT_S = 20.0
_MAX_REQUEST_BYTES = 4096


class Sockets:
    """Serves the WebSockets. `greeting` makes the first event for a person."""

    def __init__(
        self,
        workspace: Workspace,
        hub: Hub,
        greeting: Greeting,
    ) -> None:
        self._workspace = workspace
        self._hub = hub
        self._greeting = greeting

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """`GET socket?as=…`."""
        person = acting_person(request)
        self._hub.check_room()
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=_MAX_REQUEST_BYTES)
        await socket.prepare(request)
        connection = Connection(socket, person)
        sender = asyncio.create_task(_send(connection), name="playground socket")
        try:
            await self._workspace.admit(connection, self._greeting)
            await self._receive(socket, connection)
        finally:
            self._hub.remove(connection)
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sender
            await socket.close()
        return socket

    async def _receive(self, socket: web.WebSocketResponse, connection: Connection) -> None:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            try:
                await self._answer(connection, _parse(message.data))
            except Refused as refusal:
                connection.send({"type": "refused", "error": refusal.sentence})

    async def _answer(self, connection: Connection, asked: dict[str, Any]) -> None:
        wanted = id_field(asked, "id")
        if wanted is None:
            raise Refused(400, "Say which one: `id`.")
        if asked.get("type") == "page":
            await self._workspace.send_page(connection, wanted, id_field(asked, "before"))
        elif asked.get("type") == "thread":
            await self._workspace.send_thread(connection, wanted)
        else:
            raise Refused(400, "A tab may ask for a page or a thread.")


async def _send(connection: Connection) -> None:
    """Send until the tab is gone. One that takes nothing any more is closed: it comes back."""
    try:
        await connection.pump()
    except (ConnectionError, TimeoutError) as error:
        log.debug("a tab is gone: %r", error)
    except Exception:
        log.exception("sending to a tab failed")
    await connection.close()


def _parse(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(400, "That is not JSON.") from None
    if not isinstance(value, dict):
        raise Refused(400, "Send a JSON object.")
    return value
