"""The two probes an orchestrator asks."""

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bot.ops import health


async def test_ready_only_when_it_can_answer() -> None:
    ready = False
    app = web.Application()
    health.add_routes(app, lambda: ready)
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/readyz")).status == 503
        ready = True
        assert (await client.get("/readyz")).status == 200
