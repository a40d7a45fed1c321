"""Who may talk to the page's server: only the page itself, and with a token only its holder.

A web page elsewhere can make a browser send requests here (CSRF), and can point a name of its own
at 127.0.0.1 to read the answers too (DNS rebinding). Against both: the Host header must be a name
of this server, and what changes something must come with this page's own Origin.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from bot.platforms.playground.refusal import Refused

COOKIE = "parley_playground"
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104  (compared with, not bound to)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_WRONG_TOKEN_DELAY_S = 0.5

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """Checks every request. `hosts`: names this server answers to besides loopback's (where it is
    bound to); `token`: what a visitor must know, None for nothing."""

    def __init__(self, hosts: Iterable[str] = (), token: str | None = None) -> None:
        names = {host.strip("[]").lower() for host in hosts}
        # Bound to every address, the server can't know its names, but an address is safe: DNS
        # rebinding needs a name. A forwarded port (containers) is another one than ours, then.
        self._any_address = bool(names & _WILDCARDS)
        self._names = _LOOPBACK | (names - _WILDCARDS)
        self._token = token
        self._turnstile = asyncio.Lock()

    @property
    def needs_token(self) -> bool:
        """Whether visitors have to log in."""
        return self._token is not None

    def check_site(self, request: web.Request) -> None:
        """Raises Refused (421 for a foreign Host, 403 for a request from another site)."""
        host = request.headers.get("Host", "")
        if not self._is_ours(host, _local_port(request)):
            raise Refused(421, "This address is not one of the playground's.")
        if not _changes_something(request):
            if request.headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}:
                return
            if request.headers.get("Sec-Fetch-Mode") == "navigate" and request.path == "/":
                return  # a link to the page, followed from elsewhere
            raise Refused(403, "Another site may not ask this.")
        if not _same_origin(request.headers.get("Origin", ""), host):
            raise Refused(403, "Only the playground's own page may do this.")

    def check_login(self, request: web.Request) -> None:
        """Raises Refused (401) unless the visitor has logged in or no token is needed."""
        if not self._has_cookie(request):
            raise Refused(401, "Log in with the playground's token first.")

    async def log_in(self, response: web.StreamResponse, offered: str, *, secure: bool) -> bool:
        """Set the cookie if the token is right. Wrong ones take a while, one after another."""
        if self._token is None:
            return True
        if not hmac.compare_digest(offered.encode("utf-8", "replace"), self._token.encode()):
            async with self._turnstile:
                await asyncio.sleep(_WRONG_TOKEN_DELAY_S)
            return False
        response.set_cookie(
            COOKIE, self._session(), httponly=True, samesite="Strict", secure=secure, path="/"
        )
        return True

    def _has_cookie(self, request: web.Request) -> bool:
        if self._token is None:
            return True
        offered = request.cookies.get(COOKIE, "")
        return hmac.compare_digest(offered.encode("utf-8", "replace"), self._session().encode())

    def _session(self) -> str:
        """What the cookie holds: proof of the token, not the token."""
        assert self._token is not None
        return hmac.new(self._token.encode(), b"parley playground", hashlib.sha256).hexdigest()

    def _is_ours(self, host: str, port: int | None) -> bool:
        try:
            split = urlsplit(f"//{host}")
            name, asked_port = (split.hostname or "").lower(), split.port or 80
        except ValueError:
            return False
        if split.username is not None or split.path or split.query or split.fragment:
            return False
        if self._any_address:
            return name in self._names or _is_address(name)
        return name in self._names and (port is None or asked_port == port)


def _changes_something(request: web.Request) -> bool:
    """Also a WebSocket: a GET, but one that opens a way to read everything."""
    return request.method not in _SAFE_METHODS or "Upgrade" in request.headers


def _local_port(request: web.Request) -> int | None:
    transport = request.transport
    address = transport.get_extra_info("sockname") if transport is not None else None
    return address[1] if isinstance(address, tuple) else None


def _same_origin(origin: str, host: str) -> bool:
    try:
        split = urlsplit(origin)
    except ValueError:
        return False
    return split.scheme in {"http", "https"} and split.netloc.lower() == host.lower() != ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
