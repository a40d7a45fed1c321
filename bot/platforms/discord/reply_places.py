"""Finds the place for a reply: the thread, opened if need be, or the channel where it can't be."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import Any

import discord

from bot.core.records import Turn
from bot.platforms.discord import keys, texts
from bot.platforms.discord.layout import thread_name
from bot.platforms.discord.outlets import NoReplyPlace
from bot.platforms.shared.ids import parse_id
from bot.platforms.shared.recent import RecentDict

logger = logging.getLogger(__name__)

THREAD_EXISTS = 160004
WARN_EVERY_S = 3600.0
MAX_WARNED_CHANNELS = 1_000


@dataclass(frozen=True, slots=True)
class ReplyPlace:
    """A channel to write in; `reply_to`: the message to reply to; `note`: for the reply's foot."""

    channel: Any
    reply_to: int | None = None
    note: str | None = None


class ReplyPlaces:
    """Finds reply places, and says once an hour per channel that a permission is missing."""

    def __init__(self, client: discord.Client) -> None:
        self._client = client
        self._warned_at: RecentDict[tuple[str, int], float] = RecentDict(MAX_WARNED_CHANNELS)

    async def find(self, turn: Turn, *, create: bool) -> ReplyPlace:
        """Where the reply to a turn goes. `create`: a thread may be opened for it.

        Raises:
            NoReplyPlace: there is none.
            discord.HTTPException: Discord could not be asked.
        """
        question = parse_id(turn.question_id)
        posted_channel = keys.posted_channel(turn.posted)
        if posted_channel is not None:
            channel = await self.channel(posted_channel)
            if channel is not None:
                in_thread = str(posted_channel) == turn.key.thread
                return ReplyPlace(channel, None if in_thread else question)
        parent = await self.channel(parse_id(turn.key.channel))
        if not turn.key.thread:
            if parent is None:
                raise NoReplyPlace(f"channel {turn.key.channel} does not exist")
            # Others may write in between in a channel, not in a DM.
            reply_to = None if keys.is_private(parent) else question
            return await self._require_writable(ReplyPlace(parent, reply_to), turn)
        thread = await self.channel(parse_id(turn.key.thread))
        if thread is not None:
            return await self._require_writable(ReplyPlace(thread), turn)
        if parent is None:
            raise NoReplyPlace(f"neither thread {turn.key.thread} nor its channel exists")
        if not create:
            raise NoReplyPlace(f"there is no thread {turn.key.thread}")
        return await self._open_thread(parent, turn, question)

    async def after_expiry(self, turn: Turn, channel_id: int, *, private: bool) -> ReplyPlace:
        """Where the answer to a command continues when its interaction has expired: in the
        channel if the bot may write there and the answer is not private, else in a DM.

        Raises:
            NoReplyPlace: there is none.
        """
        asker = parse_id(turn.asker)
        note = texts.answered_late(asker)
        channel = None if private else await self.channel(channel_id)
        if channel is not None and _may_write(channel):
            return ReplyPlace(channel, note=note)
        try:
            if asker is not None:
                user = await self._user(asker)
                return ReplyPlace(await user.create_dm(), note=note)
        except discord.HTTPException as error:
            logger.info("the asker can't be sent a DM: %s", error.text or error.status)
        logger.warning(
            "turn %d is not answered: the 15 minutes of its command are over, and there is no "
            "other place to answer",
            turn.id,
        )
        raise NoReplyPlace("the interaction of the question is over")

    async def channel(self, channel_id: int | None) -> Any | None:
        """A channel or thread; None where there is none, or none that the bot sees."""
        if channel_id is None:
            return None
        cached = self._client.get_channel(channel_id)
        if cached is not None:
            return cached
        try:
            return await self._client.fetch_channel(channel_id)
        except (discord.NotFound, discord.Forbidden, discord.InvalidData):
            return None

    async def _user(self, user_id: int) -> discord.User:
        return self._client.get_user(user_id) or await self._client.fetch_user(user_id)

    async def _open_thread(self, parent: Any, turn: Turn, question: int | None) -> ReplyPlace:
        """Open a thread from the message that the conversation began with."""
        root = parse_id(turn.key.thread)
        inline = ReplyPlace(parent, question or root)
        # A follow-up in a conversation without a thread was written in the channel itself.
        is_follow_up = question is not None and question != root
        if root is None or is_follow_up or not keys.has_threads(parent):
            return await self._require_writable(inline, turn)
        if not _may_open_thread(parent):
            return await self._require_writable(self._with_note(inline), turn)
        first = turn.messages[0] if turn.messages else None
        name = thread_name(
            first.text if first else "", first.author_name if first else texts.UNKNOWN_USER
        )
        try:
            return ReplyPlace(await parent.get_partial_message(root).create_thread(name=name))
        except discord.HTTPException as error:
            if error.code == THREAD_EXISTS:
                thread = await self.channel(root)
                return ReplyPlace(thread) if thread is not None else inline
            logger.warning(
                "no thread can be opened in channel %s (%s): answering in the channel",
                parent.id,
                error.text or error.status,
            )
            if isinstance(error, discord.Forbidden):
                return await self._require_writable(self._with_note(inline), turn)
            return await self._require_writable(inline, turn)

    def _with_note(self, place: ReplyPlace) -> ReplyPlace:
        if not self._should_warn("no thread", place.channel.id):
            return place
        logger.warning(
            "no thread can be opened in channel %s: allow Create Public Threads and Send Messages "
            "in Threads there",
            place.channel.id,
        )
        return replace(place, note=texts.NO_THREAD)

    async def _require_writable(self, place: ReplyPlace, turn: Turn) -> ReplyPlace:
        """The place if the bot may write there, else the thread's parent channel.

        Raises:
            NoReplyPlace: neither; the asker was told, if they accept DMs.
        """
        if _may_write(place.channel):
            return place
        logger.warning(
            "the bot may not write in channel %s: allow Send Messages%s there",
            place.channel.id,
            " in Threads" if keys.is_thread(place.channel) else "",
        )
        parent = getattr(place.channel, "parent", None)
        if keys.is_thread(place.channel) and parent is not None and _may_write(parent):
            return ReplyPlace(parent, None, texts.NO_THREAD)
        if self._should_warn("not writable", place.channel.id):
            await self._tell_asker(place.channel, turn)
        raise NoReplyPlace(f"the bot may not write in channel {place.channel.id}")

    async def _tell_asker(self, channel: Any, turn: Turn) -> None:
        asker = parse_id(turn.asker)
        if asker is None:
            return
        try:
            user = await self._user(asker)
            await user.send(texts.no_send_permission(channel.mention))
        except discord.HTTPException as error:
            logger.info("the asker can't be sent a DM: %s", error.text or error.status)

    def _should_warn(self, problem: str, channel_id: int) -> bool:
        """Whether this problem of this channel was not mentioned within the last hour."""
        now = time.monotonic()
        warned_at = self._warned_at.get((problem, channel_id))
        if warned_at is not None and now - warned_at < WARN_EVERY_S:
            return False
        self._warned_at[problem, channel_id] = now
        return True


def _may_open_thread(parent: Any) -> bool:
    granted = keys.own_permissions(parent)
    return granted is None or (granted.create_public_threads and granted.send_messages_in_threads)


def _may_write(channel: Any) -> bool:
    granted = keys.own_permissions(channel)
    if granted is None:
        return True
    in_thread = keys.is_thread(channel)
    return granted.send_messages_in_threads if in_thread else granted.send_messages
