"""Only the page itself is served: Host, Origin, token, headers; what browsers would send."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from bot.platforms.playground.guard import COOKIE
from tests.support.playground_rig import Rig, playground

TOKEN = "correct horse battery staple"
STATE_CHANGING = [
    ("POST", "channels"),
    ("PATCH", "channels/1"),
    ("POST", "channels/1/messages"),
    ("PATCH", "messages/1"),
    ("DELETE", "messages/1"),
    ("POST", "messages/1/stop"),
    ("POST", "messages/1/regenerate"),
    ("POST", "uploads"),
    ("DELETE", "uploads/1"),
]


async def status(
    session: aiohttp.ClientSession, method: str, url: str | URL, **options: Any
) -> int:
    async with session.request(method, url, allow_redirects=False, **options) as response:
        await response.read()
        return response.status


FOREIGN_HOSTS = (
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example:{port}",
    "localhost:1",
    "127.0.0.1:1",
    "192.168.0.9:{port}",
    "user@127.0.0.1:{port}",
    "127.0.0.1:{port}/x",
    "127.0.0.1:99999999",
    "[::1",
    "",
)


@pytest.mark.parametrize("path", ["/", "/static/js/app.js", "/playground/api/complete?as=ana"])
async def test_a_foreign_host_is_refused_everywhere(
    rig: Rig, session: aiohttp.ClientSession, path: str
) -> None:
    for host in FOREIGN_HOSTS:
        headers = {"Host": host.format(port=rig.port)}
        got = await status(session, "GET", rig.url + path, headers=headers)
        assert got in {400, 421}, host


async def test_loopback_by_any_of_its_names_is_served(
    rig: Rig, session: aiohttp.ClientSession
) -> None:
    for name in ("localhost", "127.0.0.1", "LOCALHOST", "[::1]"):
        headers = {"Host": f"{name}:{rig.port}"}
        assert await status(session, "GET", rig.url, headers=headers) == 200, name


FOREIGN_ORIGINS = (
    None,
    "",
    "null",
    "http://evil.example",
    "http://127.0.0.1:1",
    "file://",
    "ws://{host}",
    "http://{host}.evil.example",
    "http://evil@{host}",
)


async def test_what_changes_something_needs_the_pages_own_origin(
    rig: Rig, session: aiohttp.ClientSession
) -> None:
    for origin in FOREIGN_ORIGINS:
        host = f"127.0.0.1:{rig.port}"
        headers = {} if origin is None else {"Origin": origin.format(host=host)}
        for method, path in STATE_CHANGING:
            url = f"{rig.url}/playground/api/{path}?as=ana"
            got = await status(session, method, url, headers=headers, json={})
            assert got == 403, (origin, method, path)


async def test_the_socket_needs_the_pages_own_origin(
    rig: Rig, session: aiohttp.ClientSession
) -> None:
    for origin in FOREIGN_ORIGINS:
        host = f"127.0.0.1:{rig.port}"
        headers = {} if origin is None else {"Origin": origin.format(host=host)}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{rig.url}/playground/api/socket?as=ana", headers=headers)
        assert refused.value.status == 403, origin


async def test_another_site_may_link_here_and_nothing_else(
    rig: Rig, session: aiohttp.ClientSession
) -> None:
    for path, mode, expected in (
        ("/", "navigate", 200),  # a link to the page is fine
        ("/", "no-cors", 403),
        ("/static/js/app.js", "no-cors", 403),
        ("/playground/api/uploads/1?as=ana", "no-cors", 403),
        ("/playground/api/complete?as=ana&text=/", "navigate", 403),
    ):
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
        got = await status(session, "GET", rig.url + path, headers=headers)
        assert got == expected, (path, mode)


async def test_every_answer_carries_the_headers(rig: Rig, session: aiohttp.ClientSession) -> None:
    for path in (
        "/",
        "/static/js/app.js",
        "/static/none",
        "/playground/api/uploads/1?as=ana",
    ):
        async with session.get(rig.url + path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy, path
            assert "frame-ancestors 'none'" in policy, path
            assert "unsafe" not in policy, path
            assert response.headers["X-Content-Type-Options"] == "nosniff", path
            assert response.headers["Referrer-Policy"] == "no-referrer", path


async def test_no_path_reaches_the_disk(rig: Rig, session: aiohttp.ClientSession) -> None:
    for path in (
        "/static/../playground.py",
        "/static/%2e%2e/playground.py",
        "/static/..%2fplayground.py",
        "/static//etc/passwd",
    ):
        url = URL(rig.url + path, encoded=True)
        assert await status(session, "GET", url) == 404, path


async def test_files_are_asked_for_again_and_answered_by_304(
    rig: Rig, session: aiohttp.ClientSession
) -> None:
    url = f"{rig.url}/static/js/app.js"
    async with session.get(url) as response:
        tag = response.headers["ETag"]
    assert await status(session, "GET", url, headers={"If-None-Match": tag}) == 304


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[Rig]:
    async with playground(tmp_path, token=TOKEN) as rig:
        yield rig


@pytest.mark.parametrize("cookie", [None, TOKEN, "", "é"])
async def test_without_the_token_everything_is_401(
    closed: Rig, session: aiohttp.ClientSession, cookie: str | None
) -> None:
    headers = {"Origin": closed.url}
    if cookie is not None:
        headers["Cookie"] = f"{COOKIE}={cookie}"
    for method, path in (
        ("GET", "/"),
        ("GET", "/static/js/app.js"),
        ("GET", "/playground/api/socket?as=ana"),
        ("GET", "/playground/api/uploads/1?as=ana"),
        *((method, f"/playground/api/{path}?as=ana") for method, path in STATE_CHANGING),
    ):
        got = await status(session, method, closed.url + path, headers=headers)
        assert got == 401, (method, path)


async def test_the_form_lets_the_right_token_in(closed: Rig) -> None:
    # A plain jar keeps no cookies of addresses: this one is to behave like a browser.
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        login = f"{closed.url}/playground/login"
        origin = {"Origin": closed.url}
        assert await status(session, "POST", login, data={"token": "x"}, headers=origin) == 401
        assert await status(session, "GET", closed.url) == 401
        async with session.post(
            login, data={"token": TOKEN}, headers=origin, allow_redirects=False
        ) as response:
            assert (response.status, response.headers["Location"]) == (303, "/")
            cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        assert await status(session, "GET", closed.url) == 200


async def test_the_link_lets_the_right_token_in_and_drops_it_from_the_address(
    closed: Rig,
) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        assert await status(session, "GET", closed.url, params={"token": "wrong"}) == 401
        async with session.get(closed.url, params={"token": TOKEN}) as response:
            assert response.status == 200
            text = await response.text()
        assert 'content="0;url=/"' in text
        assert TOKEN not in text
        assert await status(session, "GET", closed.url) == 200


async def test_a_login_from_another_site_is_refused(
    closed: Rig, session: aiohttp.ClientSession
) -> None:
    url = f"{closed.url}/playground/login"
    headers = {"Origin": "http://evil.example"}
    assert await status(session, "POST", url, data={"token": TOKEN}, headers=headers) == 403


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.168.0.9:{port}", 200),  # any address: rebinding needs a name
        ("127.0.0.1:9999", 200),  # a forwarded port
        ("evil.example:{port}", 421),
    ],
)
async def test_bound_to_all_addresses_it_answers_to_addresses_only(
    tmp_path: Path, session: aiohttp.ClientSession, host: str, expected: int
) -> None:
    async with playground(tmp_path, hosts=["0.0.0.0"]) as rig:
        headers = {"Host": host.format(port=rig.port)}
        assert await status(session, "GET", rig.url, headers=headers) == expected


async def test_bound_to_a_name_it_answers_to_that_name(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    async with playground(tmp_path, hosts=["parley.lan"]) as rig:
        for host, expected in (("parley.lan", 200), ("other.lan", 421)):
            headers = {"Host": f"{host}:{rig.port}"}
            assert await status(session, "GET", rig.url, headers=headers) == expected
