"""Finds the place for a reply: the thread, opened if need be, or the channel where it can't be."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import discord

from bot.core.records import Turn
from bot.platforms.discord import keys
from bot.platforms.discord.layout import thread_name
from bot.platforms.discord.outlets import NoPlace
from bot.platforms.shared.ids import parse_id

logger = logging.getLogger(__name__)

THREAD_EXISTS = 160004
CANNOT_OPEN = (
    "I answer here because I can't open a thread: I need the permissions “Create Public Threads” "
    "and “Send Messages in Threads”."
)
LATE = "this took longer than the 15 minutes that Discord gives me to answer a command in place."
TELL_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Place:
    """A channel to write in; `reply_to`: the message to reply to; `note`: for the foot."""

    channel: Any
    reply_to: int | None = None
    note: str | None = None


class Places:
    """Finds places, and says once in a while where something is missing."""

    def __init__(self, client: discord.Client) -> None:
        self._client = client
        self._told: dict[tuple[str, int], float] = {}

    async def find(self, turn: Turn, *, create: bool) -> Place:
        """Where the reply to a turn goes. `create`: a thread may be opened for it.

        Raises:
            NoPlace: nowhere.
            discord.HTTPException: Discord does not say.
        """
        asked = parse_id(turn.question_id)
        standing = keys.posted_channel(turn.posted)
        if standing is not None and (channel := await self.channel(standing)) is not None:
            return Place(channel, None if str(standing) == turn.key.thread else asked)
        parent = await self.channel(parse_id(turn.key.channel))
        if not turn.key.thread:
            if parent is None:
                raise NoPlace(f"channel {turn.key.channel} is gone")
            # In a DM a reply is plainly an answer; in a channel others may write in between.
            return await self._writable(Place(parent, _unless_private(parent, asked)), turn)
        thread = await self.channel(parse_id(turn.key.thread))
        if thread is not None:
            return await self._writable(Place(thread), turn)
        if parent is None:
            raise NoPlace(f"neither thread {turn.key.thread} nor its channel is there")
        if not create:
            raise NoPlace(f"there is no thread {turn.key.thread}")
        return await self._open(parent, turn, asked)

    async def after_ask(self, turn: Turn, channel_id: int, *, private: bool) -> Place:
        """Where the answer to a command goes on when its interaction is over: in the channel,
        where the bot is a member, else, and if nobody else is to see it, in a DM.

        Raises:
            NoPlace: nowhere.
        """
        asker = parse_id(turn.asker)
        note = f"<@{asker}>, {LATE}"
        channel = None if private else await self.channel(channel_id)
        if channel is not None and _may_write(channel):
            return Place(channel, note=note)
        try:
            if asker is not None:
                user = self._client.get_user(asker) or await self._client.fetch_user(asker)
                return Place(await user.create_dm(), note=note)
        except discord.HTTPException as error:
            logger.info("the asker takes no DM: %s", error.text or error.status)
        logger.warning(
            "turn %d: the 15 minutes of its command are over, and there is no other place to "
            "answer: it is not answered",
            turn.id,
        )
        raise NoPlace("the interaction that asked is over")

    async def channel(self, channel_id: int | None) -> Any | None:
        """A channel or thread; None where there is none, or none that the bot sees."""
        if channel_id is None:
            return None
        known = self._client.get_channel(channel_id)
        if known is not None:
            return known
        try:
            return await self._client.fetch_channel(channel_id)
        except (discord.NotFound, discord.Forbidden, discord.InvalidData):
            return None

    async def _open(self, parent: Any, turn: Turn, asked: int | None) -> Place:
        """Open a thread from the message that the conversation began with."""
        root = parse_id(turn.key.thread)
        inline = Place(parent, asked or root)
        # What goes on with a conversation that has no thread was written beside its replies.
        goes_on = asked is not None and asked != root
        if root is None or goes_on or not keys.has_threads(parent):
            return await self._writable(inline, turn)
        if not _may_open(parent):
            return await self._writable(self._with_note(inline), turn)
        first = turn.messages[0] if turn.messages else None
        name = thread_name(first.text if first else "", first.author_name if first else "somebody")
        try:
            return Place(await parent.get_partial_message(root).create_thread(name=name))
        except discord.HTTPException as error:
            if error.code == THREAD_EXISTS:
                thread = await self.channel(root)
                return Place(thread) if thread is not None else inline
            logger.warning(
                "no thread can be opened in channel %s (%s): answering in the channel",
                parent.id,
                error.text or error.status,
            )
            if isinstance(error, discord.Forbidden):
                return await self._writable(self._with_note(inline), turn)
            return await self._writable(inline, turn)

    def _with_note(self, place: Place) -> Place:
        if not self._tell_now("no thread", place.channel.id):
            return place
        logger.warning(
            "channel %s: no thread can be opened; allow “Create Public Threads” and “Send "
            "Messages in Threads” there",
            place.channel.id,
        )
        return Place(place.channel, place.reply_to, CANNOT_OPEN)

    async def _writable(self, place: Place, turn: Turn) -> Place:
        """The place, if the bot may write there; else say so to the asker, where it may."""
        if _may_write(place.channel):
            return place
        logger.warning(
            "channel %s: I may not write there; allow “Send Messages%s”",
            place.channel.id,
            " in Threads" if keys.is_thread(place.channel) else "",
        )
        parent = getattr(place.channel, "parent", None)
        if keys.is_thread(place.channel) and parent is not None and _may_write(parent):
            return Place(parent, None, CANNOT_OPEN)
        if self._tell_now("no right", place.channel.id):
            await self._tell_asker(place.channel, turn)
        raise NoPlace(f"the bot may not write in channel {place.channel.id}")

    async def _tell_asker(self, channel: Any, turn: Turn) -> None:
        asker = parse_id(turn.asker)
        if asker is None:
            return
        try:
            user = self._client.get_user(asker) or await self._client.fetch_user(asker)
            await user.send(
                f"I can't answer you in {channel.mention}: I am missing the permission to send "
                "messages there. An admin can allow it."
            )
        except discord.HTTPException as error:
            logger.info("the asker can't be told in a DM: %s", error.text or error.status)

    def _tell_now(self, what: str, channel_id: int) -> bool:
        """Whether it is time to say it (again) of this channel."""
        now = time.monotonic()
        last = self._told.get((what, channel_id))
        if last is not None and now - last < TELL_EVERY_S:
            return False
        self._told[what, channel_id] = now
        return True


def _unless_private(channel: Any, asked: int | None) -> int | None:
    return None if keys.is_private(channel) else asked


def permissions(channel: Any) -> discord.Permissions | None:
    """What the bot may do in a channel; None where that is not known."""
    guild = getattr(channel, "guild", None)
    if guild is None or guild.me is None or not hasattr(channel, "permissions_for"):
        return None
    try:
        return channel.permissions_for(guild.me)  # type: ignore[no-any-return]
    except discord.ClientException:
        return None


def _may_open(parent: Any) -> bool:
    may = permissions(parent)
    return may is None or (may.create_public_threads and may.send_messages_in_threads)


def _may_write(channel: Any) -> bool:
    may = permissions(channel)
    if may is None:
        return True
    in_thread = keys.is_thread(channel)
    return may.send_messages_in_threads if in_thread else may.send_messages
