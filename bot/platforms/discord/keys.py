"""Discord's channels as the core's keys, its members as the core's authors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import discord

from bot.core.events import Author, ThreadKey
from bot.platforms.shared.ids import parse_id

PLATFORM = "discord"
DIRECT = "dm"  # the workspace of direct messages, which belong to no server
ASK = "ask-"  # the thread of a conversation in an interaction: `ask-<interaction id>`

_WITH_THREADS = (discord.ChannelType.text, discord.ChannelType.news)
_PRIVATE = (discord.ChannelType.private, discord.ChannelType.group)
_THREADS = (
    discord.ChannelType.public_thread,
    discord.ChannelType.private_thread,
    discord.ChannelType.news_thread,
)


def key_of(channel: Any, guild_id: int | None = None) -> ThreadKey:
    """The key of a channel, a thread or a DM. `guild_id`: for channels without theirs."""
    guild = getattr(channel, "guild", None)
    guild_id = guild.id if guild is not None else getattr(channel, "guild_id", None) or guild_id
    if guild_id is None:
        return ThreadKey(PLATFORM, DIRECT, str(channel.id))
    parent = getattr(channel, "parent_id", None)
    if is_thread(channel) and parent:
        return ThreadKey(PLATFORM, str(guild_id), str(parent), str(channel.id))
    return ThreadKey(PLATFORM, str(guild_id), str(channel.id))


def is_thread(channel: Any) -> bool:
    """Whether it is a thread or a forum post."""
    return isinstance(channel, discord.Thread) or getattr(channel, "type", None) in _THREADS


def is_private(channel: Any) -> bool:
    """Whether it is a DM or a group DM."""
    return getattr(channel, "type", None) in _PRIVATE or (
        getattr(channel, "guild", None) is None and getattr(channel, "guild_id", None) is None
    )


def has_threads(channel: Any) -> bool:
    """Whether threads can be opened from messages of this channel (voice chats have none)."""
    return getattr(channel, "type", None) in _WITH_THREADS


def author_of(
    user: Any, me: int, permissions: discord.Permissions | None = None, *, moderates: bool = False
) -> Author:
    """A user or member as the core's author.

    `permissions`: theirs in this channel, if known. `moderates`: Manage Messages is enough to be
    an admin, for what moderators may do (stopping a reply).
    """
    if permissions is None and isinstance(user, discord.Member):
        permissions = user.guild_permissions
    return Author(
        id=str(user.id),
        name=user.display_name,
        is_admin=permissions is not None and _manages(permissions, moderates),
        is_bot=bool(user.bot) and user.id != me,
        is_self=user.id == me,
    )


def _manages(permissions: discord.Permissions, moderates: bool) -> bool:
    if permissions.administrator or permissions.manage_guild:
        return True
    return moderates and permissions.manage_messages


def own_permissions(channel: Any) -> discord.Permissions | None:
    """What the bot may do in a channel; None where that is unknown."""
    guild = getattr(channel, "guild", None)
    if guild is None or guild.me is None or not hasattr(channel, "permissions_for"):
        return None
    try:
        return channel.permissions_for(guild.me)  # type: ignore[no-any-return]
    except discord.ClientException:  # a thread whose parent is unknown
        return None


def own_roles(guild: discord.Guild | None) -> frozenset[int]:
    """The ids of the bot's roles in a server, without @everyone."""
    me = guild.me if guild is not None else None
    if me is None or guild is None:
        return frozenset()
    return frozenset(role.id for role in me.roles if role.id != guild.id)


def posted_id(channel_id: int, message_id: int) -> str:
    """A reply's message as the core stores it: with its channel, since a reply may be posted
    outside the thread of its conversation."""
    return f"{channel_id}/{message_id}"


def posted_in(posted: Iterable[str], channel_id: int) -> list[int]:
    """The ids of those messages that are in this channel."""
    message_ids = []
    for text in posted:
        channel, _, message = text.partition("/")
        if parse_id(channel) == channel_id and (message_id := parse_id(message)) is not None:
            message_ids.append(message_id)
    return message_ids


def posted_channel(posted: Iterable[str]) -> int | None:
    """The channel of a reply's first message."""
    channel_ids = (parse_id(text.partition("/")[0]) for text in posted)
    return next((channel_id for channel_id in channel_ids if channel_id), None)
