"""What was said before the bot joined: a thread with its starter, or a chain of replies."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import discord

from bot.core.events import Earlier, PastMessage
from bot.core.limits import MAX_EARLIER_MESSAGES
from bot.platforms.discord import keys
from bot.platforms.discord.reader import Reader

logger = logging.getLogger(__name__)

CHAIN_LIMIT = 25  # each link may cost a request
FORGOTTEN = "Forgotten:"  # how the core's answer to /reset and /forget begins
NO_HISTORY = "I can't see earlier messages here: I need the permission “Read Message History”."


class History:
    """Reads back, as far as the bot may."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def before(self, message: discord.Message) -> tuple[Earlier | None, tuple[str, ...]]:
        """What brings the messages before this one, and what there is to say about it."""
        if keys.is_thread(message.channel):
            read, before = partial(self._thread, message), True
        else:
            read, before = partial(self._chain, message), _answers(message)
        if not before:
            return None, ()
        if not may_read(message.channel):
            return None, (NO_HISTORY,)
        return read, ()

    async def since(self, message: discord.Message) -> Sequence[PastMessage]:
        """This message and those after it, oldest first.

        Raises:
            discord.HTTPException: the bot may not read here.
        """
        after = message.channel.history(
            limit=MAX_EARLIER_MESSAGES, after=message, oldest_first=True
        )
        return self._read([message, *[later async for later in after]])

    async def _thread(self, message: discord.Message) -> Sequence[PastMessage]:
        channel: Any = message.channel
        try:
            newest_first = channel.history(limit=MAX_EARLIER_MESSAGES, before=message)
            found = [earlier async for earlier in newest_first]
        except discord.HTTPException as error:
            logger.info("thread %s can't be read: %s", channel.id, error.text or error.status)
            return []
        found.reverse()
        forgotten = self._forgotten(found)
        if forgotten:
            return self._read(found[forgotten:])
        # The message that a text channel's thread was opened from is not in the thread itself.
        if len(found) < MAX_EARLIER_MESSAGES and all(earlier.id != channel.id for earlier in found):
            starter = await _starter(channel)
            if starter is not None and starter.id != message.id:
                found.insert(0, starter)
        return self._read(found)

    async def _chain(self, message: discord.Message) -> Sequence[PastMessage]:
        found: list[discord.Message] = []
        current: discord.Message | None = message
        while current is not None and len(found) < CHAIN_LIMIT:
            current = await _answered(current)
            if current is not None:
                found.append(current)
        found.reverse()
        return self._read(found)

    def _forgotten(self, messages: Sequence[discord.Message]) -> int:
        """How many of these came before the bot was told to forget them: the thread itself says
        so, also after a restart."""
        return max(
            (
                number
                for number, message in enumerate(messages, 1)
                if message.author.id == self._reader.me and message.content.startswith(FORGOTTEN)
            ),
            default=0,
        )

    def _read(self, messages: Sequence[discord.Message]) -> list[PastMessage]:
        read = (self._reader.past(message) for message in messages)
        return [past for past in read if past is not None]


def may_read(channel: Any) -> bool:
    """Whether the bot may read a channel's history; where that is not known, it may try."""
    guild = getattr(channel, "guild", None)
    if guild is None or guild.me is None or not hasattr(channel, "permissions_for"):
        return True
    try:
        return bool(channel.permissions_for(guild.me).read_message_history)
    except discord.ClientException:  # a thread whose parent is not known
        return True


def _answers(message: discord.Message) -> bool:
    reference = message.reference
    return reference is not None and reference.type is not discord.MessageReferenceType.forward


async def _starter(thread: Any) -> discord.Message | None:
    starter = getattr(thread, "starter_message", None)
    parent = getattr(thread, "parent", None)
    if starter is not None or parent is None or not hasattr(parent, "fetch_message"):
        return starter
    return await _fetch(parent, thread.id)


async def _answered(message: discord.Message) -> discord.Message | None:
    """The message that this one is a reply to."""
    reference = message.reference
    if reference is None or not _answers(message) or reference.message_id is None:
        return None
    if isinstance(reference.resolved, discord.Message):
        return reference.resolved
    if isinstance(reference.resolved, discord.DeletedReferencedMessage):
        return None
    if reference.cached_message is not None:
        return reference.cached_message
    return await _fetch(message.channel, reference.message_id)


async def _fetch(channel: Any, message_id: int) -> discord.Message | None:
    try:
        return await channel.fetch_message(message_id)  # type: ignore[no-any-return]
    except discord.HTTPException:
        return None
