"""Where files may be fetched from: the platform's own hosts and those the operator listed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from yarl import URL

from bot.media.errors import DownloadRefused

# "*.example.com" is any host below example.com, not example.com itself.
DISCORD_HOSTS = ("cdn.discordapp.com", "*.discordapp.net")
# Without the right to a file, Slack redirects to the workspace's login page: `*.slack.com` lets
# that page be met and told as what it is. The token goes to the first host alone, whatever is here.
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
    """A host of PARLEY_EXTRA_MEDIA_HOSTS. Without a port it means the schemes' usual ones."""

    host: str  # in lower case; an IPv6 address without brackets
    port: int | None = None

    def matches(self, host: str, port: int) -> bool:
        """Whether it names this host and port."""
        return host == self.host and (port == self.port if self.port else port in (80, 443))


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """Which hosts one platform's files come from.

    `own`: the platform's, over https on port 443 and at public addresses only; `*.` in front
    stands for any host below. `extra`: the operator's, also over http and at private addresses.
    """

    own: tuple[str, ...]
    extra: tuple[ExtraHost, ...] = ()

    def check(self, url: URL) -> None:
        """Raises DownloadRefused for an address that nothing may be fetched from."""
        host, port = url.host, url.port
        if url.scheme not in ("http", "https") or not host or port is None:
            raise DownloadRefused("its address is none of the web's")
        if url.user is not None or url.password is not None:
            raise DownloadRefused("its address carries a name and password")
        if self.is_extra(host, port):
            return
        if not any(_is_below(host, pattern) for pattern in self.own):
            raise DownloadRefused("it is at a host that I don't fetch from", host=host)
        if url.scheme != "https" or port != 443:
            raise DownloadRefused("its address is not https", host=host)

    def is_extra(self, host: str, port: int) -> bool:
        """Whether the operator listed this host, so that its address may be a private one."""
        return any(extra.matches(host, port) for extra in self.extra)


def parse_extra_hosts(text: str) -> tuple[ExtraHost, ...]:
    """`files.example.com, 127.0.0.1:9000, [::1]:9000` as hosts.

    Raises:
        ValueError: naming the entry that is none.
    """
    return tuple(_parse(entry) for entry in _entries(text))


def is_public(address: IPAddress) -> bool:
    """Whether an address is on the public internet, also where IPv6 wraps an IPv4 address."""
    inner = _wrapped(address)
    if inner is not None:
        return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _wrapped(address: IPAddress) -> IPAddress | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]


def _is_below(host: str, pattern: str) -> bool:
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
