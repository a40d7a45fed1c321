"""What a Discord message says as plain text: mentions by name, embeds, forwards, components."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import discord

_USER = r"<@!?(?P<user>\d{1,20})>"
_ROLE = r"<@&(?P<role>\d{1,20})>"
_MARKUP = re.compile(
    rf"{_USER}|{_ROLE}|<#(?P<channel>\d{{1,20}})>|<a?:(?P<emoji>\w{{1,32}}):\d+>"
    r"|</(?P<command>[^:>\n]{1,100}):\d+>|<t:(?P<time>-?\d{1,12})(?::\w)?>"
)
_OPENING = re.compile(rf"\s*(?:{_USER}|{_ROLE})")
_CODE = re.compile(r"```.*?(?:```|\Z)|``.+?``|`[^`\n]+`", re.DOTALL)
_FOOT = re.compile(r"(?:\n?-# [^\n]*)+\Z")


@dataclass(frozen=True, slots=True)
class Names:
    """Who and what the ids in a text are, and which of them are the bot."""

    me: int
    my_name: str
    my_roles: frozenset[int] = frozenset()
    users: dict[int, str] = field(default_factory=dict)
    roles: dict[int, str] = field(default_factory=dict)
    channels: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mentions:
    """Whom a text calls: the bot, one of its roles, somebody else at its very start."""

    me: bool
    my_role: bool
    opens_with_other: bool


def mentions(text: str, names: Names) -> Mentions:
    """The mentions written in a text; what is quoted as code is about a mention, it is none."""
    spoken = _CODE.sub(" ", text)
    found = list(_MARKUP.finditer(spoken))
    opening = _OPENING.match(spoken)
    return Mentions(
        me=any(match["user"] and int(match["user"]) == names.me for match in found),
        my_role=any(match["role"] and int(match["role"]) in names.my_roles for match in found),
        opens_with_other=opening is not None and not _is_me(opening, names),
    )


def plain(text: str, names: Names) -> str:
    """A text with names instead of ids. The bot's own mention goes where it is a mere address, at
    either end; inside it stays as the name, since "what can @Parley do" needs it."""
    text = _cut_address(text, names)
    return _MARKUP.sub(lambda match: _named(match, names), text).strip()


def message_text(message: Any, names: Names, *, unfurls: bool = False) -> str:
    """All that a message (or a forwarded one's snapshot) says.

    `unfurls`: also what Discord found behind its links; that comes and goes after the message was
    written, so it is left out where an edit of the text would mean something.
    """
    parts = [plain(message.content or "", names)]
    for snapshot in getattr(message, "message_snapshots", None) or ():
        forwarded = message_text(snapshot, names, unfurls=True)
        if forwarded:
            parts.append(f"Forwarded message:\n{_quote(forwarded)}")
    parts += [
        text
        for embed in message.embeds
        if (unfurls or embed.type == "rich") and (text := _embed_text(embed))
    ]
    parts += _component_texts(message.components)
    parts += [f"[sticker: {sticker.name}]" for sticker in message.stickers]
    poll = getattr(message, "poll", None)
    if poll is not None:
        parts.append(_poll_text(poll))
    return "\n\n".join(part for part in parts if part)


def own_text(message: Any) -> str:
    """What one of the bot's own messages says, without the notes at its foot."""
    return _FOOT.sub("", message.content or "").strip()


def media_of(components: Iterable[Any]) -> Iterator[Any]:
    """The media items in a message's components (Components V2)."""
    for component in components:
        for item in getattr(component, "items", None) or ():
            if getattr(item, "media", None) is not None:
                yield item.media
        if getattr(component, "media", None) is not None:
            yield component.media
        yield from media_of(_below(component))


def _is_me(match: re.Match[str], names: Names) -> bool:
    if match["user"]:
        return int(match["user"]) == names.me
    return bool(match["role"]) and int(match["role"]) in names.my_roles


def _cut_address(text: str, names: Names) -> str:
    while (match := _OPENING.match(text)) is not None and _is_me(match, names):
        text = text[match.end() :].lstrip(" \t,:;")
    found = list(_MARKUP.finditer(text))
    while found and _is_address(last := found.pop(), text, names):
        text = text[: last.start()].rstrip(" \t,") + text[last.end() :].strip()
    return text


def _is_address(match: re.Match[str], text: str, names: Names) -> bool:
    """Whether it calls the bot at the end of the text."""
    if not (match["user"] or match["role"]) or not _is_me(match, names):
        return False
    return not text[match.end() :].strip(" \t\n.!?")


def _named(match: re.Match[str], names: Names) -> str:
    if match["user"]:
        user = int(match["user"])
        return f"@{names.my_name if user == names.me else names.users.get(user, 'somebody')}"
    if match["role"]:
        return f"@{names.roles.get(int(match['role']), 'some role')}"
    if match["channel"]:
        return f"#{names.channels.get(int(match['channel']), 'some-channel')}"
    if match["emoji"]:
        return f":{match['emoji']}:"
    if match["command"]:
        return f"/{match['command']}"
    return _time(int(match["time"]))


def _time(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return "some time"


def _embed_text(embed: discord.Embed) -> str:
    lines = [embed.author.name, embed.title, embed.description]
    lines += [f"{entry.name}: {entry.value}" for entry in embed.fields]
    lines.append(embed.footer.text)
    text = "\n".join(line for line in lines if line)
    return _quote(text) if text else ""


def _component_texts(components: Iterable[Any]) -> list[str]:
    """The text displays of Components V2; buttons and the like say nothing."""
    found = []
    for component in components:
        content = getattr(component, "content", None)
        if isinstance(content, str) and content.strip():
            found.append(content.strip())
        found += _component_texts(_below(component))
    return found


def _below(component: Any) -> list[Any]:
    below = list(getattr(component, "children", None) or ())
    accessory = getattr(component, "accessory", None)
    return [*below, accessory] if accessory is not None else below


def _poll_text(poll: discord.Poll) -> str:
    answers = "\n".join(f"- {answer.text}" for answer in poll.answers)
    return f"Poll: {poll.question}\n{answers}"


def _quote(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())
