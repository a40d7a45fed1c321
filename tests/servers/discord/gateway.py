"""The gateway, version 10: sessions that are identified, resumed, dropped and replayed."""

from __future__ import annotations

import asyncio
import json
import secrets
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.servers.discord.payloads import MESSAGE_CONTENT

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID, HELLO, ACK = 0, 1, 2, 6, 7, 9, 10, 11


class Wire:
    """One socket, compressed as asked for."""

    def __init__(self, socket: web.WebSocketResponse, compress: bool) -> None:
        self.socket = socket
        self._zlib = zlib.compressobj() if compress else None

    async def send(self, payload: dict[str, Any]) -> None:
        text = json.dumps(payload)
        if self._zlib is None:
            await self.socket.send_str(text)
            return
        data = self._zlib.compress(text.encode()) + self._zlib.flush(zlib.Z_SYNC_FLUSH)
        await self.socket.send_bytes(data)


@dataclass
class Session:
    intents: int
    shard: tuple[int, int]
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    sequence: int = 0
    sent: list[dict[str, Any]] = field(default_factory=list)
    wire: Wire | None = None
    resumable: bool = True

    @property
    def sees_all(self) -> bool:
        return bool(self.intents & MESSAGE_CONTENT)


class Gateway:
    """All connections. Tests look at `identifies` and `resumes`, and cut with `drop`."""

    def __init__(
        self,
        token: str,
        ready: Callable[[Session], dict[str, Any]],
        after_ready: Callable[[Session], list[tuple[str, dict[str, Any]]]],
        address: Callable[[], str],
    ) -> None:
        self.token = token
        self.content_allowed = True
        self.heartbeat_ms = 40_000
        self.sessions: dict[str, Session] = {}
        self.identifies: list[dict[str, Any]] = []
        self.resumes: list[dict[str, Any]] = []
        self.heartbeats = 0
        self._ready = ready
        self._after_ready = after_ready
        self._address = address
        self._lock = asyncio.Lock()

    @property
    def connected(self) -> list[Session]:
        return [session for session in self.sessions.values() if session.wire is not None]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        assert request.query.get("v") == "10", request.query
        assert request.query.get("encoding") == "json"
        socket = web.WebSocketResponse(max_msg_size=4096)  # Discord takes no larger ones
        await socket.prepare(request)
        wire = Wire(socket, request.query.get("compress") == "zlib-stream")
        await wire.send(
            {"op": HELLO, "d": {"heartbeat_interval": self.heartbeat_ms}, "s": None, "t": None}
        )
        session: Session | None = None
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                payload = json.loads(message.data)
                if payload["op"] == HEARTBEAT:
                    self.heartbeats += 1
                    await wire.send({"op": ACK, "d": None, "s": None, "t": None})
                elif payload["op"] == IDENTIFY:
                    session = await self._identify(wire, payload["d"])
                elif payload["op"] == RESUME:
                    session = await self._resume(wire, payload["d"])
        finally:
            if session is not None and session.wire is wire:
                session.wire = None
        return socket

    async def dispatch(
        self, event: str, make: Callable[[Session], dict[str, Any]], guild_id: int | None
    ) -> None:
        """Send an event to the session of the right shard; those that are away get it when they
        resume."""
        async with self._lock:
            for session in list(self.sessions.values()):
                number, count = session.shard
                if ((guild_id or 0) >> 22) % count != number:
                    continue
                await self._send(session, event, make(session))

    async def drop(self, *, resumable: bool = True, code: int = 4000) -> None:
        """Cut all connections, as a network does."""
        for session in self.connected:
            session.resumable = resumable
            wire, session.wire = session.wire, None
            assert wire is not None
            await wire.socket.close(code=code)

    async def send_op(self, op: int, data: Any = None) -> None:
        """Op 7 (reconnect) or 9 (invalid session) to all."""
        for session in self.connected:
            assert session.wire is not None
            await session.wire.send({"op": op, "d": data, "s": None, "t": None})

    async def _identify(self, wire: Wire, data: dict[str, Any]) -> Session | None:
        self.identifies.append(data)
        if data["token"] != self.token:
            await wire.socket.close(code=4004, message=b"Authentication failed.")
            return None
        if data["intents"] & MESSAGE_CONTENT and not self.content_allowed:
            await wire.socket.close(code=4014, message=b"Disallowed intent(s).")
            return None
        shard = tuple(data.get("shard") or (0, 1))
        session = Session(data["intents"], (shard[0], shard[1]), wire=wire)
        for old in [s for s in self.sessions.values() if s.shard == session.shard]:
            del self.sessions[old.id]
        self.sessions[session.id] = session
        async with self._lock:
            ready = self._ready(session) | {
                "session_id": session.id,
                "resume_gateway_url": self._address(),
            }
            await self._send(session, "READY", ready)
            for event, payload in self._after_ready(session):
                await self._send(session, event, payload)
        return session

    async def _resume(self, wire: Wire, data: dict[str, Any]) -> Session | None:
        self.resumes.append(data)
        session = self.sessions.get(data["session_id"])
        if session is None or not session.resumable or data["token"] != self.token:
            self.sessions.pop(data["session_id"], None)
            await wire.send({"op": INVALID, "d": False, "s": None, "t": None})
            return None
        async with self._lock:
            session.wire = wire
            for payload in session.sent:
                if payload["s"] > (data["seq"] or 0):
                    await wire.send(payload)
            await self._send(session, "RESUMED", {})
        return session

    async def _send(self, session: Session, event: str, data: dict[str, Any]) -> None:
        session.sequence += 1
        payload = {"op": DISPATCH, "t": event, "s": session.sequence, "d": data}
        session.sent.append(payload)
        if session.wire is not None:
            try:
                await session.wire.send(payload)
            except (ConnectionError, RuntimeError):
                session.wire = None
