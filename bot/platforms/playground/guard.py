"""Who may talk to the page's server: only the page itself, and with a token only its holder.

Another site can make a browser send requests here (CSRF), and can point a name of its own at
127.0.0.1 to read the responses as well (DNS rebinding). Against both, the Host header must be a
name of this server, and a request that changes something must have this page's own Origin.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from bot.platforms.playground import texts
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
    """Checks every request.

    Args:
        hosts: Names that this server is bound to, besides loopback's.
        token: What a visitor must know; None for no login.
    """

    def __init__(self, hosts: Iterable[str] = (), token: str | None = None) -> None:
        names = {host.strip("[]").lower() for host in hosts}
        # A server bound to every address can't know its names. Any address is safe, since DNS
        # rebinding needs a name. Its port may differ from ours (containers forward ports).
        self._any_address = bool(names & _WILDCARDS)
        self._names = _LOOPBACK | (names - _WILDCARDS)
        self._token = token
        self._wrong_token_lock = asyncio.Lock()

    @property
    def needs_token(self) -> bool:
        return self._token is not None

    def check_site(self, request: web.Request) -> None:
        """Raises Refused (421 for a foreign Host, 403 for a request from another site)."""
        host = request.headers.get("Host", "")
        if not self._is_own_host(host, _local_port(request)):
            raise Refused(421, texts.FOREIGN_HOST)
        if not _is_unsafe(request):
            if request.headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}:
                return
            if request.headers.get("Sec-Fetch-Mode") == "navigate" and request.path == "/":
                return  # a link to the page, followed from elsewhere
            raise Refused(403, texts.FOREIGN_SITE)
        if not _same_origin(request.headers.get("Origin", ""), host):
            raise Refused(403, texts.FOREIGN_PAGE)

    def check_login(self, request: web.Request) -> None:
        """Raises Refused (401) unless the visitor has logged in or no token is needed."""
        if not self._has_cookie(request):
            raise Refused(401, texts.LOGIN_REQUIRED)

    async def log_in(self, response: web.StreamResponse, offered: str, *, secure: bool) -> bool:
        """Set the cookie if the token is right. Wrong tokens are delayed, one after another."""
        if self._token is None:
            return True
        if not hmac.compare_digest(offered.encode("utf-8", "replace"), self._token.encode()):
            async with self._wrong_token_lock:
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
        """The cookie's value: it proves the token without containing it."""
        assert self._token is not None
        return hmac.new(self._token.encode(), b"parley playground", hashlib.sha256).hexdigest()

    def _is_own_host(self, host: str, port: int | None) -> bool:
        try:
            split = urlsplit(f"//{host}")
            name, host_port = (split.hostname or "").lower(), split.port or 80
        except ValueError:
            return False
        if split.username is not None or split.path or split.query or split.fragment:
            return False
        if self._any_address:
            return name in self._names or _is_address(name)
        return name in self._names and (port is None or host_port == port)


def _is_unsafe(request: web.Request) -> bool:
    """Whether it changes something. A WebSocket counts too: this GET can read everything."""
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
