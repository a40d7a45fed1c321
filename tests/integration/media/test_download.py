"""The downloader against real servers of this machine: limits, redirects, tokens, addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import ResolveResult

from bot.media import download as module
from bot.media.download import (
    DownloadError,
    DownloadRefused,
    DownloadStatus,
    DownloadTooLarge,
    ExtraHost,
    HostPolicy,
    HtmlInsteadOfFile,
    download,
    open_session,
)

BYTES = bytes(range(256)) * 40
SECRET = "Bearer xoxb-very-secret"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Host:
    """A local server that answers with one handler and notes what it was sent."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.answer: Handler = self.plain
        self.port = 0

    async def plain(self, _: web.Request) -> web.StreamResponse:
        return web.Response(body=BYTES, content_type="image/png")

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return await self.answer(request)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/file.png"

    @property
    def tokens(self) -> list[str | None]:
        return [request.headers.get("Authorization") for request in self.requests]

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner


@pytest.fixture
async def hosts() -> AsyncIterator[tuple[Host, Host]]:
    one, two = Host(), Host()
    runners = [await one.start(), await two.start()]
    yield one, two
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def home(hosts: tuple[Host, Host]) -> Host:
    return hosts[0]


@pytest.fixture
async def other(hosts: tuple[Host, Host]) -> Host:
    return hosts[1]


def allow(*hosts: Host, own: tuple[str, ...] = ()) -> HostPolicy:
    return HostPolicy(own, tuple(ExtraHost("127.0.0.1", host.port) for host in hosts))


async def fetch(url: str, policy: HostPolicy, **options: Any) -> bytes:
    async with open_session(policy) as session:
        return await download(
            url,
            policy=policy,
            session=session,
            max_bytes=options.pop("max_bytes", 1 << 20),
            headers_for_host=lambda _: {"Authorization": SECRET},
            **options,
        )


def redirect(to: str, status: int = 302) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": to})

    return answer


async def test_the_bytes_come_and_the_token_goes(home: Host) -> None:
    assert await fetch(home.url, allow(home)) == BYTES
    assert home.tokens == [SECRET]


async def test_a_host_that_is_not_listed_gets_nothing(home: Host, other: Host) -> None:
    with pytest.raises(DownloadRefused, match="don't download from"):
        await fetch(other.url, allow(home))
    assert other.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_at_home_is_followed_with_the_token(home: Host, status: int) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/file.png":
            return await redirect("/real.png", status)(request)
        return await home.plain(request)

    home.answer = answer
    assert await fetch(home.url, allow(home)) == BYTES
    assert home.tokens == [SECRET, SECRET]


async def test_the_token_stays_behind_when_a_redirect_leaves(home: Host, other: Host) -> None:
    home.answer = redirect(other.url)
    assert await fetch(home.url, allow(home, other)) == BYTES
    assert (home.tokens, other.tokens) == ([SECRET], [None])


async def test_the_token_is_not_sent_again_when_it_comes_back(home: Host, other: Host) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/back":
            return await home.plain(request)
        return await redirect(other.url)(request)

    home.answer = answer
    other.answer = redirect(f"http://127.0.0.1:{home.port}/back")
    assert await fetch(home.url, allow(home, other)) == BYTES
    assert home.tokens == [SECRET, None]


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:{other}/x", "http://localhost:{home}/x", "http://169.254.169.254/",
     "file:///etc/passwd", "http://u:p@127.0.0.1:{home}/", "https://evil.example/", "http://[",
     "gopher://127.0.0.1:{home}/"],
)  # fmt: skip
async def test_each_redirect_is_judged_again(home: Host, other: Host, target: str) -> None:
    home.answer = redirect(target.format(home=home.port, other=other.port))
    with pytest.raises(DownloadRefused):
        await fetch(home.url, allow(home))
    assert other.requests == []


async def test_redirects_in_a_circle_end(home: Host) -> None:
    home.answer = redirect(home.url)
    with pytest.raises(DownloadRefused, match="too often"):
        await fetch(home.url, allow(home))
    assert len(home.requests) == 6


async def test_a_redirect_to_nowhere(home: Host) -> None:
    home.answer = redirect("")
    with pytest.raises(DownloadError):
        await fetch(home.url, allow(home))


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%2"],
    ],
)
async def test_an_own_host_at_a_private_address_is_refused(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _resolve_to(monkeypatch, [addresses])
    policy = HostPolicy(("cdn.discordapp.com",))
    with pytest.raises(DownloadRefused, match="private address"):
        await fetch("https://cdn.discordapp.com/a.png", policy)


async def test_rebinding_gains_nothing(monkeypatch: pytest.MonkeyPatch, home: Host) -> None:
    """A name that is public when first asked for and private after that."""
    asked = _resolve_to(monkeypatch, [["192.0.2.1"], ["127.0.0.1"], ["127.0.0.1"]])
    monkeypatch.setattr(module, "is_public", lambda address: str(address) == "192.0.2.1")
    connected: list[str] = []

    async def connect(self: Any, *args: Any, addr_infos: Any, **_: Any) -> Any:
        connected.extend(info[4][0] for info in addr_infos)
        raise aiohttp.ClientConnectionError("not in this test")

    monkeypatch.setattr(aiohttp.TCPConnector, "_wrap_create_connection", connect)
    policy = HostPolicy(("cdn.discordapp.com",))
    with pytest.raises(DownloadError):
        await fetch("https://cdn.discordapp.com/a.png", policy)
    with pytest.raises(DownloadRefused, match="private address"):
        await fetch("https://cdn.discordapp.com/a.png", policy)
    assert (connected, asked[:2]) == (["192.0.2.1"], ["cdn.discordapp.com"] * 2)


async def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolve_to(monkeypatch, [])
    with pytest.raises(DownloadError) as caught:
        await fetch("https://cdn.discordapp.com/a.png", HostPolicy(("cdn.discordapp.com",)))
    assert not isinstance(caught.value, DownloadRefused)


async def test_a_listed_name_may_be_private(home: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    _resolve_to(monkeypatch, [["127.0.0.1"]])
    policy = HostPolicy((), (ExtraHost("files.corp.example", home.port),))
    assert await fetch(f"http://files.corp.example:{home.port}/a.png", policy) == BYTES


async def test_too_large_by_its_header_is_not_read(home: Host) -> None:
    with pytest.raises(DownloadTooLarge, match=r"too large, 0\.0 MB, limit 0\.0 MB"):
        await fetch(home.url, allow(home), max_bytes=len(BYTES) - 1)
    assert await fetch(home.url, allow(home), max_bytes=len(BYTES)) == BYTES


async def test_too_large_is_noticed_while_it_streams(home: Host) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(10_000):
            await response.write(b"\0" * 65_536)
            sent += 65_536
        return response

    home.answer = endless
    with pytest.raises(DownloadTooLarge, match=r"too large, limit 1\.0 MB"):
        await fetch(home.url, allow(home), max_bytes=1 << 20)
    assert sent < 100 << 20


async def test_a_small_file_that_inflates_is_counted_inflated(home: Host) -> None:
    async def bomb(_: web.Request) -> web.StreamResponse:
        response = web.Response(body=b"\0" * (8 << 20))
        response.enable_compression(web.ContentCoding.gzip, strategy=0)
        return response

    home.answer = bomb
    with pytest.raises(DownloadError):
        await fetch(home.url, allow(home), max_bytes=1 << 20)


async def test_slow_is_given_up(home: Host) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    home.answer = drip
    with pytest.raises(TimeoutError):
        await fetch(home.url, allow(home), timeout_s=0.5)


async def test_a_web_page_instead_of_the_file(home: Host) -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>Sign in</html>", content_type="text/html")

    home.answer = page
    with pytest.raises(HtmlInsteadOfFile):
        await fetch(home.url, allow(home))


async def test_an_uploaded_web_page_is_a_file(home: Host) -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        headers = {"Content-Disposition": 'attachment; filename="page.html"'}
        return web.Response(text="<html>", content_type="text/html", headers=headers)

    home.answer = page
    assert await fetch(home.url, allow(home)) == b"<html>"


@pytest.mark.parametrize("status", [204, 206, 304, 401, 403, 404, 429, 500])
async def test_an_error_of_the_host(home: Host, status: int) -> None:
    async def fail(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    home.answer = fail
    with pytest.raises(DownloadStatus) as caught:
        await fetch(home.url, allow(home))
    assert caught.value.status == status


async def test_cut_off_in_the_middle(home: Host) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100000"})
        await response.prepare(request)
        await response.write(b"x" * 1000)
        assert request.transport is not None
        request.transport.abort()
        return response

    home.answer = cut
    with pytest.raises(DownloadError) as caught:
        await fetch(home.url, allow(home))
    assert "127.0.0.1" not in str(caught.value)


async def test_nobody_listens(home: Host) -> None:
    policy = HostPolicy((), (ExtraHost("127.0.0.1", 1),))
    with pytest.raises(DownloadError) as caught:
        await fetch("http://127.0.0.1:1/a.png?signature=secret", policy)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_cookies_are_not_kept(home: Host) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        response = web.Response(body=b"x")
        response.set_cookie("session", "1")
        return response

    home.answer = answer
    policy = allow(home)
    async with open_session(policy) as session:
        for _ in range(2):
            await download(home.url, policy=policy, session=session, max_bytes=9)
    assert [request.cookies.get("session") for request in home.requests] == [None, None]
    assert home.tokens == [None, None]


async def test_an_unguarded_session_is_a_mistake(home: Host) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(TypeError, match="open_session"):
            await download(home.url, policy=allow(home), session=session, max_bytes=9)
    async with open_session(HostPolicy(())) as session:
        with pytest.raises(TypeError, match="open_session"):
            await download(home.url, policy=allow(home), session=session, max_bytes=9)


def _resolve_to(monkeypatch: pytest.MonkeyPatch, answers: list[list[str]]) -> list[str]:
    """Names resolve to these addresses, one list after the other. Returns the names asked for."""
    asked: list[str] = []

    async def resolve(self: Any, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        asked.append(host)
        if not answers:
            raise OSError(None, "no such name")
        addresses = answers.pop(0)
        return [
            ResolveResult(hostname=host, host=a, port=port, family=family, proto=0, flags=0)
            for a in addresses
        ]

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
    return asked
