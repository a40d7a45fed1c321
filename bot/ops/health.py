"""`/healthz` and `/readyz`: whether the process is alive, and whether it can answer."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web


def add_routes(app: web.Application, is_ready: Callable[[], bool]) -> None:
    """Add both routes. `is_ready` is called for each request and must not block."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        if is_ready():
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "starting"}, status=503)

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
