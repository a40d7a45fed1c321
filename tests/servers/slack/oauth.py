"""What an admin does in a browser to install the app, and the address that it comes back to."""

from __future__ import annotations

import re
import socket

import aiohttp


def free_port() -> int:
    """A port for an app that has to know its address before it starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def install(address: str, team_id: str, *, state: str | None = None) -> int:
    """Click through the installation; the last page's status. `state`: a forged one."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.get(f"{address}/slack/install?team={team_id}") as page:
            consent = re.search(r'href="([^"]+/oauth/[^"]+)"', await page.text())
            cookie = page.headers["Set-Cookie"].partition(";")[0]
        assert consent is not None
        url = consent[1].replace("&amp;", "&")
        async with browser.get(url, allow_redirects=False) as page:
            back = page.headers["Location"]
        if state is not None:
            back = re.sub(r"state=[^&]+", f"state={state}", back)
        # The cookie is for https only; the test's browser brings it along all the same.
        async with browser.get(back, headers={"Cookie": cookie}) as page:
            return page.status
