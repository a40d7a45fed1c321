"""A stand-in for llama.cpp's server: the same command line, real HTTP, made-up tokens.

As a script it is what `--llama-server` names. It remembers each slot's last prompt, so that it
can say how much of the next one it has already, as the real one does.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

TEXT = 60  # the id it answers with, plus the place in the reply


class Server:
    """Requests it got, for the test to look at; `slots` as the real one keeps them."""

    def __init__(self, *, swallow: int = 0, error: str = "") -> None:
        self.requests: list[dict[str, Any]] = []
        self.swallow = swallow  # so many tokens before the last event get no event of their own
        self.error = error
        self._slots: dict[int, list[int]] = {}

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_post("/completion", self._complete)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.requests.append(asked)
        if self.error and not asked["prompt"]:
            return web.json_response({"error": {"message": self.error}}, status=400)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if self.error:
            await response.write(f"error: {json.dumps({'message': self.error})}\n\n".encode())
            return response
        prompt, slot = asked["prompt"], asked["id_slot"]
        pairs = zip(self._slots.get(slot, []), prompt, strict=False)
        cached = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        made = [TEXT + place for place in range(asked["n_predict"])]
        for token in made[: len(made) - self.swallow]:
            await _send(response, {"content": "x", "tokens": [token], "stop": False})
            await asyncio.sleep(0)
        self._slots[slot] = [*prompt, *made]
        await _send(
            response,
            {
                "content": "",
                "tokens": [],
                "stop": True,
                "tokens_predicted": len(made),
                "timings": {"cache_n": cached, "prompt_n": len(prompt) - cached},
            },
        )
        return response


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(event)}\n\n".encode())


def write_script(file: Path) -> Path:
    """An executable that runs this server with llama-server's command line."""
    root = Path(__file__).parents[2]
    file.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
        "from tests.support.llama_server import main\nmain()\n"
    )
    file.chmod(0o755)
    return file


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("model", "host", "port", "threads", "threads-batch", "parallel", "ctx-size"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    if not Path(options.model).is_file():
        print("loading")
        sys.exit(f"error: cannot open {options.model}")
    web.run_app(Server().app(), host=options.host, port=int(options.port), print=None)
