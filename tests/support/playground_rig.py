"""A whole playground on a real SQLite file and a real server; the engine is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from bot.core.ports import FileReader
from bot.core.service import Service
from bot.core.service_settings import ServiceSettings
from bot.engine.api import (
    Delta,
    EngineInfo,
    Finish,
    Lane,
    Message,
    Queued,
    SamplingParams,
    Snapshot,
    StreamItem,
    Text,
    Usage,
)
from bot.media.reader import MediaReader
from bot.platforms.playground.adapter import PlaygroundAdapter
from bot.storage.database import Database
from bot.storage.playground import PlaygroundStore
from bot.storage.store import SqlStore
from tests.support import databases
from tests.support.scripted_engine import count_words, prompt_text

NOTICE = "The demo is a toy: it knows little. Name a bigger model for real answers."


class PacedEngine:
    """Answers with words at a steady pace, everybody at once, and shows its lanes.

    A question with "slowly" in it gets a long answer; one that contains a key of `script`, that
    text. The reply opens with the system prompt's first words, so that a persona is seen.
    """

    def __init__(self, pace_s: float = 0.02, script: dict[str, str] | None = None) -> None:
        self.info = EngineInfo("paced", True, 4096, 16, "cpu", "none")
        self.pace_s = pace_s
        self.script = script or {}
        self.lanes: dict[int, Lane] = {}
        self.total = 0

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return count_words(messages, 16)

    def _reply(self, messages: Sequence[Message]) -> str:
        asked = prompt_text(messages[-1:])
        for key, text in self.script.items():
            if key in asked:
                return text
        if "slowly" in asked:
            return " ".join(f"word{number}" for number in range(600))
        pictures = sum(not isinstance(part, Text) for m in messages for part in m.parts)
        persona = prompt_text(messages[:1]).split(".")[0] if messages[0].role == "system" else ""
        seen = f" I see {pictures} picture." if pictures else ""
        return f"({persona}) You said: {asked[-60:]}.{seen}"

    async def stream(
        self,
        messages: Sequence[Message],
        sampling: SamplingParams,
        *,
        owner: str,
        conversation: str,
        share: float = 1.0,
    ) -> AsyncIterator[StreamItem]:
        prompt = 40 + self.count_tokens(messages)
        number = self.total = self.total + 1
        yield Queued(0)
        try:
            for prefilled in range(0, prompt, 16):
                self.lanes[number] = Lane(
                    conversation, owner, "prefill", prompt, prefilled, 0, 0, 256
                )
                await asyncio.sleep(self.pace_s / 2)
            written = 0
            for piece in self._reply(messages).split(" "):
                yield Delta(piece if written == 0 else f" {piece}", (written,))
                written += 1
                self.lanes[number] = Lane(
                    conversation, owner, "decode", prompt, prompt, 0, written, 256
                )
                await asyncio.sleep(self.pace_s)
            yield Finish("stop", Usage(prompt, 0, written, 0.0, 0.1, 1.0))
        finally:
            self.lanes.pop(number, None)

    def snapshot(self) -> Snapshot:
        lanes = tuple(self.lanes.values())
        writing = sum(lane.phase == "decode" for lane in lanes)
        return Snapshot(lanes, 0, writing / max(self.pace_s, 0.001), 0, self.total)


@dataclass
class Rig:
    """What runs: the address, the parts."""

    url: str
    playground: PlaygroundAdapter
    service: Service
    engine: Any
    store: PlaygroundStore
    port: int
    core_store: SqlStore


@asynccontextmanager
async def playground(
    folder: Path,
    engine: Any = None,
    *,
    token: str | None = None,
    settings: ServiceSettings | None = None,
    port: int = 0,
    hosts: Sequence[str] = (),
    files: FileReader | None = None,
) -> AsyncIterator[Rig]:
    """Everything between the browser and the engine, as the app puts it together."""
    engine = engine or PacedEngine()
    database = Database(f"sqlite+aiosqlite:///{folder / 'parley.db'}")
    await databases.migrate(database)
    images = MediaReader()
    core_store = SqlStore(database)
    service = Service(core_store, engine, files or images, settings or ServiceSettings())
    store = PlaygroundStore(database)
    page = PlaygroundAdapter(
        store,
        service.handle,
        engine.snapshot,
        files=files or images,
        notice=NOTICE,
        model="a scripted stand-in",
        token=token,
        max_upload_bytes=2 * 2**20,
        hosts=hosts,
    )
    await page.start()
    await service.start()
    service.register("playground", page)
    app = web.Application()
    page.add_routes(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    bound = runner.addresses[0][1]
    try:
        yield Rig(f"http://127.0.0.1:{bound}", page, service, engine, store, bound, core_store)
    finally:
        await service.drain(0)
        await page.close()
        await runner.cleanup()
        await images.close()
        await database.close()
