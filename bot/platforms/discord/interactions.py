"""Answers through an interaction: /ask and the menus, also where the bot is no member."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Hashable, Iterator
from typing import Any

import aiohttp
import discord

from bot.core.ports import CommandReply
from bot.core.records import Turn
from bot.platforms.discord import keys, layout
from bot.platforms.discord.layout import Draft
from bot.platforms.discord.outlets import Buttons, Expired, MessageGone, file_of, mentions_of
from bot.platforms.discord.pending_interactions import Asked, Interaction

logger = logging.getLogger(__name__)

ACK_WITHIN_S = 1.5  # Discord drops an interaction that is not acknowledged within 3 s
INVALID_WEBHOOK_TOKEN, UNKNOWN_WEBHOOK = 50027, 10015  # an interaction that is over
MAX_POSTS = 5  # where only the user installed the app, five follow-ups are all there is
TOO_LATE = (
    "This takes longer than the 15 minutes in which Discord lets me answer here; please ask again."
)


class InteractionOutlet:
    """A reply as the answer to an interaction: its deferred response first, then follow-ups."""

    max_posts = MAX_POSTS
    expires = True

    def __init__(self, asked: Asked, turn: Turn, buttons: Buttons) -> None:
        self._asked = asked
        self._buttons = buttons
        self._mentions = mentions_of(turn)
        self._standing = posts_of(asked, turn)
        # A button's interaction answers in the message that carries the button.
        self._original = self._standing[0] if self._standing else None

    @property
    def alive(self) -> bool:
        """See Outlet.alive."""
        return self._asked.alive

    @property
    def lane(self) -> Hashable:
        """An interaction has a rate limit of its own."""
        return ("interaction", self._asked.saved.interaction)

    def posted(self, message_ids: list[int]) -> tuple[str, ...]:
        """See Outlet.posted."""
        channel = self._asked.saved.channel
        return tuple(keys.posted_id(channel, message) for message in message_ids)

    async def send(self, draft: Draft, number: int) -> int:
        """See Outlet.send. Raises Expired."""
        with self._expiring():
            return await self._send(draft, number)

    async def _send(self, draft: Draft, number: int) -> int:
        interaction = self._asked.interaction
        if number == 0:
            options: dict[str, Any] = {}
            if draft.file is not None:
                options["attachments"] = [file_of(draft.file)]
            original = await interaction.edit_original_response(
                content=draft.content,
                view=self._buttons(draft.controls),
                allowed_mentions=self._mentions,
                **options,
            )
            self._original = original.id
            return original.id
        options = {"file": file_of(draft.file)} if draft.file is not None else {}
        if view := self._buttons(draft.controls):
            options["view"] = view
        sent = await interaction.followup.send(
            draft.content,
            wait=True,
            ephemeral=self._asked.saved.private,
            allowed_mentions=self._mentions,
            suppress_embeds=True,
            **options,
        )
        return sent.id

    async def edit(self, message_id: int, draft: Draft) -> None:
        """See Outlet.edit. Raises Expired."""
        interaction = self._asked.interaction
        options: dict[str, Any] = {
            "content": draft.content,
            "view": self._buttons(draft.controls),
            "allowed_mentions": self._mentions,
        }
        if draft.file is not None:
            options["attachments"] = [file_of(draft.file)]
        with self._expiring():
            try:
                if message_id == self._original:
                    await interaction.edit_original_response(**options)
                else:
                    await interaction.followup.edit_message(message_id, **options)
            except discord.NotFound as error:
                if error.code == UNKNOWN_WEBHOOK:
                    raise
                raise MessageGone from error

    async def delete(self, message_id: int) -> None:
        """See Outlet.delete."""
        interaction = self._asked.interaction
        with contextlib.suppress(discord.NotFound, Expired), self._expiring():
            if message_id == self._original:
                await interaction.delete_original_response()
            else:
                await interaction.followup.delete_message(message_id)

    async def typing(self) -> None:
        """Discord shows "is thinking" by itself."""

    async def leave(self) -> None:
        """See Outlet.leave: an answer that has not begun would be "thinking" for ever."""
        if self._original is None:
            with contextlib.suppress(discord.HTTPException, aiohttp.ClientError, OSError):
                await self._asked.interaction.delete_original_response()

    async def give_up(self) -> bool:
        """See Outlet.give_up."""
        try:
            await self._asked.interaction.edit_original_response(content=TOO_LATE, view=None)
        except (discord.HTTPException, aiohttp.ClientError, OSError):
            return False
        return True

    @contextlib.contextmanager
    def _expiring(self) -> Iterator[None]:
        """Turn the end of the interaction into Expired, by our clock or by Discord's word."""
        if not self._asked.alive:
            raise Expired("the fifteen minutes of an interaction are over")
        try:
            yield
        except discord.HTTPException as error:
            if error.code not in (INVALID_WEBHOOK_TOKEN, UNKNOWN_WEBHOOK):
                raise
            self._asked.over = True
            raise Expired("Discord says that the interaction is over") from error


def posts_of(asked: Asked, turn: Turn) -> tuple[int, ...]:
    """The messages that stand there already: of a reply that a button is to redo only those from
    the one with the button on, since no other can be changed through it."""
    posted = keys.posted_in(turn.posted, asked.saved.channel)
    pressed = asked.saved.pressed
    if pressed is None:
        return tuple(posted)
    return tuple(posted[posted.index(pressed) :]) if pressed in posted else (pressed,)


async def answer_when_done(interaction: Interaction, work: asyncio.Task[CommandReply]) -> None:
    """Give a command's answer, in time whatever it takes: a slow one is deferred meanwhile.

    Raises:
        discord.HTTPException: Discord does not take it.
    """
    done, _ = await asyncio.wait((work,), timeout=ACK_WITHIN_S)
    if not done:
        await interaction.response.defer(ephemeral=True, thinking=True)
        await asyncio.wait((work,))
    await say(interaction, work.result())


async def say(interaction: Interaction, reply: CommandReply) -> None:
    """Say something in answer: to the asker alone, unless the channel should know.

    Raises:
        discord.HTTPException: Discord does not take it.
    """
    nobody = discord.AllowedMentions.none()
    for number, text in enumerate(layout.plain(reply.text)):
        if number == 0 and not interaction.response.is_done():
            await interaction.response.send_message(
                text, ephemeral=reply.private, allowed_mentions=nobody, suppress_embeds=True
            )
        else:
            await interaction.followup.send(
                text, ephemeral=reply.private, allowed_mentions=nobody, suppress_embeds=True
            )
