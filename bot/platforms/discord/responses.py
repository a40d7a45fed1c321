"""Answers to interactions that end at once: commands, forms, refusals."""

from __future__ import annotations

import asyncio

import discord

from bot.core.ports import CommandReply
from bot.platforms.discord import layout
from bot.platforms.discord.pending_interactions import Interaction

ACK_WITHIN_S = 1.5  # Discord drops an interaction that is not acknowledged within 3 s


async def respond(interaction: Interaction, reply: CommandReply) -> None:
    """Answer an interaction; a reply that is private is shown to its asker alone.

    Raises:
        discord.HTTPException: Discord refuses it.
    """
    nobody = discord.AllowedMentions.none()
    for number, text in enumerate(layout.command_answer(reply.text)):
        if number == 0 and not interaction.response.is_done():
            await interaction.response.send_message(
                text, ephemeral=reply.private, allowed_mentions=nobody, suppress_embeds=True
            )
        else:
            await interaction.followup.send(
                text, ephemeral=reply.private, allowed_mentions=nobody, suppress_embeds=True
            )


async def respond_when_done(interaction: Interaction, work: asyncio.Task[CommandReply]) -> None:
    """Answer an interaction with what `work` returns; defer it if that takes long.

    Raises:
        discord.HTTPException: Discord refuses it.
    """
    done, _ = await asyncio.wait((work,), timeout=ACK_WITHIN_S)
    if not done:
        await interaction.response.defer(ephemeral=True, thinking=True)
        await asyncio.wait((work,))
    await respond(interaction, work.result())
