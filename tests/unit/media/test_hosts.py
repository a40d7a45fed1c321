"""Which addresses files may be fetched from."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from bot.media.errors import DownloadRefused
from bot.media.hosts import (
    DISCORD_HOSTS,
    SLACK_HOSTS,
    ExtraHost,
    HostPolicy,
    is_public,
    parse_extra_hosts,
)

EXTRA = parse_extra_hosts("127.0.0.1:9000, files.corp.example")
DISCORD = HostPolicy(DISCORD_HOSTS, EXTRA)
SLACK = HostPolicy(SLACK_HOSTS, EXTRA)


@pytest.mark.parametrize(
    ("policy", "url"),
    [
        (DISCORD, "https://cdn.discordapp.com/attachments/1/2/a.png?ex=1&hm=2"),
        (DISCORD, "https://media.discordapp.net/attachments/1/2/a.png"),
        (DISCORD, "https://images-ext-1.discordapp.net/external/x"),
        (DISCORD, "https://CDN.discordapp.com:443/a.png"),
        (DISCORD, "http://127.0.0.1:9000/a.png"),
        (DISCORD, "https://127.0.0.1:9000/a.png"),
        (DISCORD, "http://files.corp.example/a.png"),
        (DISCORD, "https://files.corp.example/a.png"),
        (SLACK, "https://files.slack.com/files-pri/T1-F1/a.png"),
        (SLACK, "https://a.slack-edge.com/x.png"),
    ],
)
def test_allowed(policy: HostPolicy, url: str) -> None:
    policy.check(URL(url))


@pytest.mark.parametrize(
    ("policy", "url"),
    [
        (DISCORD, "http://cdn.discordapp.com/a.png"),
        (DISCORD, "https://cdn.discordapp.com:8443/a.png"),
        (DISCORD, "https://cdn.discordapp.com.evil.example/a.png"),
        (DISCORD, "https://evildiscordapp.net/a.png"),
        (DISCORD, "https://discordapp.net/a.png"),
        (DISCORD, "https://cdn.discordapp.com./a.png"),
        (DISCORD, "https://files.slack.com/a.png"),
        (DISCORD, "https://cdn.discordapp.com@evil.example/a.png"),
        (DISCORD, "https://user:secret@cdn.discordapp.com/a.png"),
        (DISCORD, "https://evil.example/cdn.discordapp.com/a.png"),
        (DISCORD, "https://cdn.dіscordapp.com/a.png"),  # a Cyrillic i
        (DISCORD, "http://127.0.0.1/a.png"),
        (DISCORD, "http://127.0.0.1:9001/a.png"),
        (DISCORD, "http://2130706433:9000/a.png"),
        (DISCORD, "http://[::1]:9000/a.png"),
        (DISCORD, "http://169.254.169.254/latest/meta-data"),
        (DISCORD, "http://files.corp.example:8080/a.png"),
        (DISCORD, "ftp://127.0.0.1:9000/a.png"),
        (DISCORD, "file:///etc/passwd"),
        (DISCORD, "data:image/png;base64,AAAA"),
        (DISCORD, "//cdn.discordapp.com/a.png"),
        (DISCORD, "/a.png"),
        (DISCORD, ""),
        (SLACK, "https://slack.com.evil.example/a.png"),
        (SLACK, "https://evil-slack.com/a.png"),
    ],
)
def test_refused(policy: HostPolicy, url: str) -> None:
    with pytest.raises(DownloadRefused) as caught:
        policy.check(URL(url))
    assert "secret" not in str(caught.value)


@given(st.from_regex(r"https?://[ -~]{1,40}", fullmatch=True))
def test_whatever_passes_is_at_a_known_host(text: str) -> None:
    try:
        url = URL(text)
        HostPolicy(("cdn.discordapp.com",)).check(url)
    except (ValueError, DownloadRefused):
        return
    assert (url.scheme, url.host, url.port) == ("https", "cdn.discordapp.com", 443)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", ()),
        (" , ", ()),
        ("a.example", (ExtraHost("a.example"),)),
        ("A.Example:8080", (ExtraHost("a.example", 8080),)),
        ("localhost:1,127.0.0.1:2", (ExtraHost("localhost", 1), ExtraHost("127.0.0.1", 2))),
        ("[::1]:9000 minio_1", (ExtraHost("::1", 9000), ExtraHost("minio_1"))),
    ],
)
def test_extra_hosts(text: str, hosts: tuple[ExtraHost, ...]) -> None:
    assert parse_extra_hosts(text) == hosts


@pytest.mark.parametrize(
    "entry",
    ["http://a.example", "a.example/path", "*.example", "*", "a.example:0", "a.example:99999",
     "a.example:", "u@a.example", "a b:c", "a.example?x", "-a.example", "a..example", "::1"],
)  # fmt: skip
def test_an_extra_host_that_is_none(entry: str) -> None:
    with pytest.raises(ValueError, match="write a host or host:port"):
        parse_extra_hosts(entry)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "162.159.135.233", "2606:4700::1", "::ffff:1.1.1.1"]
)
def test_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
     "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "198.18.0.1", "240.0.0.1",
     "::", "::1", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
     "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a00:1::"],
)  # fmt: skip
def test_private(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
