"""Where a reply's messages go: sends, edits and deletes them in a channel, a thread or a DM."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeAlias

import discord

from bot.core.records import Turn
from bot.platforms.discord import keys
from bot.platforms.discord.layout import FILE_NAME, MAX_POSTS, Draft
from bot.platforms.shared.ids import parse_id

#: Makes the buttons that a draft names.
Buttons: TypeAlias = Callable[[str], discord.ui.View | None]


class NoPlace(Exception):
    """There is nowhere to answer: the channel is gone, or the bot may not write there."""


class Expired(Exception):
    """The interaction's fifteen minutes are over."""


class MessageGone(Exception):
    """The message is not there any more: somebody deleted it, or its thread."""


class Outlet(Protocol):
    """Sends, edits and deletes the messages of one reply.

    One that `expires` raises Expired from then on, and another has to be found.
    """

    max_posts: int
    expires: bool

    @property
    def alive(self) -> bool:
        """Whether it has not expired."""
        ...

    @property
    def lane(self) -> Hashable:
        """What shares a rate limit has one lane."""
        ...

    def posted(self, message_ids: list[int]) -> tuple[str, ...]:
        """The messages as the core stores them."""
        ...

    async def send(self, draft: Draft, number: int) -> int:
        """Post a message, the reply's `number`th from 0; its id. Raises discord.HTTPException."""
        ...

    async def edit(self, message_id: int, draft: Draft) -> None:
        """Change a message. Raises MessageGone, discord.HTTPException."""
        ...

    async def delete(self, message_id: int) -> None:
        """Delete a message, if it is there. Raises discord.HTTPException."""
        ...

    async def typing(self) -> None:
        """Show that the bot is writing, for some ten seconds."""
        ...

    async def leave(self) -> None:
        """It has expired and the reply goes on elsewhere: leave nothing unfinished here."""
        ...

    async def give_up(self) -> bool:
        """It has expired and there is no other place: say so, if that can still be said."""
        ...


class ChannelOutlet:
    """A reply in a channel, a thread or a DM.

    Nobody is pinged but the asker. The nonce of a message depends on the turn alone, so that one
    that was sent just before a crash is found again instead of sent twice.
    """

    max_posts = MAX_POSTS
    expires = False
    alive = True

    def __init__(
        self, channel: Any, turn: Turn, buttons: Buttons, *, reply_to: int | None = None
    ) -> None:
        self._channel = channel
        self._turn = turn
        self._buttons = buttons
        self._reply_to = reply_to
        self._lost = 0
        self._mentions = mentions_of(turn)

    @property
    def lane(self) -> Hashable:
        """Discord's limits of sending and editing are a channel's."""
        return int(self._channel.id)

    def posted(self, message_ids: list[int]) -> tuple[str, ...]:
        """See Outlet.posted."""
        return tuple(keys.posted_id(self._channel.id, message) for message in message_ids)

    async def send(self, draft: Draft, number: int) -> int:
        """See Outlet.send."""
        options: dict[str, Any] = {}
        if view := self._buttons(draft.controls):
            options["view"] = view
        if draft.file is not None:
            options["file"] = file_of(draft.file)
        if number == 0 and self._reply_to is not None:
            options["reference"] = discord.MessageReference(
                message_id=self._reply_to, channel_id=self._channel.id, fail_if_not_exists=False
            )
        sent = await self._channel.send(
            draft.content,
            nonce=self._nonce(number),
            allowed_mentions=self._mentions,
            suppress_embeds=True,
            **options,
        )
        if sent.content != draft.content.strip():
            # The nonce found the message of a run that crashed: bring it up to date.
            await self.edit(sent.id, draft)
        return int(sent.id)

    async def edit(self, message_id: int, draft: Draft) -> None:
        """See Outlet.edit."""
        message = self._channel.get_partial_message(message_id)
        options: dict[str, Any] = {}
        if draft.file is not None:
            options["attachments"] = [file_of(draft.file)]
        elif draft.controls == "running":
            options["attachments"] = []
        try:
            await message.edit(
                content=draft.content,
                view=self._buttons(draft.controls),
                allowed_mentions=self._mentions,
                **options,
            )
        except discord.NotFound as error:
            # The same nonce would find the deleted message again, for some minutes.
            self._lost += 1
            raise MessageGone from error

    async def delete(self, message_id: int) -> None:
        """See Outlet.delete."""
        self._lost += 1  # what comes in its place is another message
        try:
            await self._channel.get_partial_message(message_id).delete()
        except discord.NotFound:
            return

    async def typing(self) -> None:
        """See Outlet.typing."""
        await self._channel.typing()

    async def leave(self) -> None:
        """A channel does not expire."""

    async def give_up(self) -> bool:
        """A channel does not expire."""
        return False

    def _nonce(self, number: int) -> str:
        whole = f"{self._turn.question_id} {self._turn.id} {number} {self._lost}"
        return hashlib.sha256(whole.encode()).hexdigest()[:25]


def mentions_of(turn: Turn) -> discord.AllowedMentions:
    """Only those who asked are pinged, whatever the reply says."""
    askers = {parse_id(message.author_id) for message in turn.messages}
    users = [discord.Object(asker) for asker in askers if asker is not None]
    return discord.AllowedMentions(everyone=False, roles=False, users=users, replied_user=True)


def file_of(text: str) -> discord.File:
    """A long reply as a file."""
    return discord.File(io.BytesIO(text.encode()), FILE_NAME)
