"""How the local Slack brings its news: over Socket Mode, or signed to a request URL."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

from tests.servers.slack.world import Team, new_id

if TYPE_CHECKING:
    from tests.servers.slack.server import SlackServer


@dataclass
class Sent:
    """One piece of news and how often it was tried."""

    kind: str  # events_api, interactive, slash_commands
    payload: dict[str, Any]
    tries: int = 0
    answer: dict[str, Any] | None = None
    acked: asyncio.Event = field(default_factory=asyncio.Event)
    ack_s: float = 0.0  # from the first try to the acknowledgement


class Delivery(ABC):
    """Delivers at least once: what is not acknowledged in time comes again."""

    def __init__(self, server: SlackServer) -> None:
        self.server = server
        self.sent: list[Sent] = []
        self.ack_within_s = 3.0
        self.retry_after_s = (0.0, 1.0, 2.0)  # Slack: at once, a minute, five minutes
        self.echoes = 1  # how often each event is sent, though acknowledged
        self.lose = 0  # so many events never arrive
        self._tasks: set[asyncio.Task[None]] = set()

    def event(self, team: Team, event: dict[str, Any], event_id: str = "") -> Sent:
        """An Events API event, in the background."""
        return self._start(Sent("events_api", self.envelope(team, event, event_id)))

    def envelope(self, team: Team, event: dict[str, Any], event_id: str = "") -> dict[str, Any]:
        return {
            "token": "deprecated",
            "team_id": team.id,
            "api_app_id": self.server.app_id,
            "type": "event_callback",
            "event_id": event_id or new_id("Ev"),
            "event_time": int(time.time()),
            "event": event,
            "authorizations": [
                {
                    "enterprise_id": None,
                    "team_id": team.id,
                    "user_id": team.bot_user,
                    "is_bot": True,
                    "is_enterprise_install": False,
                }
            ],
        }

    def interactive(self, payload: dict[str, Any]) -> Sent:
        return self._start(Sent("interactive", payload), retry=False)

    def command(self, payload: dict[str, Any]) -> Sent:
        return self._start(Sent("slash_commands", payload), retry=False)

    async def settled(self) -> None:
        """Wait until everything sent so far is acknowledged or given up."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, sent: Sent, *, retry: bool = True) -> Sent:
        self.sent.append(sent)
        task = asyncio.create_task(self._deliver(sent, retry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return sent

    async def _deliver(self, sent: Sent, retry: bool) -> None:
        begun = time.monotonic()
        pauses = itertools.chain((0.0,), self.retry_after_s if retry else ())
        for pause in pauses:
            await asyncio.sleep(pause)
            sent.tries += 1
            if self.lose:
                self.lose -= 1
                continue
            if await self._try(sent, sent.tries - 1):
                sent.ack_s = time.monotonic() - begun
                _check_form_errors(sent)
                sent.acked.set()
                break
        for _ in range(self.echoes - 1):
            await self._try(sent, 1)

    @abstractmethod
    async def _try(self, sent: Sent, retry: int) -> bool:
        """Send once; whether it was acknowledged in time."""


class SocketDelivery(Delivery):
    """Socket Mode: each envelope goes to one of the sockets."""

    def __init__(self, server: SlackServer) -> None:
        super().__init__(server)
        self.open: list[web.WebSocketResponse] = []
        self.connections = 0  # how many there have been
        self._tickets: set[str] = set()
        self._turn = itertools.count()
        self._acks: dict[str, asyncio.Future[dict[str, Any] | None]] = {}

    def ticket(self) -> str:
        """A URL that can be connected to once."""
        name = new_id("ticket")
        self._tickets.add(name)
        return f"{self.server.url.replace('http', 'ws', 1)}/link?ticket={name}"

    async def serve(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=403)
        self._tickets.discard(ticket)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        await socket.send_json(
            {
                "type": "hello",
                "num_connections": len(self.open) + 1,
                "connection_info": {"app_id": self.server.app_id},
                "debug_info": {"host": "local", "approximate_connection_time": 3600},
            }
        )
        self.open.append(socket)
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._acked(json.loads(message.data))
        finally:
            self.open.remove(socket)
        return socket

    async def refresh(self, reason: str = "refresh_requested") -> None:
        """Ask all sockets politely to come anew (`warning`: in ten seconds)."""
        for socket in list(self.open):
            await socket.send_json({"type": "disconnect", "reason": reason, "debug_info": {}})

    def drop(self) -> None:
        """Cut all connections without a word."""
        for socket in list(self.open):
            transport = socket._req.transport if socket._req is not None else None
            if transport is not None:
                transport.abort()

    async def close(self) -> None:
        await super().close()
        for socket in list(self.open):
            with contextlib.suppress(Exception):
                await socket.close()

    def _acked(self, message: dict[str, Any]) -> None:
        future = self._acks.pop(str(message.get("envelope_id")), None)
        if future is not None and not future.done():
            future.set_result(message.get("payload"))

    async def _try(self, sent: Sent, retry: int) -> bool:
        deadline = time.monotonic() + 30
        while not self.open:  # Slack keeps it for a while
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.02)
        socket = self.open[next(self._turn) % len(self.open)]
        envelope_id = new_id("envelope")
        self._acks[envelope_id] = asyncio.get_running_loop().create_future()
        envelope = {
            "type": sent.kind,
            "envelope_id": envelope_id,
            "payload": sent.payload,
            "accepts_response_payload": sent.kind != "events_api",
        }
        if sent.kind == "events_api":
            envelope |= {"retry_attempt": retry, "retry_reason": "timeout" if retry else ""}
        future = self._acks[envelope_id]
        try:
            await socket.send_json(envelope)
            sent.answer = await asyncio.wait_for(future, self.ack_within_s)
        except (TimeoutError, ConnectionError, RuntimeError):
            self._acks.pop(envelope_id, None)
            return False
        return True


class HttpDelivery(Delivery):
    """Requests to the app's URL, signed, repeated with their number."""

    def __init__(self, server: SlackServer, url: str) -> None:
        super().__init__(server)
        self.url = url
        self.statuses: list[int] = []

    async def verify(self) -> str:
        """Slack's challenge when a request URL is set."""
        body = json.dumps({"token": "x", "challenge": "prove it", "type": "url_verification"})
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                self.url, data=body, headers=self._headers(body, "application/json")
            ) as answer,
        ):
            return await answer.text()

    async def _try(self, sent: Sent, retry: int) -> bool:
        if sent.kind == "events_api":
            body, kind = json.dumps(sent.payload), "application/json"
        elif sent.kind == "interactive":
            body, kind = urlencode({"payload": json.dumps(sent.payload)}), _FORM
        else:
            body, kind = urlencode(sent.payload), _FORM
        headers = self._headers(body, kind)
        if retry:
            headers |= {"X-Slack-Retry-Num": str(retry), "X-Slack-Retry-Reason": "http_timeout"}
        timeout = aiohttp.ClientTimeout(total=self.ack_within_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self.url, data=body, headers=headers) as answer,
            ):
                self.statuses.append(answer.status)
                text = await answer.text()
                if text.startswith("{"):
                    sent.answer = json.loads(text)
                elif text:
                    sent.answer = {"text": text}
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _headers(self, body: str, kind: str) -> dict[str, str]:
        stamp = str(int(time.time()))
        return {
            "Content-Type": kind,
            "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": sign(self.server.signing_secret, stamp, body),
        }


def _check_form_errors(sent: Sent) -> None:
    """Slack shows the errors of a form only at its inputs."""
    if sent.payload.get("type") != "view_submission" or not sent.answer:
        return
    blocks = sent.payload["view"]["blocks"]
    inputs = {block["block_id"] for block in blocks if block["type"] == "input"}
    unknown = (sent.answer.get("errors") or {}).keys() - inputs
    if unknown:
        sent.answer = {"refused": f"no inputs {sorted(unknown)}"}


_FORM = "application/x-www-form-urlencoded"


def sign(secret: str, stamp: str, body: str) -> str:
    """Slack's request signature, version 0."""
    base = f"v0:{stamp}:{body}".encode()
    return "v0=" + hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()
