"""Reads what was missed while the bot was away, where it takes part in conversations."""

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
from bot.platforms.discord.reply_places import Places
from bot.platforms.shared.ids import parse_id

logger = logging.getLogger(__name__)

ACTIVE_FOR = timedelta(days=7)  # a place where somebody talked with it since then
MAX_PLACES = 100
MAX_MESSAGES = 100  # of one place
OVERLAP = timedelta(seconds=10)  # clocks differ; what was seen already is known as such

Take: TypeAlias = Callable[[discord.Message], Awaitable[None]]


class CatchUp:
    """Hands missed messages on as if they had just come; the store knows those it has."""

    def __init__(
        self,
        client: discord.Client,
        queries: CoreQueries,
        where: Places,
        reader: Reader,
        take: Take,
    ) -> None:
        self._client = client
        self._queries = queries
        self._where = where
        self._reader = reader
        self._take = take

    async def run(self, since: datetime) -> int:
        """Read from `since` on; how many messages were handed on. Raises nothing."""
        found = 0
        for channel_id, after in await self._places(since):
            try:
                found += await self._read(channel_id, after)
            except discord.HTTPException as error:
                logger.info("channel %s can't be caught up: %s", channel_id, error.status)
            except Exception:
                logger.exception("channel %s can't be caught up", channel_id)
        if found:
            logger.info("%d messages were read after a gap", found)
        return found

    async def _places(self, since: datetime) -> list[tuple[int, int]]:
        """The channels and threads to read, each with the id after which to begin; the latest
        conversations first."""
        start = discord.utils.time_snowflake(since - OVERLAP)
        active = [
            found
            for workspace in (*(str(guild.id) for guild in self._client.guilds), keys.DIRECT)
            for found in await self._queries.active_conversations(
                keys.PLATFORM, workspace, datetime.now(UTC) - ACTIVE_FOR
            )
        ]
        active.sort(key=lambda entry: parse_id(entry[1]) or 0, reverse=True)
        first: dict[int, int] = {}
        for key, last in active:
            for channel_id in _channels(key):
                # In the channel itself others may have been missed before a thread's last one.
                is_own = channel_id == parse_id(key.thread or key.channel)
                after = max(start, parse_id(last) or 0) if is_own else start
                first[channel_id] = min(after, first.get(channel_id, after))
        return list(first.items())[:MAX_PLACES]

    async def _read(self, channel_id: int, after: int) -> int:
        channel: Any = await self._where.channel(channel_id)
        if channel is None or not hasattr(channel, "history"):
            return 0
        missed = [
            message
            async for message in channel.history(
                limit=MAX_MESSAGES, after=discord.Object(after), oldest_first=True
            )
        ]
        return await self._hand_on(missed)

    async def _hand_on(self, missed: Iterable[discord.Message]) -> int:
        count = 0
        for message in missed:
            # A command is for the moment it was typed in: nobody waits for it any more.
            if self._reader.is_written(message) and not is_command(self._reader.plain(message)):
                await self._take(message)
                count += 1
        return count


def _channels(key: ThreadKey) -> list[int]:
    found = (parse_id(key.thread), parse_id(key.channel))
    return [channel_id for channel_id in found if channel_id is not None]
