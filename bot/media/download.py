"""Downloads files for all adapters: only from allowed hosts, within limits, without leaking tokens.

    policy = HostPolicy(SLACK_HOSTS, parse_extra_hosts(settings.extra_media_hosts))
    async with open_session(policy) as session:
        data = await download(url, policy=policy, session=session, max_bytes=20 * MIB,
                              headers_for_host=lambda host: {"Authorization": f"Bearer {token}"})

Every address is checked before anything is sent to it: the URL, each redirect's URL, and the IP
address. The connection uses the very addresses that the guarded resolver checked, so a host can't
resolve to one address for the check and another for the connection.
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

from bot.media import texts
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
    """A session that connects only to what `policy` allows. Close it (or use `async with`)."""
    return aiohttp.ClientSession(
        connector=GuardedConnector(policy, connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
        trust_env=False,  # a proxy would resolve names itself, bypassing the check
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
    """Download the file at `url`.

    Args:
        session: from `open_session` with the same policy.
        max_bytes: counted as they arrive; the header's length can only reject the file earlier.
        headers_for_host: headers (a token) by host name. They are sent only to the host of `url`;
            after a redirect to another host, port or scheme, none are sent.
        timeout_s: for the whole download, redirects included.

    Raises:
        DownloadError: the message is the reason, written for people; see its subclasses.
        TimeoutError: it took longer than `timeout_s`.
        TypeError: the session isn't guarded by this policy.
    """
    connector = session.connector
    if not isinstance(connector, GuardedConnector) or connector.policy != policy:
        raise TypeError("download needs a session from open_session with the same policy")
    async with asyncio.timeout(timeout_s):
        try:
            return await _follow_redirects(url, policy, session, max_bytes, headers_for_host)
        except aiohttp.ClientError as error:
            if isinstance(refused := _root_cause(error), DownloadRefused):
                raise refused from None
            # Log only the type: the messages quote URLs, whose signatures are secrets.
            logger.info("a file could not be downloaded: %s", type(error).__name__)
            raise DownloadError(texts.NOT_HANDED_OUT) from None


class GuardedConnector(aiohttp.TCPConnector):
    """Connects only to public addresses, except for hosts the operator listed."""

    def __init__(self, policy: HostPolicy, connections: int) -> None:
        super().__init__(resolver=_GuardedResolver(policy), limit=connections)
        self.policy = policy


class _GuardedResolver(AbstractResolver):
    """Returns only addresses that may be connected to.

    Literal IP addresses aren't resolved; `HostPolicy.check` rejects all but those the operator
    listed.
    """

    def __init__(self, policy: HostPolicy) -> None:
        self._policy = policy
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The host's addresses, without private ones unless the operator listed the host."""
        addresses = await self._resolver.resolve(host, port, family)
        if self._policy.is_extra(host, port):
            return addresses
        public = [result for result in addresses if _is_public(result["host"])]
        if addresses and not public:
            logger.warning(
                "%s resolves to a private address, so nothing is downloaded from it; if that is "
                "intended, add it to PARLEY_EXTRA_MEDIA_HOSTS",
                host,
            )
            # Raised as the cause: aiohttp wraps a resolver's OSError in its own error.
            refused = DownloadRefused(texts.PRIVATE_ADDRESS, host=host)
            raise OSError(None, "private address") from refused
        return public

    async def close(self) -> None:
        await self._resolver.close()


async def _follow_redirects(
    address: str,
    policy: HostPolicy,
    session: aiohttp.ClientSession,
    max_bytes: int,
    headers_for_host: HeadersForHost | None,
) -> bytes:
    url = first = _parse(address)
    same_origin = True
    for _ in range(MAX_REDIRECTS + 1):
        policy.check(url)
        same_origin = same_origin and url.origin() == first.origin()
        trusted = same_origin and headers_for_host is not None
        headers = dict(headers_for_host(url.host or "")) if trusted and headers_for_host else {}
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            if response.status not in _REDIRECTS:
                return await _read_body(response, max_bytes)
            url = _redirect_target(url, response.headers.get("Location", ""))
    raise DownloadRefused(texts.TOO_MANY_REDIRECTS)


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if response.status != 200:
        raise DownloadStatus(response.status)
    disposition = response.headers.get("Content-Disposition", "").strip().lower()
    if response.content_type == "text/html" and not disposition.startswith("attachment"):
        raise HtmlInsteadOfFile
    declared = response.content_length
    if declared is not None and declared > max_bytes:
        raise DownloadTooLarge(texts.too_large(max_bytes, declared))
    data = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        data += chunk
        if len(data) > max_bytes:
            raise DownloadTooLarge(texts.too_large(max_bytes))
    return bytes(data)


def _parse(address: str) -> URL:
    try:
        return URL(address)
    except (ValueError, TypeError):
        raise DownloadRefused(texts.NO_WEB_ADDRESS) from None


def _redirect_target(url: URL, location: str) -> URL:
    if not location:
        raise DownloadError(texts.NOT_HANDED_OUT)
    try:
        # Fragments are only for browsers.
        return url.join(URL(location)).with_fragment(None)
    except (ValueError, TypeError):
        raise DownloadRefused(texts.BAD_REDIRECT) from None


def _is_public(address: str) -> bool:
    try:
        return is_public(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return False


def _root_cause(error: BaseException) -> BaseException | None:
    cause = error.__cause__
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
    return cause
