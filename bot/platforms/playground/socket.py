"""One tab's WebSocket: a greeting with the whole state, then changes and the pages it requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from aiohttp import WSMsgType, web

from bot.platforms.playground import texts
from bot.platforms.playground.hub import Connection, Hub
from bot.platforms.playground.refusal import Refused
from bot.platforms.playground.requests import acting_person, id_field, parse_object
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
                await self._send_requested(connection, parse_object(message.data))
            except Refused as refusal:
                connection.send({"type": "refused", "error": refusal.sentence})

    async def _send_requested(self, connection: Connection, request: dict[str, Any]) -> None:
        row_id = id_field(request, "id")
        if row_id is None:
            raise Refused(400, texts.ID_MISSING)
        if request.get("type") == "page":
            await self._workspace.send_page(connection, row_id, id_field(request, "before"))
        elif request.get("type") == "thread":
            await self._workspace.send_thread(connection, row_id)
        else:
            raise Refused(400, texts.UNKNOWN_REQUEST)


async def _send(connection: Connection) -> None:
    """Send until the tab is closed. One that stops receiving is closed too, and reconnects."""
    try:
        await connection.pump()
    except (ConnectionError, TimeoutError) as error:
        log.debug("a tab disconnected: %r", error)
    except Exception:
        log.exception("sending to a tab failed")
    await connection.close()
