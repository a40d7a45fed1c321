"""The playground's adapter: routes, live updates, and where the core answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from bot.core.ports import FileReader, InboundHandler, ReplySink
from bot.core.records import Turn
from bot.engine.api import Snapshot
from bot.platforms.playground import assets, login, texts
from bot.platforms.playground.api import MAX_MESSAGE, MAX_UPLOADS, Api
from bot.platforms.playground.guard import HEADERS, Guard
from bot.platforms.playground.hub import Hub
from bot.platforms.playground.messages import Messages
from bot.platforms.playground.people import BOT, PEOPLE, Person
from bot.platforms.playground.ports import WorkspaceStore
from bot.platforms.playground.pulse import Pulse
from bot.platforms.playground.refusal import Refused
from bot.platforms.playground.replies import open_reply
from bot.platforms.playground.socket import Sockets
from bot.platforms.playground.views import channel_view, person_view
from bot.platforms.playground.workspace import Workspace

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PLATFORM = "playground"
CHANNELS = ("general", "random", "pictures")
UNSENT_KEPT = timedelta(hours=12)


class PlaygroundAdapter:
    """`bot.platforms.base.Adapter` for a local workspace in the browser.

    Args:
        store: The playground's own tables.
        handle: Takes events in: the service.
        snapshot: The batcher's state, for the live strip.
        files: Reads uploaded files.
        notice: One line about the model for newcomers; "" for none.
        model: The model's name, as shown.
        token: What visitors must know to log in; None for no login.
        max_upload_bytes: Limit of one file.
        hosts: Names that the server is bound to, besides loopback's.
        samples: Example prompts for an empty channel.
        ready: Whether the model is loaded; the page says so while it is not.
    """

    platform = PLATFORM

    def __init__(
        self,
        store: WorkspaceStore,
        handle: InboundHandler,
        snapshot: Callable[[], Snapshot],
        *,
        files: FileReader,
        notice: str,
        model: str,
        token: str | None,
        max_upload_bytes: int,
        hosts: Iterable[str] = (),
        samples: Iterable[str] = texts.SAMPLES,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._notice = notice
        self._model = model
        self._samples = tuple(samples)
        self._max_upload_bytes = max_upload_bytes
        self._guard = Guard(hosts, token)
        self._hub = Hub()
        self._pulse = Pulse(self._hub, snapshot, ready)
        self._workspace = Workspace(store, self._hub, self._pulse.wake)
        self._api = Api(self._workspace, Messages(self._workspace, handle), files, max_upload_bytes)
        self._sockets = Sockets(self._workspace, self._hub, self._greeting)
        self._assets: dict[str, assets.Asset] = {}
        self._ticker: asyncio.Task[None] | None = None

    # --- life

    @property
    def is_connected(self) -> bool:
        return self._ticker is not None and not self._ticker.done()

    async def start(self) -> None:
        """Load the page, seed the workspace, end the replies that a crash interrupted.

        Call it before the core recovers unfinished turns, which take over the posts of those
        replies."""
        self._assets = await asyncio.to_thread(assets.load_assets)
        await self._store.seed(CHANNELS, [person.id for person in PEOPLE])
        await self._store.interrupt_replies(texts.INTERRUPTED)
        await self._store.prune_uploads(datetime.now(UTC) - UNSENT_KEPT)
        self._ticker = asyncio.create_task(self._pulse.run(), name="playground pulse")

    async def watch(self) -> None:
        if self._ticker is not None:
            await asyncio.shield(self._ticker)

    async def close(self) -> None:
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticker
        await self._hub.close()

    async def open_reply(self, turn: Turn) -> ReplySink:
        """Raises ReplyGone if the reply's channel or thread does not exist."""
        return await open_reply(self._workspace, turn)

    # --- routes

    def add_routes(self, app: web.Application) -> None:
        """Serve the page at `/`, its files under `/static/`, the rest under `/playground/`."""
        api = self._api
        base = "/playground/api"
        routes = [
            ("GET", f"{base}/socket", self._sockets.serve),
            ("GET", f"{base}/complete", api.complete),
            ("POST", f"{base}/channels", api.add_channel),
            ("PATCH", f"{base}/channels/{{id}}", api.rename_channel),
            ("POST", f"{base}/channels/{{id}}/messages", api.write),
            ("PATCH", f"{base}/messages/{{id}}", api.edit),
            ("DELETE", f"{base}/messages/{{id}}", api.delete),
            ("POST", f"{base}/messages/{{id}}/stop", api.stop),
            ("POST", f"{base}/messages/{{id}}/regenerate", api.regenerate),
            ("POST", f"{base}/uploads", api.add_upload),
            ("GET", f"{base}/uploads/{{id}}", api.show_upload),
            ("DELETE", f"{base}/uploads/{{id}}", api.drop_upload),
            ("GET", "/static/{path:.+}", self._static),
        ]
        for method, path, handler in routes:
            app.router.add_route(method, path, self._guarded(handler))
        app.router.add_get("/", self._guarded(self._page, login=False))
        if self._guard.needs_token:
            app.router.add_get("/playground/login", self._guarded(_show_login, login=False))
            app.router.add_post("/playground/login", self._guarded(self._log_in, login=False))
        app.on_shutdown.append(self._on_shutdown)

    def _guarded(self, handler: Handler, *, login: bool = True) -> Handler:
        """`handler` behind the guard; refusals as JSON, security headers on every response."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                self._guard.check_site(request)
                if login:
                    self._guard.check_login(request)
                response = await handler(request)
            except Refused as refusal:
                response = web.json_response({"error": refusal.sentence}, status=refusal.status)
            except (web.HTTPException, asyncio.CancelledError, ConnectionError):
                raise
            except Exception:
                ref = secrets.token_hex(4)
                log.exception("%s %s failed, ref=%s", request.method, request.path, ref)
                response = web.json_response({"error": texts.internal_error(ref)}, status=500)
            if not response.prepared:
                for name, value in HEADERS.items():
                    response.headers.setdefault(name, value)
                response.headers.setdefault("Cache-Control", "no-store")
            return response

        return guarded

    async def _page(self, request: web.Request) -> web.StreamResponse:
        if self._guard.needs_token and "token" in request.query:
            return await login.log_in_by_link(request, self._guard)
        try:
            self._guard.check_login(request)
        except Refused as refusal:
            return login.login_page(refusal.status)
        return assets.respond(request, self._assets["index.html"])

    async def _static(self, request: web.Request) -> web.StreamResponse:
        asset = self._assets.get(request.match_info["path"])
        if asset is None:
            raise Refused(404, texts.NO_FILE)
        return assets.respond(request, asset)

    async def _log_in(self, request: web.Request) -> web.StreamResponse:
        return await login.log_in_by_form(request, self._guard)

    async def _on_shutdown(self, _app: web.Application) -> None:
        await self._hub.close()

    # --- the first event of a tab

    async def _greeting(self, person: Person) -> dict[str, Any]:
        channels = await self._workspace.visible_channels(person)
        return {
            "type": "hello",
            "me": person_view(person),
            "bot": person_view(BOT),
            "people": [person_view(member) for member in PEOPLE],
            "channels": [channel_view(channel) for channel in channels],
            "notice": self._notice,
            "model": self._model,
            "samples": list(self._samples),
            "limits": {
                "message": MAX_MESSAGE,
                "uploads": MAX_UPLOADS,
                "upload_bytes": self._max_upload_bytes,
            },
            "pulse": self._pulse.latest,
        }


async def _show_login(_request: web.Request) -> web.StreamResponse:
    return login.login_page(200)
