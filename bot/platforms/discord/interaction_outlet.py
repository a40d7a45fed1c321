"""A reply as the answer to an interaction: /ask and the menus, also where the bot is no member."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator
from typing import Any

import aiohttp
import discord

from bot.core.records import Turn
from bot.platforms.discord import keys, texts
from bot.platforms.discord.layout import Draft
from bot.platforms.discord.outlets import (
    InteractionExpired,
    MakeButtons,
    MessageGone,
    file_of,
    mentions_of,
)
from bot.platforms.discord.pending_interactions import PendingInteraction

INVALID_WEBHOOK_TOKEN, UNKNOWN_WEBHOOK = 50027, 10015  # an interaction that has ended
MAX_POSTS = 5  # Discord allows five follow-ups where only the user installed the app


class InteractionOutlet:
    """`outlets.Outlet` on the deferred response to an interaction, then its follow-ups."""

    max_posts = MAX_POSTS
    expires = True

    def __init__(self, pending: PendingInteraction, turn: Turn, make_buttons: MakeButtons) -> None:
        self._pending = pending
        self._make_buttons = make_buttons
        self._mentions = mentions_of(turn)
        posts = editable_posts(pending, turn)
        # The original response to a button's interaction is the message with the button.
        self._original = posts[0] if posts else None

    @property
    def alive(self) -> bool:
        return self._pending.alive

    @property
    def lane(self) -> Hashable:
        """An interaction has a rate limit of its own."""
        return ("interaction", self._pending.saved.interaction)

    def posted(self, message_ids: list[int]) -> tuple[str, ...]:
        channel = self._pending.saved.channel
        return tuple(keys.posted_id(channel, message) for message in message_ids)

    async def send(self, draft: Draft, number: int) -> int:
        with self._expiring():
            return await (self._send_original(draft) if number == 0 else self._follow_up(draft))

    async def _send_original(self, draft: Draft) -> int:
        options: dict[str, Any] = {}
        if draft.file is not None:
            options["attachments"] = [file_of(draft.file)]
        original = await self._pending.interaction.edit_original_response(
            content=draft.content,
            view=self._make_buttons(draft.controls),
            allowed_mentions=self._mentions,
            **options,
        )
        self._original = original.id
        return original.id

    async def _follow_up(self, draft: Draft) -> int:
        options: dict[str, Any] = {}
        if draft.file is not None:
            options["file"] = file_of(draft.file)
        if view := self._make_buttons(draft.controls):
            options["view"] = view
        sent = await self._pending.interaction.followup.send(
            draft.content,
            wait=True,
            ephemeral=self._pending.saved.private,
            allowed_mentions=self._mentions,
            suppress_embeds=True,
            **options,
        )
        return sent.id

    async def edit(self, message_id: int, draft: Draft) -> None:
        interaction = self._pending.interaction
        options: dict[str, Any] = {
            "content": draft.content,
            "view": self._make_buttons(draft.controls),
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
        interaction = self._pending.interaction
        with contextlib.suppress(discord.NotFound, InteractionExpired), self._expiring():
            if message_id == self._original:
                await interaction.delete_original_response()
            else:
                await interaction.followup.delete_message(message_id)

    async def typing(self) -> None:
        pass  # Discord shows "is thinking" by itself

    async def clear_placeholder(self) -> None:
        """A deferred response without a message would show "is thinking" forever."""
        if self._original is None:
            with contextlib.suppress(discord.HTTPException, aiohttp.ClientError, OSError):
                await self._pending.interaction.delete_original_response()

    async def report_expiry(self) -> bool:
        try:
            await self._pending.interaction.edit_original_response(
                content=texts.TOO_LATE, view=None
            )
        except (discord.HTTPException, aiohttp.ClientError, OSError):
            return False
        return True

    @contextlib.contextmanager
    def _expiring(self) -> Iterator[None]:
        """Raise InteractionExpired once the interaction has ended, by our clock or Discord's."""
        if not self._pending.alive:
            raise InteractionExpired("the fifteen minutes of an interaction are over")
        try:
            yield
        except discord.HTTPException as error:
            if error.code not in (INVALID_WEBHOOK_TOKEN, UNKNOWN_WEBHOOK):
                raise
            self._pending.revoked = True
            raise InteractionExpired("Discord says that the interaction has ended") from error


def editable_posts(pending: PendingInteraction, turn: Turn) -> tuple[int, ...]:
    """The messages of an earlier reply that this interaction can edit: after a button's press
    only those from the one with the button on."""
    posts = keys.posted_in(turn.posted, pending.saved.channel)
    pressed = pending.saved.pressed
    if pressed is None:
        return tuple(posts)
    return tuple(posts[posts.index(pressed) :]) if pressed in posts else (pressed,)
