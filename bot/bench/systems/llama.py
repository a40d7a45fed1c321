"""llama.cpp's server: started here, asked over its streaming HTTP completion endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from pathlib import Path
from typing import IO, Any

import aiohttp

from bot.bench.errors import BenchFailed
from bot.bench.measure import PeakMemory
from bot.bench.systems.base import Ask, Ended, Item, Room, Setup, Tokens
from bot.bench.systems.llama_files import find_server, gguf_for, runnable
from bot.bench.systems.room import room_for
from bot.bench.systems.transformers_model import chat_tokenizer
from bot.bench.trace import Trace

_START_S = 180
_STOP_S = 10


class LlamaCpp:
    """One slot for each conversation, continuous batching and prompt caching on (its defaults).

    A conversation keeps its slot, so its history is always where the server looks for it.
    """

    def __init__(self, setup: Setup) -> None:
        self.memory = PeakMemory()
        self._setup = setup
        self._server: _Server | None = None
        self._session: aiohttp.ClientSession | None = None
        self._room = Room(0, 0)

    async def start(self) -> dict[str, str]:
        """Find binary and weights; the server itself starts with the room it needs."""
        self._binary = find_server(self._setup.llama_server)
        self._gguf = await asyncio.to_thread(gguf_for, self._setup)
        self._tokenizer = await asyncio.to_thread(chat_tokenizer, self._setup.folder)
        return {}

    async def prepare(self, traces: Sequence[Trace]) -> None:
        """A server with a slot for each conversation, unless it has them already."""
        room = room_for(traces, self._tokenizer)
        if room == self._room:
            return
        await self.stop()
        self._server = _Server(self._binary, self._gguf, self._setup, room)
        # A connection for each slot; a reply may take as long as it takes.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
            read_bufsize=2**20,  # the last event repeats the whole prompt on one line
        )
        await self._server.ready(self._session)
        self.memory = PeakMemory(self._server.pid)
        self._room = room

    async def stream(self, ask: Ask) -> AsyncIterator[Item]:
        """Tokens as the server's events bring them."""
        assert self._server is not None
        assert self._session is not None
        ids = self._tokenizer.build_prompt(ask.messages).ids
        url, slot = self._server.url, self.slot(ask)
        async for item in complete(self._session, url, ids, ask.new_tokens, slot):
            yield item

    def slot(self, ask: Ask) -> int:
        """The conversation's own."""
        return ask.number % self._room.conversations

    @property
    def pid(self) -> int:
        """The server's process; 0 if there is none."""
        return self._server.pid if self._server is not None else 0

    async def stop(self) -> None:
        """Close the connections and end the server."""
        session, self._session = self._session, None
        server, self._server = self._server, None
        self._room = Room(0, 0)
        if session is not None:
            await session.close()
        if server is not None:
            await server.stop()


async def complete(
    session: aiohttp.ClientSession, url: str, ids: Sequence[int], new_tokens: int, slot: int
) -> AsyncIterator[Item]:
    """One completion, greedy, of exactly `new_tokens`, over the server's own endpoint.

    Raises:
        BenchFailed: quoting the server.
    """
    request = {
        "prompt": list(ids),
        "n_predict": new_tokens,
        "stream": True,
        "return_tokens": True,
        "ignore_eos": True,
        "cache_prompt": True,
        "temperature": 0,
        "samplers": ["temperature"],
        "id_slot": slot,
    }
    given = 0
    async with session.post(f"{url}/completion", json=request) as response:
        if response.status != 200:
            raise BenchFailed(f"its server answers {response.status}: {await _problem(response)}")
        async for event in events(response.content):
            if "error" in event:
                raise BenchFailed(f"its server says: {event['error']}")
            tokens = tuple(event.get("tokens") or ())
            # Half a character is not sent; such tokens are made up for with the last event.
            lacks = event.get("tokens_predicted", 0) - given if event.get("stop") else 0
            if count := max(len(tokens), lacks):
                given += count
                yield Tokens(tokens, count)
            if event.get("stop"):
                timings = event.get("timings") or {}
                yield Ended(len(ids), int(timings.get("cache_n", 0)))
                return
    raise BenchFailed("its server ended a reply without a last event")


async def events(lines: AsyncIterable[bytes]) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a server-sent event stream."""
    async for raw in lines:
        line = raw.strip()
        if line.startswith((b"data:", b"error:")):
            data = line.partition(b":")[2].strip()
            if data == b"[DONE]":
                return
            found = json.loads(data)
            yield {"error": found} if line.startswith(b"error:") else found


async def _problem(response: aiohttp.ClientResponse) -> str:
    return " ".join((await response.text())[:200].split())


class _Server:
    """The process. Its output goes to a temporary file, whose end explains a failure."""

    def __init__(self, binary: Path, gguf: Path, setup: Setup, room: Room) -> None:
        self.url = ""
        self.pid = 0
        self._binary = binary
        self._setup = setup
        self._process: asyncio.subprocess.Process | None = None
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - `stop` closes it
        self._links = tempfile.TemporaryDirectory(prefix="parley-llama-")
        context = -(-(room.context + 8) // 256) * 256
        self._arguments = [
            *("--model", str(gguf)),
            *("--host", "127.0.0.1"),
            *("--threads", str(setup.threads)),
            *("--threads-batch", str(setup.threads)),
            *("--parallel", str(room.conversations)),
            *("--ctx-size", str(context * room.conversations)),
        ]

    async def ready(self, session: aiohttp.ClientSession) -> None:
        """Start it and wait until it has loaded.

        Raises:
            BenchFailed: it ends, or is not ready in time; with its last words.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        program, libraries = await asyncio.to_thread(runnable, self._binary, Path(self._links.name))
        known = os.environ.get("LD_LIBRARY_PATH")
        paths = [str(libraries), *([known] if known else [])]
        # Its own settings (LLAMA_ARG_...) would make it another server than the one described.
        clean = {k: v for k, v in os.environ.items() if not k.startswith("LLAMA_")}
        try:
            self._process = await asyncio.create_subprocess_exec(
                program,
                *self._arguments,
                "--port",
                str(port),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env={**clean, "LD_LIBRARY_PATH": os.pathsep.join(paths)},
            )
        except OSError as error:
            await self.stop()
            raise BenchFailed(
                f"{self._binary} can't be run ({error.strerror}): give a llama.cpp server with "
                "--llama-server"
            ) from None
        self.pid = self._process.pid
        try:
            async with asyncio.timeout(_START_S):
                while not await self._healthy(session):  # noqa: ASYNC110 - it is another process
                    await asyncio.sleep(0.1)
        except TimeoutError:
            words = self._last_words()
            await self.stop()
            raise BenchFailed(f"its server is not ready after {_START_S} s: {words}") from None

    async def stop(self) -> None:
        """End it, by force if it takes too long."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), _STOP_S)
                except TimeoutError:
                    process.kill()
                    await process.wait()
        self._log.close()
        self._links.cleanup()

    async def _healthy(self, session: aiohttp.ClientSession) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            words = self._last_words()
            await self.stop()
            raise BenchFailed(f"its server ended at once: {words}")
        try:
            async with session.get(f"{self.url}/health") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"
