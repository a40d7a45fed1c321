"""A local Slack: Web API, Socket Mode, signed HTTP delivery, files, OAuth; over real sockets.

    async with SlackServer() as slack:
        team = slack.add_team()
        ...  # point SLACK_API_URL at slack.api_url

It refuses what Slack refuses (see rules.py and methods.py). `fail` and `limit` inject faults.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode

from aiohttp import web

from tests.servers.slack.delivery import Delivery, HttpDelivery, SocketDelivery
from tests.servers.slack.methods import METHODS
from tests.servers.slack.rules import SCOPE_OF, Refusal, check_content
from tests.servers.slack.world import Channel, StoredFile, Team, new_id, new_team

logger = logging.getLogger(__name__)

SIGN_IN_PAGE = (
    "<!DOCTYPE html><html><title>Slack</title><body>Sign in to the workspace</body></html>"
)


@dataclass
class Call:
    """One call of a method, and what it was answered."""

    method: str
    team: str
    args: dict[str, Any]
    answer: str  # "ok" or the error
    at: float = field(default_factory=time.monotonic)


@dataclass
class _Fault:
    error: str
    times: int
    retry_after: int = 0


class SlackServer:
    """One Slack with one app, installed in any number of workspaces."""

    def __init__(self) -> None:
        self.app_id = new_id("A")
        self.app_token = "xapp-1-secret"
        self.client_id, self.client_secret = "123.456", "client-secret"
        self.signing_secret = "signing-secret"
        self.teams: dict[str, Team] = {}
        self.calls: list[Call] = []
        self.triggers: dict[str, tuple[str, float]] = {}
        self.responses: dict[str, list[dict[str, Any]]] = {}  # response_url -> what came there
        self._response_teams: dict[str, Team] = {}
        self.uploads: dict[str, tuple[Team, StoredFile, int]] = {}
        self.trigger_lives_s = 3.0
        self.stream_at_most = 40_000
        self.stream_expires_s = 300.0
        #: calls a minute by method, refused beyond; what Slack documents is always kept
        self.tiers: dict[str, int] = {"chat.update": 50, "chat.delete": 50}
        self.url = ""
        self._codes: dict[str, Team] = {}
        self._faults: dict[str, deque[_Fault]] = {}
        self._lost: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._after: dict[str, deque[Callable[[], object]]] = {}
        self._runner: web.AppRunner | None = None
        self.sockets = SocketDelivery(self)
        self.delivery: Delivery = self.sockets

    # --- life

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=50 * 1024 * 1024)
        app.router.add_route("*", "/api/{method}", self._api)
        app.router.add_get("/link", self.sockets.serve)
        app.router.add_get("/files/{team}/{file}/{name}", self._file)
        app.router.add_post("/upload/{file}", self._upload)
        app.router.add_post("/response/{name}", self._response)
        app.router.add_get("/oauth/v2/authorize", self._authorize)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.delivery.close()
        await self.sockets.close()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/"

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    # --- what tests set up

    def add_team(self, name: str = "Acme") -> Team:
        team = new_team(name)
        self.teams[team.id] = team
        return team

    def over_http(self, request_url: str) -> None:
        """Deliver to an app's request URL from now on."""
        self.delivery = HttpDelivery(self, request_url)

    def fail(self, method: str, error: str, *, times: int = 1, retry_after: int = 0) -> None:
        """Let the next calls of a method fail; `ratelimited` is a 429 with Retry-After."""
        self._faults.setdefault(method, deque()).append(_Fault(error, times, retry_after))

    def forgive(self, *methods: str) -> None:
        """No more faults of these methods; of none at all where none is named."""
        for method in methods or list(self._faults):
            self._faults.pop(method, None)

    def lose_answer(self, method: str) -> None:
        """The next call of a method is done, but the connection breaks before its answer."""
        self._lost[method] += 1

    def hold_answer(self, method: str) -> None:
        """The next call of a method is done, but its answer is waited for in vain."""
        self._held[method] += 1

    def after(self, method: str, happens: Callable[[], object]) -> None:
        """What happens at the moment when the next call of a method is done, before its answer."""
        self._after.setdefault(method, deque()).append(happens)

    def limit_all(self, retry_after: int = 1) -> None:
        """A 429 for the next call of every method."""
        for method in METHODS:
            self.fail(method, "ratelimited", retry_after=retry_after)

    def expire_streams(self) -> None:
        """All running streams run out."""
        for message in self._streaming():
            message["streaming"] = False

    def made(self, method: str, answer: str | None = None) -> list[Call]:
        """The calls of a method so far, those with this answer if one is named."""
        return [c for c in self.calls if c.method == method and answer in (None, c.answer)]

    def counts(self) -> Counter[str]:
        return Counter(call.method for call in self.calls)

    def trigger(self, user: str) -> str:
        name = new_id("trigger.")
        self.triggers[name] = (user, time.monotonic())
        return name

    def response_url(self, team: Team) -> str:
        url = f"{self.url}/response/{new_id('r')}"
        self.responses[url] = []
        self._response_teams[url] = team
        return url

    def file_object(self, team: Team, file: StoredFile) -> dict[str, Any]:
        url = f"{self.url}/files/{team.id}/{file.id}/{file.name}"
        return {
            "id": file.id,
            "name": file.name,
            "title": file.name,
            "mimetype": file.mimetype,
            "size": len(file.data),
            "mode": "hosted",
            "url_private": url,
            "url_private_download": url,
        }

    def code(self, team: Team) -> str:
        """What an admin's consent to the installation in `team` is exchanged for."""
        name = new_id("code.")
        self._codes[name] = team
        return name

    # --- what happened, to be told

    def says(self, team: Team, channel: Channel, message: dict[str, Any]) -> None:
        """The bot's own messages come back to it as events, too."""
        event = {**message, "channel": channel.id, "channel_type": channel.kind}
        self.delivery.event(team, event)

    def changes(
        self, team: Team, channel: Channel, message: dict[str, Any], previous: dict[str, Any]
    ) -> None:
        event = {
            "type": "message",
            "subtype": "message_changed",
            "hidden": True,
            "channel": channel.id,
            "channel_type": channel.kind,
            "ts": f"{time.time():.6f}",
            "message": dict(message),
            "previous_message": previous,
        }
        self.delivery.event(team, event)

    # --- HTTP

    async def _api(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        args = await _arguments(request)
        credentials = request.headers.get("Authorization", "")
        token = str(args.pop("token", "")) or credentials.removeprefix("Bearer ")
        team = next((t for t in self.teams.values() if t.bot_token == token), None)
        try:
            self._inject(method)
            self._tier(method, team)
            answer, error = self._answer(method, token, team, args), "ok"
        except Refusal as refusal:
            answer, error = {"ok": False, "error": refusal.error, **refusal.more}, refusal.error
        self.calls.append(Call(method, team.id if team else "", args, error))
        if error == "ok" and self._after.get(method):
            self._after[method].popleft()()
        if error == "ok" and self._held[method]:
            self._held[method] -= 1
            await asyncio.Event().wait()
        if error == "ok" and self._lost[method]:
            self._lost[method] -= 1
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError
        headers = {}
        if team is not None:
            headers["x-oauth-scopes"] = ",".join(sorted(team.scopes))
        if error == "ratelimited":
            headers["Retry-After"] = str(answer.get("retry_after", 1))
        status = 429 if error == "ratelimited" else 200
        if error.isdigit():
            return web.Response(status=int(error), text="upstream trouble")
        return web.json_response(answer, status=status, headers=headers)

    def _answer(
        self, method: str, token: str, team: Team | None, args: dict[str, Any]
    ) -> dict[str, Any]:
        if method == "apps.connections.open":
            if token != self.app_token:
                raise Refusal("invalid_auth")
            return {"ok": True, "url": self.sockets.ticket()}
        if method == "oauth.v2.access":
            return self._exchange(args | _client(token))
        if method not in METHODS:
            raise Refusal("unknown_method")
        if not token:
            raise Refusal("not_authed")
        if team is None:
            raise Refusal("invalid_auth")
        if team.uninstalled:
            raise Refusal("account_inactive")
        needed = SCOPE_OF[method]
        if needed and not set(needed) & team.scopes:
            raise Refusal("missing_scope", needed=needed[0], provided=",".join(team.scopes))
        self._expire_streams()
        return {"ok": True, **METHODS[method](self, team, args)}

    def _exchange(self, args: dict[str, Any]) -> dict[str, Any]:
        if args.get("client_id") != self.client_id or (
            args.get("client_secret") != self.client_secret
        ):
            raise Refusal("bad_client_secret")
        team = self._codes.pop(str(args.get("code")), None)
        if team is None:
            raise Refusal("invalid_code")
        installer = next(iter(team.users))
        return {
            "ok": True,
            "app_id": self.app_id,
            "access_token": team.bot_token,
            "token_type": "bot",
            "scope": ",".join(sorted(team.scopes)),
            "bot_user_id": team.bot_user,
            "team": {"id": team.id, "name": team.name},
            "enterprise": None,
            "is_enterprise_install": False,
            "authed_user": {"id": installer},
        }

    def _inject(self, method: str) -> None:
        faults = self._faults.get(method)
        if not faults:
            return
        fault = faults[0]
        fault.times -= 1
        if fault.times <= 0:
            faults.popleft()
        more = {"retry_after": fault.retry_after} if fault.error == "ratelimited" else {}
        raise Refusal(fault.error, **more)

    def _tier(self, method: str, team: Team | None) -> None:
        most = self.tiers.get(method)
        if most is None or team is None:
            return
        since = time.monotonic() - 60
        made = sum(1 for c in self.made(method) if c.team == team.id and c.at > since)
        if made >= most:
            raise Refusal("ratelimited", retry_after=5)

    def _streaming(self) -> list[dict[str, Any]]:
        return [
            message
            for team in self.teams.values()
            for channel in team.channels.values()
            for message in channel.messages.values()
            if message.get("streaming")
        ]

    def _expire_streams(self) -> None:
        before = time.monotonic() - self.stream_expires_s
        for message in self._streaming():
            if message["streamed_at"] < before:
                message["streaming"] = False

    async def _file(self, request: web.Request) -> web.Response:
        team = self.teams[request.match_info["team"]]
        file = team.files.get(request.match_info["file"])
        authorised = request.headers.get("Authorization") == f"Bearer {team.bot_token}"
        if file is None or not authorised or "files:read" not in team.scopes:
            return web.Response(text=SIGN_IN_PAGE, content_type="text/html")
        return web.Response(body=file.data, content_type=file.mimetype)

    async def _upload(self, request: web.Request) -> web.Response:
        team, file, length = self.uploads.pop(request.match_info["file"])
        data = await request.read()
        if request.content_type == "multipart/form-data":
            return web.Response(status=400)
        if len(data) != length:
            return web.Response(status=400, text="length")
        file.data = data
        team.files[file.id] = file
        return web.Response(text=f"OK - {length}")

    async def _response(self, request: web.Request) -> web.Response:
        url = f"{self.url}{request.path}"
        came = self.responses.get(url)
        if came is None or len(came) >= 5:
            return web.Response(status=404, text="used_url")
        body = await request.json()
        try:
            check_content(self._response_teams[url], body)
        except Refusal as refusal:
            return web.json_response({"ok": False, "error": refusal.error}, status=400)
        came.append(body)
        return web.Response(text="ok")

    async def _authorize(self, request: web.Request) -> web.Response:
        """An admin agrees at once; `team` says in which workspace."""
        team = self.teams[request.query["team"]]
        redirect = request.query.get("redirect_uri") or request.query["fallback"]
        query = urlencode({"code": self.code(team), "state": request.query["state"]})
        raise web.HTTPFound(f"{redirect}?{query}")


def _client(credentials: str) -> dict[str, Any]:
    """The client's id and secret out of HTTP Basic credentials."""
    kind, _, encoded = credentials.partition(" ")
    if kind != "Basic":
        return {}
    name, _, secret = base64.b64decode(encoded).decode().partition(":")
    return {"client_id": name, "client_secret": secret}


async def _arguments(request: web.Request) -> dict[str, Any]:
    """The arguments of a call: in the query, a form or JSON."""
    args: dict[str, Any] = dict(request.query)
    if request.method == "POST":
        if request.content_type == "application/json":
            body = await request.json()
            args.update(body if isinstance(body, dict) else {})
        else:
            args.update(await request.post())
    for name in ("blocks", "chunks", "view", "prompts", "files", "metadata"):
        if isinstance(args.get(name), str):
            try:
                args[name] = json.loads(args[name])
            except ValueError:
                args[name] = None
    return args
