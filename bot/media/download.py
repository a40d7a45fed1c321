"""Fetches files for all adapters: from allowed hosts only, within limits, tokens kept at home.

    policy = HostPolicy(SLACK_HOSTS, parse_extra_hosts(settings.extra_media_hosts))
    async with open_session(policy) as session:
        data = await download(url, policy=policy, session=session, max_bytes=20 * MIB,
                              headers_for_host=lambda host: {"Authorization": f"Bearer {token}"})

Every address is judged before a byte is sent to it: the URL, each redirect's URL, and the IP
address that is connected to (the resolver hands out public ones only, so a name that resolves to
one address for the check and to another for the connection gains nothing).
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Mapping

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from bot.core.safe_names import megabytes
from bot.media.errors import (
    DownloadError,
    DownloadRefused,
    DownloadStatus,
    DownloadTooLarge,
    HtmlInsteadOfFile,
)
from bot.media.hosts import (
    DISCORD_HOSTS,
    SLACK_HOSTS,
    ExtraHost,
    HostPolicy,
    is_public,
    parse_extra_hosts,
)

__all__ = [
    "DISCORD_HOSTS",
    "SLACK_HOSTS",
    "DownloadError",
    "DownloadRefused",
    "DownloadStatus",
    "DownloadTooLarge",
    "ExtraHost",
    "HostPolicy",
    "HtmlInsteadOfFile",
    "download",
    "open_session",
    "parse_extra_hosts",
]

logger = logging.getLogger(__name__)

HeadersForHost = Callable[[str], Mapping[str, str]]

MAX_REDIRECTS = 5
_CHUNK = 64 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)


def open_session(policy: HostPolicy, *, connections: int = 8) -> aiohttp.ClientSession:
    """A session that connects to what `policy` allows only. Close it (or use `async with`)."""
    return aiohttp.ClientSession(
        connector=GuardedConnector(policy, connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
        trust_env=False,  # a proxy would resolve names itself, past the check
    )


async def download(
    url: str,
    *,
    policy: HostPolicy,
    session: aiohttp.ClientSession,
    max_bytes: int,
    headers_for_host: HeadersForHost | None = None,
    timeout_s: float = 30.0,
) -> bytes:
    """The bytes at `url`.

    Args:
        session: from `open_session` with the same policy.
        max_bytes: counted while they arrive; what the header claims can only refuse earlier.
        headers_for_host: headers (a token) for a host's name. They go to the host of `url` alone;
            from the first redirect to another host, port or scheme on, none are sent.
        timeout_s: for all of it, redirects included.

    Raises:
        DownloadError: the text is the reason, for people; see its subclasses.
        TimeoutError: it took longer than `timeout_s`.
        TypeError: the session is not guarded by this policy.
    """
    connector = session.connector
    if not isinstance(connector, GuardedConnector) or connector.policy != policy:
        raise TypeError("download needs a session from open_session with the same policy")
    async with asyncio.timeout(timeout_s):
        try:
            return await _follow(url, policy, session, max_bytes, headers_for_host)
        except aiohttp.ClientError as error:
            if isinstance(refused := _cause(error), DownloadRefused):
                raise refused from None
            # Such errors' texts quote URLs, whose signatures are as good as passwords.
            logger.info("a file could not be fetched: %s", type(error).__name__)
            raise DownloadError("the platform did not hand it out") from None


class GuardedConnector(aiohttp.TCPConnector):
    """Connects to public addresses, and to private ones only where the operator listed the host."""

    def __init__(self, policy: HostPolicy, connections: int) -> None:
        super().__init__(resolver=_GuardedResolver(policy), limit=connections)
        self.policy = policy


class _GuardedResolver(AbstractResolver):
    """Its results are what is connected to. (A literal address is not resolved: only one that the
    operator listed gets past `HostPolicy.check`.)"""

    def __init__(self, policy: HostPolicy) -> None:
        self._policy = policy
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The host's addresses, without those that must not be connected to."""
        addresses = await self._resolver.resolve(host, port, family)
        if self._policy.is_extra(host, port):
            return addresses
        public = [result for result in addresses if _is_public(result["host"])]
        if addresses and not public:
            logger.warning(
                "%s resolves to a private address, so nothing is fetched from it; if it is meant "
                "to, list it in PARLEY_EXTRA_MEDIA_HOSTS",
                host,
            )
            # As the cause, since aiohttp reports an OSError of the resolver as its own error.
            refused = DownloadRefused("it is at a private address", host=host)
            raise OSError(None, "private address") from refused
        return public

    async def close(self) -> None:
        """Nothing is held."""
        await self._resolver.close()


async def _follow(
    address: str,
    policy: HostPolicy,
    session: aiohttp.ClientSession,
    max_bytes: int,
    headers_for_host: HeadersForHost | None,
) -> bytes:
    url = home = _parse(address)
    at_home = True
    for _ in range(MAX_REDIRECTS + 1):
        policy.check(url)
        at_home = at_home and url.origin() == home.origin()
        trusted = at_home and headers_for_host is not None
        headers = dict(headers_for_host(url.host or "")) if trusted and headers_for_host else {}
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            if response.status not in _REDIRECTS:
                return await _body(response, max_bytes)
            url = _next(url, response.headers.get("Location", ""))
    raise DownloadRefused("its address redirects too often")


async def _body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if response.status != 200:
        raise DownloadStatus(response.status)
    disposition = response.headers.get("Content-Disposition", "").strip().lower()
    if response.content_type == "text/html" and not disposition.startswith("attachment"):
        raise HtmlInsteadOfFile
    claimed = response.content_length
    if claimed is not None and claimed > max_bytes:
        raise DownloadTooLarge(f"too large, {megabytes(claimed)}, limit {megabytes(max_bytes)}")
    data = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        data += chunk
        if len(data) > max_bytes:
            raise DownloadTooLarge(f"too large, limit {megabytes(max_bytes)}")
    return bytes(data)


def _parse(address: str) -> URL:
    try:
        return URL(address)
    except (ValueError, TypeError):
        raise DownloadRefused("its address is none of the web's") from None


def _next(url: URL, location: str) -> URL:
    if not location:
        raise DownloadError("the platform did not hand it out")
    try:
        # The fragment is the browser's affair, and a host could tell tales by it.
        return url.join(URL(location)).with_fragment(None)
    except (ValueError, TypeError):
        raise DownloadRefused("its address redirects to nowhere") from None


def _is_public(address: str) -> bool:
    try:
        return is_public(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return False


def _cause(error: BaseException) -> BaseException | None:
    """The innermost cause of an error."""
    cause = error.__cause__
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
    return cause
