"""HTTP mode: Slack's requests on Parley's own server, verified by Bolt."""

from __future__ import annotations

import logging

from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.async_app import AsyncApp

from bot.platforms.slack.manifest import EVENTS_PATH, INSTALL_PATH, REDIRECT_PATH
from bot.platforms.slack.oauth import InstallFlow

logger = logging.getLogger(__name__)

MAX_BODY = 2 * 1024 * 1024


class HttpEndpoints:
    """The routes, which exist from the start; until the app is ready Slack is asked to retry."""

    def __init__(self) -> None:
        self._app: AsyncApp | None = None
        self._flow: InstallFlow | None = None

    @property
    def is_open(self) -> bool:
        return self._app is not None

    def open(self, app: AsyncApp, flow: InstallFlow | None) -> None:
        self._app, self._flow = app, flow

    def close(self) -> None:
        self._app = self._flow = None

    def add_routes(self, routes: web.Application, *, with_oauth: bool) -> None:
        """Add the routes to Parley's web server."""
        routes.router.add_post(EVENTS_PATH, self._events)
        if with_oauth:
            routes.router.add_get(INSTALL_PATH, self._install)
            routes.router.add_get(REDIRECT_PATH, self._installed)

    async def _events(self, request: web.Request) -> web.Response:
        if self._app is None:
            return _unavailable()
        if (request.content_length or 0) > MAX_BODY:
            return web.Response(status=413)
        answer = await self._app.async_dispatch(await to_bolt_request(request))
        return await to_aiohttp_response(answer)

    async def _install(self, request: web.Request) -> web.Response:
        if self._flow is None:
            return _unavailable()
        answer = await self._flow.handle_installation(await to_bolt_request(request))
        return await to_aiohttp_response(answer)

    async def _installed(self, request: web.Request) -> web.Response:
        if self._flow is None:
            return _unavailable()
        answer = await self._flow.handle_callback(await to_bolt_request(request))
        return await to_aiohttp_response(answer)


def _unavailable() -> web.Response:
    return web.Response(status=503, headers={"Retry-After": "5"})
