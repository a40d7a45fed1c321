"""Messages from before the bot joined: of a thread with its starter, or of a reply chain."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import discord

from bot.core.events import Earlier, PastMessage
from bot.core.limits import MAX_EARLIER_MESSAGES
from bot.platforms.discord import keys, texts
from bot.platforms.discord.reader import Reader

logger = logging.getLogger(__name__)

CHAIN_LIMIT = 25  # each link may cost a request


class History:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def earlier(self, message: discord.Message) -> tuple[Earlier | None, tuple[str, ...]]:
        """A function that reads the messages before this one, None where there are none; and
        notes for the foot of the reply."""
        in_thread = keys.is_thread(message.channel)
        if not in_thread and not _is_reply(message):
            return None, ()
        if not may_read(message.channel):
            return None, (texts.NO_HISTORY,)
        return partial(self._read_thread if in_thread else self._read_chain, message), ()

    async def since(self, message: discord.Message) -> Sequence[PastMessage]:
        """This message and those after it, oldest first.

        Raises:
            discord.HTTPException: the bot may not read here.
        """
        later = message.channel.history(
            limit=MAX_EARLIER_MESSAGES, after=message, oldest_first=True
        )
        return self._past([message, *[each async for each in later]])

    async def _read_thread(self, message: discord.Message) -> Sequence[PastMessage]:
        channel: Any = message.channel
        try:
            newest_first = channel.history(limit=MAX_EARLIER_MESSAGES, before=message)
            messages = [each async for each in newest_first]
        except discord.HTTPException as error:
            logger.info(
                "the history of thread %s can't be read: %s", channel.id, error.text or error.status
            )
            return []
        messages.reverse()
        # The message that a text channel's thread was opened from is not in the thread itself.
        if len(messages) < MAX_EARLIER_MESSAGES and all(each.id != channel.id for each in messages):
            starter = await _thread_starter(channel)
            if starter is not None and starter.id != message.id:
                messages.insert(0, starter)
        return self._past(messages)

    async def _read_chain(self, message: discord.Message) -> Sequence[PastMessage]:
        messages: list[discord.Message] = []
        current: discord.Message | None = message
        while current is not None and len(messages) < CHAIN_LIMIT:
            current = await _replied_to(current)
            if current is not None:
                messages.append(current)
        messages.reverse()
        return self._past(messages)

    def _past(self, messages: Sequence[discord.Message]) -> list[PastMessage]:
        past_messages = (self._reader.past(message) for message in messages)
        return [past for past in past_messages if past is not None]


def may_read(channel: Any) -> bool:
    """Whether the bot may read a channel's history; where that is unknown, it may try."""
    granted = keys.own_permissions(channel)
    return granted is None or granted.read_message_history


def _is_reply(message: discord.Message) -> bool:
    reference = message.reference
    return reference is not None and reference.type is not discord.MessageReferenceType.forward


async def _thread_starter(thread: Any) -> discord.Message | None:
    starter = getattr(thread, "starter_message", None)
    parent = getattr(thread, "parent", None)
    if starter is not None or parent is None or not hasattr(parent, "fetch_message"):
        return starter
    return await _fetch(parent, thread.id)


async def _replied_to(message: discord.Message) -> discord.Message | None:
    reference = message.reference
    if reference is None or not _is_reply(message) or reference.message_id is None:
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
