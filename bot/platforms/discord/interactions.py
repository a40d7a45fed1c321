"""Answers through an interaction: /ask and the menus, also where the bot is no member."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import discord

from bot.core.ports import CommandReply
from bot.core.records import Turn
from bot.platforms.discord import layout
from bot.platforms.discord.layout import Draft
from bot.platforms.discord.outlets import Buttons, MessageGone, file_of, mentions_of

logger = logging.getLogger(__name__)

Interaction = discord.Interaction[Any]

ACK_WITHIN_S = 1.5  # Discord drops an interaction that is not acknowledged within 3 s
TOKEN_LIVES = timedelta(minutes=14, seconds=30)  # Discord: 15 minutes
MAX_POSTS = 5  # where only the user installed the app, five follow-ups are all there is
MAX_OPEN = 1_000


class Expired(Exception):
    """The interaction's fifteen minutes are over."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An interaction that waits for a reply. `private`: only the asker sees it."""

    interaction: Interaction
    private: bool = False

    @property
    def alive(self) -> bool:
        """Whether Discord still takes an answer."""
        return discord.utils.utcnow() - self.interaction.created_at < TOKEN_LIVES


class Asks:
    """The interactions that wait, by the thread of their conversation; the oldest drop out."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Asked] = OrderedDict()

    def add(self, thread: str, asked: Asked) -> None:
        """Answer this conversation through this interaction from now on."""
        self._open[thread] = asked
        self._open.move_to_end(thread)
        while len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)

    def get(self, thread: str) -> Asked | None:
        """The interaction of a conversation, while it can be answered."""
        asked = self._open.get(thread)
        if asked is not None and not asked.alive:
            del self._open[thread]
            return None
        return asked


class InteractionOutlet:
    """A reply as the answer to an interaction: its deferred response first, then follow-ups."""

    max_posts = MAX_POSTS

    def __init__(self, asked: Asked, turn: Turn, buttons: Buttons) -> None:
        self._asked = asked
        self._buttons = buttons
        self._mentions = mentions_of(turn)
        # A button's interaction answers in the message that carries the button.
        pressed = asked.interaction.message
        self._original = pressed.id if pressed is not None else None

    @property
    def lane(self) -> Hashable:
        """An interaction has a rate limit of its own."""
        return ("interaction", self._asked.interaction.id)

    def posted(self, message_ids: list[int]) -> tuple[str, ...]:
        """See Outlet.posted."""
        channel = self._asked.interaction.channel_id or 0
        return tuple(f"{channel}/{message}" for message in message_ids)

    async def send(self, draft: Draft, number: int) -> int:
        """See Outlet.send. Raises Expired."""
        interaction = self._usable()
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
            ephemeral=self._asked.private,
            allowed_mentions=self._mentions,
            suppress_embeds=True,
            **options,
        )
        return sent.id

    async def edit(self, message_id: int, draft: Draft) -> None:
        """See Outlet.edit. Raises Expired."""
        interaction = self._usable()
        options: dict[str, Any] = {
            "content": draft.content,
            "view": self._buttons(draft.controls),
            "allowed_mentions": self._mentions,
        }
        if draft.file is not None:
            options["attachments"] = [file_of(draft.file)]
        try:
            if message_id == self._original:
                await interaction.edit_original_response(**options)
            else:
                await interaction.followup.edit_message(message_id, **options)
        except discord.NotFound as error:
            raise MessageGone from error

    async def delete(self, message_id: int) -> None:
        """See Outlet.delete."""
        try:
            if message_id == self._original:
                await self._usable().delete_original_response()
            else:
                await self._usable().followup.delete_message(message_id)
        except (discord.NotFound, Expired):
            return

    async def typing(self) -> None:
        """Discord shows "is thinking" by itself."""

    def _usable(self) -> Interaction:
        if not self._asked.alive:
            raise Expired("the fifteen minutes of an interaction are over")
        return self._asked.interaction


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
