"""Which hosts files may be downloaded from: the platform's own and those the operator listed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from yarl import URL

from bot.media import texts
from bot.media.errors import DownloadRefused

# "*.example.com" matches every subdomain of example.com, but not example.com itself.
DISCORD_HOSTS = ("cdn.discordapp.com", "*.discordapp.net")
# If the app may not read a file, Slack redirects to the workspace's login page; allowing
# `*.slack.com` lets us recognize that page. The token is sent only to the first host regardless.
SLACK_HOSTS = (
    "*.slack.com",
    "*.slack-edge.com",
    "*.slack-files.com",
    "slack-files.com",
    "*.slack-gov.com",
    "*.slack-gov-edge.com",
)

_HOST = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class ExtraHost:
    """A host of PARLEY_EXTRA_MEDIA_HOSTS. Without a port, ports 80 and 443 are allowed."""

    host: str  # lowercase; an IPv6 address has no brackets
    port: int | None = None

    def matches(self, host: str, port: int) -> bool:
        return host == self.host and (port == self.port if self.port else port in (80, 443))


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """Which hosts one platform's files may come from.

    `own`: the platform's hosts, only over https on port 443 and at public addresses; a leading `*.`
    matches all subdomains. `extra`: the operator's hosts, also over http and at private addresses.
    """

    own: tuple[str, ...]
    extra: tuple[ExtraHost, ...] = ()

    def check(self, url: URL) -> None:
        """Raises DownloadRefused if downloading from this address isn't allowed."""
        host, port = url.host, url.port
        if url.scheme not in ("http", "https") or not host or port is None:
            raise DownloadRefused(texts.NO_WEB_ADDRESS)
        if url.user is not None or url.password is not None:
            raise DownloadRefused(texts.CREDENTIALS_IN_ADDRESS)
        if self.is_extra(host, port):
            return
        if not any(_matches_pattern(host, pattern) for pattern in self.own):
            raise DownloadRefused(texts.FOREIGN_HOST, host=host)
        if url.scheme != "https" or port != 443:
            raise DownloadRefused(texts.NOT_HTTPS, host=host)

    def is_extra(self, host: str, port: int) -> bool:
        """Whether the operator listed this host; its address may then be private."""
        return any(extra.matches(host, port) for extra in self.extra)


def parse_extra_hosts(text: str) -> tuple[ExtraHost, ...]:
    """Parse `files.example.com, 127.0.0.1:9000, [::1]:9000`.

    Raises:
        ValueError: names the invalid entry.
    """
    return tuple(_parse(entry) for entry in _entries(text))


def is_public(address: IPAddress) -> bool:
    """Whether an address is on the public internet, also if IPv6 embeds an IPv4 address."""
    inner = _embedded_ipv4(address)
    if inner is not None:
        return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded_ipv4(address: IPAddress) -> IPAddress | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]


def _matches_pattern(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


def _entries(text: str) -> Iterable[str]:
    return filter(None, (entry.strip() for entry in text.replace(",", " ").split()))


def _parse(entry: str) -> ExtraHost:
    wrong = ValueError(f"has {entry!r}: write a host or host:port, without a scheme or a path")
    try:
        url = URL(f"//{entry}")
        host, port = url.host, url.explicit_port
    except ValueError:
        raise wrong from None
    if not host or url.user is not None or url.raw_path not in ("", "/") or url.query_string:
        raise wrong
    if port == 0 or entry.endswith((":", "/")) or not (_is_ip(host) or _HOST.fullmatch(host)):
        raise wrong
    return ExtraHost(host, port)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
