"""llama.cpp's server, started as a subprocess and used through its streaming HTTP endpoint."""

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
from bot.bench.systems.base import Capacity, Item, ReplyEnd, ReplyRequest, Setup, Tokens
from bot.bench.systems.capacity import capacity_for
from bot.bench.systems.llama_files import find_gguf, find_server, prepare_binary
from bot.bench.systems.transformers_model import chat_tokenizer
from bot.bench.trace import Trace

_START_TIMEOUT_S = 180
_STOP_TIMEOUT_S = 10


class LlamaCpp:
    """One slot per conversation; continuous batching and prompt caching are on by default.

    A conversation keeps its slot, so the server always finds its history in the cache.
    """

    def __init__(self, setup: Setup) -> None:
        self.memory = PeakMemory()
        self._setup = setup
        self._server: _Server | None = None
        self._session: aiohttp.ClientSession | None = None
        self._capacity = Capacity(0, 0)

    async def start(self) -> dict[str, str]:
        """Find the binary and the weights; `prepare` starts the server."""
        self._binary = find_server(self._setup.llama_server)
        self._gguf = await asyncio.to_thread(find_gguf, self._setup)
        self._tokenizer = await asyncio.to_thread(chat_tokenizer, self._setup.folder)
        return {}

    async def prepare(self, traces: Sequence[Trace]) -> None:
        """Start a server with a slot per conversation, unless one of that capacity is running."""
        capacity = capacity_for(traces, self._tokenizer)
        if capacity == self._capacity:
            return
        await self.stop()
        self._server = _Server(self._binary, self._gguf, self._setup, capacity)
        # One connection per slot; replies have no timeout.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
            read_bufsize=2**20,  # the last event repeats the whole prompt on one line
        )
        await self._server.start(self._session)
        self.memory = PeakMemory(self._server.pid)
        self._capacity = capacity

    async def stream(self, ask: ReplyRequest) -> AsyncIterator[Item]:
        """Yield tokens as the server's events arrive."""
        assert self._server is not None
        assert self._session is not None
        ids = self._tokenizer.build_prompt(ask.messages).ids
        url, slot = self._server.url, self.slot_of(ask)
        async for item in stream_completion(self._session, url, ids, ask.new_tokens, slot):
            yield item

    def slot_of(self, ask: ReplyRequest) -> int:
        """The slot of the request's conversation."""
        return ask.number % self._capacity.conversations

    @property
    def pid(self) -> int:
        """The server's process id; 0 if it isn't running."""
        return self._server.pid if self._server is not None else 0

    async def stop(self) -> None:
        session, self._session = self._session, None
        server, self._server = self._server, None
        self._capacity = Capacity(0, 0)
        if session is not None:
            await session.close()
        if server is not None:
            await server.stop()


async def stream_completion(
    session: aiohttp.ClientSession, url: str, ids: Sequence[int], new_tokens: int, slot: int
) -> AsyncIterator[Item]:
    """Stream one greedy completion of exactly `new_tokens` tokens.

    Raises:
        BenchFailed: the request failed; the message quotes the server.
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
    num_received = 0
    async with session.post(f"{url}/completion", json=request) as response:
        if response.status != 200:
            raise BenchFailed(
                f"its server returned {response.status}: {await _error_text(response)}"
            )
        async for event in sse_events(response.content):
            if "error" in event:
                raise BenchFailed(f"its server reported: {event['error']}")
            tokens = tuple(event.get("tokens") or ())
            # Tokens that end within a character have no event; the last event accounts for them.
            num_missing = (
                event.get("tokens_predicted", 0) - num_received if event.get("stop") else 0
            )
            if count := max(len(tokens), num_missing):
                num_received += count
                yield Tokens(tokens, count)
            if event.get("stop"):
                timings = event.get("timings") or {}
                yield ReplyEnd(len(ids), int(timings.get("cache_n", 0)))
                return
    raise BenchFailed("its server ended a reply without a final event")


async def sse_events(lines: AsyncIterable[bytes]) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a server-sent event stream."""
    async for raw in lines:
        line = raw.strip()
        if line.startswith((b"data:", b"error:")):
            data = line.partition(b":")[2].strip()
            if data == b"[DONE]":
                return
            payload = json.loads(data)
            yield {"error": payload} if line.startswith(b"error:") else payload


async def _error_text(response: aiohttp.ClientResponse) -> str:
    return " ".join((await response.text())[:200].split())


class _Server:
    """The server process. Its output goes to a temporary file; errors quote the last line."""

    def __init__(self, binary: Path, gguf: Path, setup: Setup, capacity: Capacity) -> None:
        self.url = ""
        self.pid = 0
        self._binary = binary
        self._setup = setup
        self._process: asyncio.subprocess.Process | None = None
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - `stop` closes it
        self._links = tempfile.TemporaryDirectory(prefix="parley-llama-")
        context = -(-(capacity.context_tokens + 8) // 256) * 256
        self._arguments = [
            *("--model", str(gguf)),
            *("--host", "127.0.0.1"),
            *("--threads", str(setup.threads)),
            *("--threads-batch", str(setup.threads)),
            *("--parallel", str(capacity.conversations)),
            *("--ctx-size", str(context * capacity.conversations)),
        ]

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Start the server and wait until the model is loaded.

        Raises:
            BenchFailed: it exits or isn't ready in time; the message has its last log line.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        program, libraries = await asyncio.to_thread(
            prepare_binary, self._binary, Path(self._links.name)
        )
        inherited = os.environ.get("LD_LIBRARY_PATH")
        paths = [str(libraries), *([inherited] if inherited else [])]
        # The environment's LLAMA_ARG_... settings would change what is measured.
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
                f"{self._binary} can't be run ({error.strerror}): name a working llama-server with "
                "--llama-server"
            ) from None
        self.pid = self._process.pid
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                while not await self._is_healthy(session):  # noqa: ASYNC110 - it is another process
                    await asyncio.sleep(0.1)
        except TimeoutError:
            words = self._last_log_line()
            await self.stop()
            raise BenchFailed(
                f"its server wasn't ready after {_START_TIMEOUT_S} s: {words}"
            ) from None

    async def stop(self) -> None:
        """Terminate the server; kill it if that takes too long."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
                except TimeoutError:
                    process.kill()
                    await process.wait()
        self._log.close()
        self._links.cleanup()

    async def _is_healthy(self, session: aiohttp.ClientSession) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            words = self._last_log_line()
            await self.stop()
            raise BenchFailed(f"its server exited while starting: {words}")
        try:
            async with session.get(f"{self.url}/health") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    def _last_log_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "no output"
