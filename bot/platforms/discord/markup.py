"""The plain text of a Discord message: mentions as names, embeds, forwards, components."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import discord

from bot.platforms.discord import texts
from bot.platforms.shared.mentions import Mention, MentionedText, Target, read_mentions

_USER = r"<@!?(?P<user>[0-9]{1,20})>"
_ROLE = r"<@&(?P<role>[0-9]{1,20})>"
_MARKUP = re.compile(
    rf"{_USER}|{_ROLE}|<#(?P<channel>[0-9]{{1,20}})>|<a?:(?P<emoji>\w{{1,32}}):[0-9]+>"
    r"|</(?P<command>[^:>\n]{1,100}):[0-9]+>|<t:(?P<time>-?[0-9]{1,12})(?::\w)?>"
)
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


def read_text(text: str, names: Names) -> MentionedText:
    """What a text says, with names instead of ids, and whom it calls."""
    mentions = [
        Mention(match.start(), match.end(), _target(match, names), _named(match, names))
        for match in _MARKUP.finditer(text)
    ]
    return read_mentions(text, mentions, open_quotes=True)


def message_text(message: Any, names: Names, *, unfurls: bool = False) -> str:
    """Everything in a message, or in the snapshot of a forwarded one.

    `unfurls`: also the previews of its links. They come and go after the message was written, so
    they are left out where a changed text counts as an edit.
    """
    parts = [read_text(message.content or "", names).text]
    for snapshot in getattr(message, "message_snapshots", None) or ():
        forwarded = message_text(snapshot, names, unfurls=True)
        if forwarded:
            parts.append(f"{texts.FORWARDED}\n{quote(forwarded)}")
    parts += [
        text
        for embed in message.embeds
        if (unfurls or embed.type == "rich") and (text := _embed_text(embed))
    ]
    parts += _component_texts(message.components)
    parts += [texts.sticker(sticker.name) for sticker in message.stickers]
    poll = getattr(message, "poll", None)
    if poll is not None:
        parts.append(_poll_text(poll))
    return "\n\n".join(part for part in parts if part)


def own_text(message: Any) -> str:
    """The text of one of the bot's own messages, without the notes at its foot."""
    return _FOOT.sub("", message.content or "").strip()


def media_of(components: Iterable[Any]) -> Iterator[Any]:
    """The media items in a message's components (Components V2)."""
    for component in components:
        for item in getattr(component, "items", None) or ():
            if getattr(item, "media", None) is not None:
                yield item.media
        if getattr(component, "media", None) is not None:
            yield component.media
        yield from media_of(_children(component))


def _target(match: re.Match[str], names: Names) -> Target:
    if match["user"]:
        return Target.BOT if int(match["user"]) == names.me else Target.OTHER
    if match["role"]:
        return Target.BOT_ROLE if int(match["role"]) in names.my_roles else Target.OTHER
    return Target.NOBODY


def _named(match: re.Match[str], names: Names) -> str:
    if match["user"]:
        user = int(match["user"])
        return (
            f"@{names.my_name if user == names.me else names.users.get(user, texts.UNKNOWN_USER)}"
        )
    if match["role"]:
        return f"@{names.roles.get(int(match['role']), texts.UNKNOWN_ROLE)}"
    if match["channel"]:
        return f"#{names.channels.get(int(match['channel']), texts.UNKNOWN_CHANNEL)}"
    if match["emoji"]:
        return f":{match['emoji']}:"
    if match["command"]:
        return f"/{match['command']}"
    return _time(int(match["time"]))


def _time(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return texts.UNKNOWN_TIME


def _embed_text(embed: discord.Embed) -> str:
    lines = [embed.author.name, embed.title, embed.description]
    lines += [f"{entry.name}: {entry.value}" for entry in embed.fields]
    lines.append(embed.footer.text)
    text = "\n".join(line for line in lines if line)
    return quote(text) if text else ""


def _component_texts(components: Iterable[Any]) -> list[str]:
    """The text displays of Components V2; buttons and the like have no text."""
    component_texts = []
    for component in components:
        content = getattr(component, "content", None)
        if isinstance(content, str) and content.strip():
            component_texts.append(content.strip())
        component_texts += _component_texts(_children(component))
    return component_texts


def _children(component: Any) -> list[Any]:
    children = list(getattr(component, "children", None) or ())
    accessory = getattr(component, "accessory", None)
    return [*children, accessory] if accessory is not None else children


def _poll_text(poll: discord.Poll) -> str:
    answers = "\n".join(f"- {answer.text}" for answer in poll.answers)
    return texts.poll(poll.question, answers)


def quote(text: str) -> str:
    """`text` with a ">" before each line."""
    return "\n".join(f"> {line}" for line in text.splitlines())
