"""`parley chat` with everything real but the model: a program for tests to talk to.

python -m tests.support.terminal_chat parley.db
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence

from bot.core.service import Service
from bot.engine.api import (
    Delta,
    EngineInfo,
    Finish,
    Message,
    SamplingParams,
    Snapshot,
    StreamItem,
    Text,
    Usage,
)
from bot.media.reader import MediaReader
from bot.platforms.terminal.adapter import TerminalAdapter
from bot.storage.database import Database
from bot.storage.store import SqlStore


class ParrotEngine:
    """Says what it was told; `fail` breaks it, `long` goes on for a minute, `persona` and
    `pictures` say what it sees."""

    info = EngineInfo("parrot", True, 4096, 4, "cpu", "none")

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to free."""

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(part.text.split()) for m in messages for part in m.parts if _is_text(part))

    async def stream(
        self,
        messages: Sequence[Message],
        sampling: SamplingParams,
        *,
        owner: str,
        conversation: str,
        share: float = 1.0,
    ) -> AsyncIterator[StreamItem]:
        said = " ".join(part.text for part in messages[-1].parts if _is_text(part))
        if "fail" in said:
            raise RuntimeError("secret internals")
        if "persona" in said:
            said = " ".join(part.text for part in messages[0].parts if _is_text(part))
        elif "pictures" in said:
            said = f"{sum(not _is_text(p) for m in messages for p in m.parts)} of them"
        elif "turns" in said:
            said = f"{sum(m.role == 'assistant' for m in messages)} before"
        elif "escape" in said:
            said = "\x1b]0;owned\x07\x1b[31mred\x9b1m"
        words = (f"word{n} " for n in range(600)) if "long" in said else said.split(" ")
        for n, word in enumerate(words):
            await asyncio.sleep(0.1 if "word" in word else 0)
            yield Delta(word if n == 0 or word.endswith(" ") else f" {word}")
        yield Finish("stop", Usage(1, 0, 1, 0.0, 0.0, 0.0))

    def snapshot(self) -> Snapshot:
        return Snapshot((), 0, 0.0, 0, 0)


def _is_text(part: object) -> bool:
    return isinstance(part, Text)


async def main(file: str, *options: str) -> int:
    database = Database(f"sqlite+aiosqlite:///{file}")
    await database.upgrade()
    images = MediaReader()
    service = Service(SqlStore(database), ParrotEngine(), images)
    terminal = TerminalAdapter(service.handle, name="Ana", forget_first="--new" in options)
    await service.start()
    service.register(terminal.platform, terminal)
    try:
        await terminal.start()
        await terminal.watch()
    finally:
        await terminal.close()
        await service.drain(1)
        await images.close()
        await database.close()
    return terminal.exit_code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
