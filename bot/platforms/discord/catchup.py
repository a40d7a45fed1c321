"""Reads the messages missed while the bot was disconnected, where it takes part."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import discord

from bot.core.commands.parsing import is_command
from bot.core.events import ThreadKey
from bot.core.ports import CoreQueries
from bot.platforms.discord import keys
from bot.platforms.discord.reader import Reader
from bot.platforms.discord.reply_places import ReplyPlaces
from bot.platforms.shared.ids import parse_id

logger = logging.getLogger(__name__)

ACTIVE_FOR = timedelta(days=7)  # read conversations with a message within this time
MAX_PLACES = 100
MAX_MESSAGES = 100  # of one place
OVERLAP = timedelta(seconds=10)  # clocks differ; the store ignores repeated messages

OnMessage: TypeAlias = Callable[[discord.Message], Awaitable[None]]


class CatchUp:
    """Handles missed messages as if they had just come; the store ignores those it has."""

    def __init__(
        self,
        client: discord.Client,
        queries: CoreQueries,
        places: ReplyPlaces,
        reader: Reader,
        on_message: OnMessage,
    ) -> None:
        self._client = client
        self._queries = queries
        self._places = places
        self._reader = reader
        self._on_message = on_message

    async def run(self, since: datetime) -> int:
        """Read from `since` on. Returns how many messages were handled. Raises nothing."""
        count = 0
        for channel_id, after in await self._channels_to_read(since):
            try:
                count += await self._read(channel_id, after)
            except discord.HTTPException as error:
                logger.info(
                    "missed messages of channel %s can't be read: %s", channel_id, error.status
                )
            except Exception:
                logger.exception("missed messages of channel %s can't be read", channel_id)
        if count:
            logger.info("%d missed messages were read", count)
        return count

    async def _channels_to_read(self, since: datetime) -> list[tuple[int, int]]:
        """The channels and threads to read, each with the message id to start after; the latest
        conversations first."""
        start = discord.utils.time_snowflake(since - OVERLAP)
        active = [
            conversation
            for workspace in (*(str(guild.id) for guild in self._client.guilds), keys.DIRECT)
            for conversation in await self._queries.active_conversations(
                keys.PLATFORM, workspace, datetime.now(UTC) - ACTIVE_FOR
            )
        ]
        active.sort(key=lambda entry: parse_id(entry[1]) or 0, reverse=True)
        first: dict[int, int] = {}
        for key, last in active:
            for channel_id in _channels(key):
                # The channel may have missed messages older than the last one in its thread.
                is_own = channel_id == parse_id(key.thread or key.channel)
                after = max(start, parse_id(last) or 0) if is_own else start
                first[channel_id] = min(after, first.get(channel_id, after))
        return list(first.items())[:MAX_PLACES]

    async def _read(self, channel_id: int, after: int) -> int:
        channel: Any = await self._places.channel(channel_id)
        if channel is None or not hasattr(channel, "history"):
            return 0
        missed = [
            message
            async for message in channel.history(
                limit=MAX_MESSAGES, after=discord.Object(after), oldest_first=True
            )
        ]
        return await self._handle(missed)

    async def _handle(self, missed: Iterable[discord.Message]) -> int:
        count = 0
        for message in missed:
            # Nobody waits any more for a command that was typed a while ago.
            if self._reader.is_user_message(message) and not is_command(
                self._reader.plain(message)
            ):
                await self._on_message(message)
                count += 1
        return count


def _channels(key: ThreadKey) -> list[int]:
    ids = (parse_id(key.thread), parse_id(key.channel))
    return [channel_id for channel_id in ids if channel_id is not None]
