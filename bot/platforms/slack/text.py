"""Reads Slack's message text: escapes undone, people, channels and links by their names.

A message is read in two steps. `parse_mrkdwn` and `rich_text.parse_blocks` give Markdown in which a
placeholder stands for each person and channel; `resolve` looks the names up and puts them in.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bot.platforms.shared.mentions import Mention, MentionedText, Target, read_mentions

_TOKEN = re.compile(r"<([^<>\n]*)>")
_BROADCASTS = frozenset({"here", "channel", "everyone"})

# Noncharacters, which nobody types: they are taken out of what Slack hands on.
_START, _END = "\ufdd0", "\ufdd1"
_PLACEHOLDER = re.compile(f"{_START}([^{_START}{_END}]*){_END}")
_NONCHARACTERS = dict.fromkeys(map(ord, (_START, _END)))

NameOf = Callable[[str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class NameLookup:
    """How ids become names: of a person, and of a channel."""

    person: NameOf
    channel: NameOf


def parse_mrkdwn(text: str) -> str:
    """Slack's text as Markdown, with placeholders for people and channels."""
    text = clean(text)
    pieces: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        pieces.append(unescape(text[end : match.start()]))
        pieces.append(_token(match[1]))
        end = match.end()
    pieces.append(unescape(text[end:]))
    return "".join(pieces)


async def resolve(markdown: str, names: NameLookup, bot_user_id: str = "") -> MentionedText:
    """What Markdown with placeholders says, and whom it calls."""
    mentions = [
        Mention(match.start(), match.end(), *await _target(match[1], names, bot_user_id))
        for match in _PLACEHOLDER.finditer(markdown)
    ]
    return read_mentions(markdown, mentions)


async def read_text(text: str, names: NameLookup, bot_user_id: str = "") -> str:
    """Slack's text as a person reads it on the screen, without an address to the bot."""
    return (await resolve(parse_mrkdwn(text), names, bot_user_id)).text


def placeholder(token: str) -> str:
    """What stands for a token of Slack's ("@U123", "#C123|general", "!here") until it is named."""
    return f"{_START}{token}{_END}"


def names_user(text: str, user_id: str) -> bool:
    """Whether a text of Slack's has a mention of this user, be it cited in code or a quote."""
    return f"<@{user_id}>" in text or f"<@{user_id}|" in text


def clean(text: str) -> str:
    """A text without the characters that `placeholder` is made of."""
    return text.translate(_NONCHARACTERS)


def unescape(text: str) -> str:
    """Undo Slack's three escapes."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def escape(text: str) -> str:
    """Make a text safe where Slack reads mrkdwn: no mention, no link comes out of it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _token(token: str) -> str:
    target, _, label = token.partition("|")
    label = unescape(label)
    if target.startswith(("@", "#")):
        return placeholder(f"{target}|{label}")
    if target.startswith("!"):
        command = target[1:].partition("^")[0]
        if command in _BROADCASTS or command == "subteam":
            return placeholder(f"{target}|{label}")
        return label or f"@{command}"  # a date has its fallback text there
    url = unescape(target)
    if not label or label in (url, url.partition("://")[2], url.removeprefix("mailto:")):
        return url.removeprefix("mailto:")
    return f"[{label}]({url})"


async def _target(token: str, names: NameLookup, bot_user_id: str) -> tuple[Target, str]:
    target, _, label = token.partition("|")
    kind, identifier = target[:1], target[1:]
    if kind == "#":
        return Target.NOBODY, "#" + (label or await names.channel(identifier))
    if kind == "@":
        name = "@" + (label or await names.person(identifier))
        return (Target.BOT if identifier == bot_user_id else Target.OTHER), name
    command, _, group_id = identifier.partition("^")
    if command in _BROADCASTS:
        return Target.EVERYONE, f"@{command}"
    return Target.OTHER, label or f"@{group_id}"
