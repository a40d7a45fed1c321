"""Reads Slack's message text: escapes undone, mentions and links named, the bot's mention out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

_TOKEN = re.compile(r"<([^<>\n]*)>")
_LEADING = re.compile(r"\s*<(?:@([UW][A-Z0-9]+)|!subteam\^([A-Z0-9]+))[^<>]*>")
_BROADCASTS = frozenset({"here", "channel", "everyone"})

NameOf = Callable[[str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Readers:
    """How ids become names: of a person, and of a channel."""

    person: NameOf
    channel: NameOf


async def read(text: str, readers: Readers, bot_user_id: str = "") -> str:
    """Slack's text as a person reads it on the screen, without the bot's own mention."""
    pieces: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        pieces.append(unescape(text[end : match.start()]))
        pieces.append(await _token(match[1], readers, bot_user_id))
        end = match.end()
    pieces.append(unescape(text[end:]))
    return tidy("".join(pieces))


def mentions(text: str) -> frozenset[str]:
    """The ids of the users that a text mentions."""
    tokens = (match[1] for match in _TOKEN.finditer(text))
    return frozenset(t[1:].partition("|")[0] for t in tokens if t.startswith("@"))


def mentions_everyone(text: str) -> bool:
    """Whether it calls @here, @channel or @everyone."""
    tokens = (match[1] for match in _TOKEN.finditer(text))
    return any(t.startswith("!") and t[1:].partition("|")[0] in _BROADCASTS for t in tokens)


def addresses(text: str) -> str | None:
    """The id of the user or user group whose mention opens the text, if one does."""
    match = _LEADING.match(text)
    return (match[1] or match[2]) if match else None


def unescape(text: str) -> str:
    """Undo Slack's three escapes."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def escape(text: str) -> str:
    """Make a text safe where Slack reads mrkdwn: no mention, no link comes out of it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def tidy(text: str) -> str:
    """Close the gap that a mention left which was taken out."""
    return re.sub(r"(?<=\S)[ \t]{2,}(?=\S)", " ", text).strip()


async def _token(inner: str, readers: Readers, bot_user_id: str) -> str:
    target, _, label = inner.partition("|")
    label = unescape(label)
    if target.startswith("@"):
        if target[1:] == bot_user_id:
            return ""
        return "@" + (label or await readers.person(target[1:]))
    if target.startswith("#"):
        return "#" + (label or await readers.channel(target[1:]))
    if target.startswith("!"):
        return _special(target[1:], label)
    url = unescape(target)
    if not label or label in (url, url.partition("://")[2], url.removeprefix("mailto:")):
        return url.removeprefix("mailto:")
    return f"[{label}]({url})"


def _special(command: str, label: str) -> str:
    if command in _BROADCASTS:
        return f"@{command}"
    if command.startswith("date^"):
        return label
    return label or "@" + command.partition("^")[0]
