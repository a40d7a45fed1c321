"""Turns Discord's messages into the core's events."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import discord

from bot.core.events import (
    Earlier,
    MessageEdited,
    MessageReceived,
    PastMessage,
)
from bot.platforms.discord import keys
from bot.platforms.discord.files import Files
from bot.platforms.discord.markup import Names, media_of, message_text, own_text, read_text

_BY_USERS = (discord.MessageType.default, discord.MessageType.reply)
_READABLE = (
    *_BY_USERS,
    discord.MessageType.chat_input_command,
    discord.MessageType.context_menu_command,
)


class Reader:
    def __init__(self, client: discord.Client, files: Files) -> None:
        self._client = client
        self._files = files

    @property
    def me(self) -> int:
        """The bot's own user id."""
        user = self._client.user
        return user.id if user is not None else 0

    def is_user_message(self, message: discord.Message) -> bool:
        """Whether somebody else wrote it: not a system message, and not the bot's own."""
        return message.type in _BY_USERS and message.author.id != self.me

    def received(
        self, message: discord.Message, earlier: Earlier | None, foot: tuple[str, ...]
    ) -> MessageReceived:
        names = self.names(message)
        content = read_text(message.content or "", names)
        author_replied_to = _replied_to_author(message)
        return MessageReceived(
            key=keys.key_of(message.channel, _guild_id(message)),
            id=str(message.id),
            author=self._author(message),
            text=message_text(message, names),
            attachments=self._files.of(message, links=True),
            is_dm=keys.is_private(message.channel),
            mentions_bot=content.calls_bot,
            mentions_bot_role=content.calls_bot_role,
            mentions_everyone=message.mention_everyone,
            replies_to_bot=author_replied_to == self.me,
            replies_to=_posted(message) if author_replied_to == self.me else "",
            addresses_other=content.addresses_other
            or (
                author_replied_to not in (None, self.me, message.author.id)
                and not content.calls_bot
            ),
            at=message.created_at,
            earlier=earlier,
            foot=foot,
        )

    def edited(
        self, message: discord.Message, as_new: MessageReceived, at: datetime
    ) -> MessageEdited:
        return MessageEdited(
            key=keys.key_of(message.channel, _guild_id(message)),
            id=str(message.id),
            author=self._author(message),
            text=message_text(message, self.names(message)),
            as_new=as_new,
            at=at,
        )

    def past(self, message: Any) -> PastMessage | None:
        """A message from before the bot joined; None if there is nothing in it to read."""
        if message.type not in _READABLE:
            return None
        author = self._author(message)
        text = own_text(message) if author.is_self else self.text(message)
        files = () if author.is_self else self._files.of(message)
        if not text and not files:
            return None
        return PastMessage(str(message.id), author, text, files, message.created_at)

    def text(self, message: Any) -> str:
        """Everything in a message, with the previews of its links."""
        return message_text(message, self.names(message), unfurls=True)

    def plain(self, message: Any) -> str:
        """The text of the message itself."""
        return read_text(message.content or "", self.names(message)).text

    def has_pictures(self, message: Any) -> bool:
        """Whether it has files or media."""
        return bool(self._files.of(message)) or any(media_of(message.components))

    def names(self, message: Any) -> Names:
        """The names of everyone and everything that a message mentions."""
        guild = getattr(message, "guild", None)
        user = self._client.user
        channels = getattr(message, "channel_mentions", ())
        return Names(
            me=self.me,
            my_name=user.display_name if user is not None else "Parley",
            my_roles=keys.own_roles(guild),
            users={user.id: user.display_name for user in message.mentions},
            roles={role.id: role.name for role in message.role_mentions},
            channels={channel.id: channel.name for channel in channels},
        )

    def _author(self, message: Any) -> Any:
        author = keys.author_of(message.author, self.me)
        # A webhook's message comes from a program, whatever its name is.
        webhook = getattr(message, "webhook_id", None) is not None
        return replace(author, is_bot=True) if webhook and not author.is_self else author


def _guild_id(message: discord.Message) -> int | None:
    return message.guild.id if message.guild is not None else None


def _posted(message: discord.Message) -> str:
    """The message that this one replies to, as `Turn.posted` names the bot's own."""
    reference = message.reference
    if reference is None or reference.message_id is None:
        return ""
    return keys.posted_id(reference.channel_id, reference.message_id)


def _replied_to_author(message: discord.Message) -> int | None:
    """The author of the message that this one replies to, if Discord says."""
    reference = message.reference
    if reference is None or reference.type is discord.MessageReferenceType.forward:
        return None
    target = reference.resolved or reference.cached_message
    return target.author.id if isinstance(target, discord.Message) else None
