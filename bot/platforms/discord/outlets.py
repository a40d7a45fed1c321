"""Sends, edits and deletes a reply's messages in a channel, a thread or a DM."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeAlias

import discord

from bot.core.records import Turn
from bot.platforms.discord import keys
from bot.platforms.discord.layout import FILE_NAME, MAX_POSTS, Controls, Draft
from bot.platforms.shared.ids import parse_id

#: Makes the buttons that a draft names.
MakeButtons: TypeAlias = Callable[[Controls], discord.ui.View | None]


class NoReplyPlace(Exception):
    """The channel was deleted, or the bot may not write there."""


class InteractionExpired(Exception):
    """The interaction's fifteen minutes are over."""


class MessageGone(Exception):
    """Somebody deleted the message or its thread."""


class Outlet(Protocol):
    """Sends, edits and deletes the messages of one reply.

    An outlet that `expires` is not `alive` from some time on, and then raises InteractionExpired:
    the reply continues through another.
    """

    max_posts: int
    expires: bool

    @property
    def alive(self) -> bool: ...

    @property
    def lane(self) -> Hashable:
        """Outlets with the same lane share a rate limit."""
        ...

    def posted(self, message_ids: list[int]) -> tuple[str, ...]:
        """The ids of the messages, as the core stores them in `Turn.posted`."""
        ...

    async def send(self, draft: Draft, number: int) -> int:
        """Post the reply's message with this number, from 0; its id.

        Raises:
            InteractionExpired, discord.HTTPException: it can't be posted.
        """
        ...

    async def edit(self, message_id: int, draft: Draft) -> None:
        """Edit a message. Raises InteractionExpired, MessageGone, discord.HTTPException."""
        ...

    async def delete(self, message_id: int) -> None:
        """Delete a message if it still exists. Raises discord.HTTPException."""
        ...

    async def typing(self) -> None:
        """Show for about ten seconds that the bot is writing."""
        ...

    async def clear_placeholder(self) -> None:
        """Remove what shows that a reply is coming here, since it continues elsewhere."""
        ...

    async def report_expiry(self) -> bool:
        """Say that the reply can't be given any more; whether that could still be said."""
        ...


class ChannelOutlet:
    """An outlet into a channel, a thread or a DM.

    Only the asker is pinged. A message's nonce depends on the turn alone, so Discord returns a
    message that was sent just before a crash instead of posting it twice.
    """

    max_posts = MAX_POSTS
    expires = False
    alive = True

    def __init__(
        self, channel: Any, turn: Turn, make_buttons: MakeButtons, *, reply_to: int | None = None
    ) -> None:
        self._channel = channel
        self._turn = turn
        self._make_buttons = make_buttons
        self._reply_to = reply_to
        self._replaced = 0
        self._mentions = mentions_of(turn)

    @property
    def lane(self) -> Hashable:
        """Discord limits sends and edits per channel."""
        return int(self._channel.id)

    def posted(self, message_ids: list[int]) -> tuple[str, ...]:
        return tuple(keys.posted_id(self._channel.id, message) for message in message_ids)

    async def send(self, draft: Draft, number: int) -> int:
        options: dict[str, Any] = {}
        if view := self._make_buttons(draft.controls):
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
            # Discord returned the message of a run that crashed, for its nonce: update it.
            await self.edit(sent.id, draft)
        return int(sent.id)

    async def edit(self, message_id: int, draft: Draft) -> None:
        message = self._channel.get_partial_message(message_id)
        options: dict[str, Any] = {}
        if draft.file is not None:
            options["attachments"] = [file_of(draft.file)]
        elif draft.controls == "running":
            options["attachments"] = []
        try:
            await message.edit(
                content=draft.content,
                view=self._make_buttons(draft.controls),
                allowed_mentions=self._mentions,
                **options,
            )
        except discord.NotFound as error:
            # For some minutes Discord returns the deleted message for the same nonce.
            self._replaced += 1
            raise MessageGone from error

    async def delete(self, message_id: int) -> None:
        self._replaced += 1
        try:
            await self._channel.get_partial_message(message_id).delete()
        except discord.NotFound:
            return

    async def typing(self) -> None:
        await self._channel.typing()

    async def clear_placeholder(self) -> None:
        pass  # a channel does not expire

    async def report_expiry(self) -> bool:
        return False

    def _nonce(self, number: int) -> str:
        text = f"{self._turn.question_id} {self._turn.id} {number} {self._replaced}"
        return hashlib.sha256(text.encode()).hexdigest()[:25]


def mentions_of(turn: Turn) -> discord.AllowedMentions:
    """Ping only the askers, whatever the reply says."""
    askers = {parse_id(message.author_id) for message in turn.messages}
    users = [discord.Object(asker) for asker in askers if asker is not None]
    return discord.AllowedMentions(everyone=False, roles=False, users=users, replied_user=True)


def file_of(text: str) -> discord.File:
    return discord.File(io.BytesIO(text.encode()), FILE_NAME)
