"""What people do with commands, forms, menus and buttons, each ending in an event for the core."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import discord
from discord import app_commands

from bot.core.commands.parsing import COMMANDS, Command
from bot.core.events import (
    Attachment,
    Author,
    CommandInvoked,
    ControlPressed,
    Earlier,
    MessageReceived,
    ThreadKey,
)
from bot.core.ports import CommandReply, CoreQueries, InboundHandler
from bot.core.records import SamplingOverrides, TurnState
from bot.core.safe_names import one_line
from bot.core.texts import SUMMARIZE
from bot.platforms.discord import keys
from bot.platforms.discord.confirm import KEPT, What, answers, question
from bot.platforms.discord.controls import Action
from bot.platforms.discord.files import Files
from bot.platforms.discord.history import NO_HISTORY, History, may_read
from bot.platforms.discord.interactions import answer_when_done, say
from bot.platforms.discord.modals import persona_form, question_form
from bot.platforms.discord.pending_interactions import (
    LONG_ENOUGH,
    Asks,
    Interaction,
    is_asked,
)
from bot.platforms.discord.reader import Reader
from bot.platforms.discord.slash import takes_form

logger = logging.getLogger(__name__)

PREFILL_WITHIN_S = 1.0  # a form must be shown within 3 s, filled or not
NO_CONTENT = (
    "\n-# The Message Content intent is off, so I see only messages that mention me or reply to "
    "me, DMs, commands and menus: mention me again in threads. An admin of mine can switch it on "
    "in Discord's developer portal."
)
REGENERATE_PAUSES_S = (0.5, 2.0)
_MODERATORS = ("stop", "reset", "forget")


class Requests:
    """Runs commands, shows forms, answers /ask and the menus (`slash.Runs`)."""

    def __init__(
        self,
        handle: InboundHandler,
        queries: CoreQueries,
        reader: Reader,
        history: History,
        files: Files,
        asks: Asks,
        without_content: Callable[[], bool],
    ) -> None:
        self._handle = handle
        self._queries = queries
        self._reader = reader
        self._history = history
        self._files = files
        self._asks = asks
        self._without_content = without_content

    async def run(self, interaction: Interaction, command: Command, args: dict[str, str]) -> None:
        """Run a command, or show the form that it is filled in with."""
        if takes_form(command):
            await self._show_form(interaction, command, args)
        elif command.name == "forget":
            await self._ask_first(interaction, args)
        else:
            await self._invoke(interaction, command.name, args)

    async def suggest(self, interaction: Interaction, command: Command, typed: str) -> list[str]:
        """Names of personas; of one's own only, where only those can be changed."""
        library = await self._queries.library(_key(interaction))
        own_only = command.name.startswith("persona-library")
        return [persona.name for persona in library if not (own_only and persona.built_in)]

    async def ask(
        self,
        interaction: Interaction,
        question: str,
        picture: discord.Attachment | None,
        private: bool,
    ) -> None:
        """Answer a question, anywhere."""
        files = () if picture is None else (self._files.attachment(picture),)
        await self._answer(interaction, question, files, private=private)

    async def ask_about(self, interaction: Interaction, message: discord.Message) -> None:
        """Show the form for a question about a message, somebody's picture for instance."""
        seen = self._reader.has_pictures(message)
        suggestion = "What is in this picture?" if seen else "What does this mean?"
        submitted = partial(self._asked_about, message)
        form = question_form("Ask about this", submitted, suggestion=suggestion)
        await interaction.response.send_modal(form)

    async def summarise(self, interaction: Interaction, message: discord.Message) -> None:
        """Summarise from a message on, for the one who asks alone."""
        if not may_read(interaction.channel):
            await say(interaction, CommandReply(NO_HISTORY, ok=False))
            return
        await self._answer(
            interaction, SUMMARIZE, (), private=True, earlier=partial(self._history.since, message)
        )

    async def pressed(self, interaction: Interaction, action: Action, turn_id: int) -> None:
        """Stop, Regenerate or feedback."""
        await interaction.response.defer()
        key = _key(interaction)
        turn = await self._queries.turn(turn_id) if action == "regenerate" else None
        if turn is not None and is_asked(turn):
            before = self._asks.of(turn)
            if len(turn.posted) < 2 or before is None or before.left < LONG_ENOUGH:
                # This interaction carries the other reply, unless only the first one can change
                # all of its messages.
                private = interaction.message is not None and interaction.message.flags.ephemeral
                await self._asks.add(turn.question_id, interaction, private=private)
        author = _author(interaction, self._reader.me, moderates=True)
        event = ControlPressed(key, author, action, turn_id)
        reply = await self._handle(event)
        ending = turn is not None and turn.state is TurnState.ANSWERING
        for pause in REGENERATE_PAUSES_S if ending else ():
            if reply is None or reply.ok:
                break
            # The button shows with the last words, a moment before the core has put them down.
            await asyncio.sleep(pause)
            reply = await self._handle(event)
        if reply is not None and (not reply.ok or action in ("good", "bad")):
            await interaction.followup.send(reply.text, ephemeral=True)

    async def confirmed(self, interaction: Interaction, what: What) -> None:
        """Delete what somebody was asked about, or leave it. The buttons go at once, so that it
        is done once."""
        wanted = what != "nothing"
        await interaction.response.edit_message(content="…" if wanted else KEPT, view=None)
        if not wanted:
            return
        reply = await self._command(_event(interaction, self._reader.me, "forget", {"what": what}))
        text = reply.text if reply.private or not reply.ok else "It is done."
        await interaction.edit_original_response(content=text)
        if text != reply.text:  # everybody here should know
            await say(interaction, reply)

    async def failed(self, interaction: Interaction, error: Exception) -> None:
        """Tell the one who asked in one sentence; the log has the rest."""
        cause = getattr(error, "original", error)
        if isinstance(cause, discord.NotFound) and cause.code == 10062:
            logger.warning("an interaction came too late to be answered")
            return
        if isinstance(error, app_commands.CheckFailure):
            text = "You may not use that here."
        else:
            ref = secrets.token_hex(4)
            logger.error("an interaction failed [%s]", ref, exc_info=cause)
            text = f"Something went wrong; please try again (reference {ref})."
        try:
            await say(interaction, CommandReply(text, ok=False))
        except discord.HTTPException as refused:
            logger.info("the failure could not be told: %s", refused.status)

    # --- forms

    async def _show_form(
        self, interaction: Interaction, command: Command, args: dict[str, str]
    ) -> None:
        text, sampling = "", SamplingOverrides()
        try:
            async with asyncio.timeout(PREFILL_WITHIN_S):
                text, sampling = await self._current(interaction, command, args)
        except Exception:
            logger.warning("a form is shown empty", exc_info=True)
        submitted = partial(self._submitted, command, args)
        form = persona_form(command, submitted, text=text, sampling=sampling)
        await interaction.response.send_modal(form)

    async def _current(
        self, interaction: Interaction, command: Command, args: Mapping[str, str]
    ) -> tuple[str, SamplingOverrides]:
        """What counts now, to be changed."""
        key = _key(interaction)
        if command.name == "persona-library edit":
            wanted = args.get("name", "").casefold()
            for persona in await self._queries.library(key):
                if persona.name.casefold() == wanted:
                    return persona.text, persona.sampling
        if command.name in ("persona set", "persona preview"):
            found = await self._queries.persona_at(_scoped(key, args.get("scope")))
            return found.text, found.sampling
        if command.name == "persona default":
            found = await self._queries.persona_at(_scoped(key, "workspace"))
            return found.text, found.sampling
        return "", SamplingOverrides()

    async def _submitted(
        self,
        command: Command,
        args: Mapping[str, str],
        interaction: Interaction,
        filled: Mapping[str, str],
    ) -> None:
        await self._invoke(interaction, command.name, {**args, **filled})

    async def _asked_about(
        self, message: discord.Message, interaction: Interaction, filled: Mapping[str, str]
    ) -> None:
        said = self._reader.text(message)
        quoted = "\n".join(f"> {line}" for line in said.splitlines())
        by = one_line(message.author.display_name, 80)
        text = filled.get("question", "")
        if quoted:
            text = f"{text}\n\nAbout this message of {by}:\n{quoted}"
        await self._answer(interaction, text, self._files.of(message), private=False)

    # --- events

    async def _ask_first(self, interaction: Interaction, args: Mapping[str, str]) -> None:
        """Ask whether to delete; who may not do that anyway is told by the core."""
        key, is_dm = _key(interaction), interaction.guild_id is None
        author = _author(interaction, self._reader.me, moderates=True)
        what: What = "me" if args.get("what") == "me" else "here"
        if what == "here" and not (is_dm or key.thread or author.is_admin):
            await self._invoke(interaction, "forget", args)
            return
        text = question(what, in_thread=bool(key.thread), is_dm=is_dm)
        await interaction.response.send_message(text, view=answers(what), ephemeral=True)

    async def _invoke(self, interaction: Interaction, name: str, args: Mapping[str, str]) -> None:
        event = _event(interaction, self._reader.me, name, args)
        work = asyncio.create_task(self._command(event), name=f"discord /{name}")
        try:
            await answer_when_done(interaction, work)
        finally:
            work.cancel()

    async def _command(self, event: CommandInvoked) -> CommandReply:
        reply = await self._handle(event) or CommandReply("Done.")
        if event.name == "help" and self._without_content():
            return replace(reply, text=reply.text + NO_CONTENT)
        return reply

    async def _answer(
        self,
        interaction: Interaction,
        text: str,
        files: tuple[Attachment, ...],
        *,
        private: bool,
        earlier: Earlier | None = None,
    ) -> None:
        """Let the core answer through this interaction."""
        await interaction.response.defer(ephemeral=private, thinking=True)
        key = _key(interaction)
        thread = f"{keys.ASK}{interaction.id}"
        await self._asks.add(str(interaction.id), interaction, private=private)
        event = MessageReceived(
            key=key.in_thread(thread),
            id=str(interaction.id),
            author=_author(interaction, self._reader.me),
            text=text,
            attachments=files,
            is_dm=interaction.guild_id is None,
            mentions_bot=True,
            at=interaction.created_at,
            earlier=earlier,
            asked_in=key,
        )
        reply = await self._handle(event)
        if reply is not None:
            await say(interaction, reply)


def _key(interaction: Interaction) -> ThreadKey:
    channel: Any = interaction.channel or discord.Object(interaction.channel_id or 0)
    return keys.key_of(channel, interaction.guild_id)


def _event(interaction: Interaction, me: int, name: str, args: Mapping[str, str]) -> CommandInvoked:
    author = _author(interaction, me, moderates=name in _MODERATORS)
    return CommandInvoked(_key(interaction), author, name, args, interaction.guild_id is None)


def _scoped(key: ThreadKey, scope: str | None) -> ThreadKey:
    if scope == "thread":
        return key
    if scope == "workspace":
        return key.workspace_key
    return key.channel_key


def _author(interaction: Interaction, me: int, *, moderates: bool = False) -> Author:
    permissions = interaction.permissions if interaction.guild_id is not None else None
    return keys.author_of(interaction.user, me, permissions, moderates=moderates)


assert set(_MODERATORS) <= set(COMMANDS), "commands of the core"
