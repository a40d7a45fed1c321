"""Commands, forms, menus and buttons: each interaction becomes an event for the core."""

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
from bot.platforms.discord import keys, texts
from bot.platforms.discord.confirmation import (
    ForgetChoice,
    confirmation_buttons,
    confirmation_question,
)
from bot.platforms.discord.controls import Action
from bot.platforms.discord.files import Files
from bot.platforms.discord.history import History, may_read
from bot.platforms.discord.markup import quote
from bot.platforms.discord.modals import persona_form, question_form, takes_form
from bot.platforms.discord.pending_interactions import (
    REUSABLE_FOR,
    Interaction,
    PendingInteractions,
    is_from_interaction,
)
from bot.platforms.discord.reader import Reader
from bot.platforms.discord.responses import respond, respond_when_done

logger = logging.getLogger(__name__)

PREFILL_WITHIN_S = 1.0  # a form must be shown within 3 s, filled or not
REGENERATE_PAUSES_S = (0.5, 2.0)
_FOR_MODERATORS = ("stop", "reset", "forget")


class InteractionHandler:
    """Runs commands, shows forms, answers /ask and the menus, takes the presses of buttons."""

    def __init__(
        self,
        handle: InboundHandler,
        queries: CoreQueries,
        reader: Reader,
        history: History,
        files: Files,
        pending: PendingInteractions,
        lacks_content_intent: Callable[[], bool],
    ) -> None:
        self._handle = handle
        self._queries = queries
        self._reader = reader
        self._history = history
        self._files = files
        self._pending = pending
        self._lacks_content_intent = lacks_content_intent

    async def run(self, interaction: Interaction, command: Command, args: dict[str, str]) -> None:
        """Run a command of the core's registry, or show its form."""
        if takes_form(command):
            await self._show_form(interaction, command, args)
        elif command.name == "forget":
            await self._confirm_first(interaction, args)
        else:
            await self._invoke(interaction, command.name, args)

    async def suggest(self, interaction: Interaction, command: Command, typed: str) -> list[str]:
        """Names of personas; for commands that change personas, without the built-in ones."""
        library = await self._queries.library(_key(interaction))
        own = command.name.startswith("persona-library")
        return [persona.name for persona in library if not (own and persona.built_in)]

    async def ask(
        self,
        interaction: Interaction,
        question: str,
        picture: discord.Attachment | None,
        private: bool,
    ) -> None:
        files = () if picture is None else (self._files.attachment(picture),)
        await self._answer(interaction, question, files, private=private)

    async def ask_about(self, interaction: Interaction, message: discord.Message) -> None:
        """Show the form for a question about a message."""
        if self._reader.has_pictures(message):
            suggestion = texts.SUGGESTED_ABOUT_PICTURE
        else:
            suggestion = texts.SUGGESTED_ABOUT_TEXT
        form = question_form(partial(self._submit_question, message), suggestion=suggestion)
        await interaction.response.send_modal(form)

    async def summarize(self, interaction: Interaction, message: discord.Message) -> None:
        """Summarize the messages from this one on, for the asker alone."""
        if not may_read(interaction.channel):
            await respond(interaction, CommandReply(texts.NO_HISTORY, ok=False))
            return
        await self._answer(
            interaction, SUMMARIZE, (), private=True, earlier=partial(self._history.since, message)
        )

    async def press(self, interaction: Interaction, action: Action, turn_id: int) -> None:
        """Handle the press of a button below a reply."""
        try:
            await self._press(interaction, action, turn_id)
        except Exception as error:
            await self.fail(interaction, error)

    async def _press(self, interaction: Interaction, action: Action, turn_id: int) -> None:
        await interaction.response.defer()
        key = _key(interaction)
        turn = await self._queries.turn(turn_id) if action == "regenerate" else None
        if turn is not None and is_from_interaction(turn):
            first = self._pending.of(turn)
            if len(turn.posted) < 2 or first is None or first.time_left < REUSABLE_FOR:
                # This interaction carries the new reply, unless only the first one can edit all
                # messages of the old one.
                private = interaction.message is not None and interaction.message.flags.ephemeral
                await self._pending.add(turn.question_id, interaction, private=private)
        author = _author(interaction, self._reader.me, moderates=True)
        event = ControlPressed(key, author, action, turn_id)
        reply = await self._handle(event)
        ending = turn is not None and turn.state is TurnState.ANSWERING
        for pause in REGENERATE_PAUSES_S if ending else ():
            if reply is None or reply.ok:
                break
            # The button appears with the final text, just before the core has stored it.
            await asyncio.sleep(pause)
            reply = await self._handle(event)
        if reply is not None and (not reply.ok or action in ("good", "bad")):
            await interaction.followup.send(reply.text, ephemeral=True)

    async def confirm_forget(self, interaction: Interaction, choice: ForgetChoice) -> None:
        """Handle the answer to the question before /forget."""
        try:
            await self._confirm_forget(interaction, choice)
        except Exception as error:
            await self.fail(interaction, error)

    async def _confirm_forget(self, interaction: Interaction, choice: ForgetChoice) -> None:
        if choice == "nothing":
            await interaction.response.edit_message(content=texts.NOTHING_DELETED, view=None)
            return
        # Without its buttons the question can't be answered twice.
        await interaction.response.edit_message(content=texts.DELETING, view=None)
        event = _command_event(interaction, self._reader.me, "forget", {"what": choice})
        reply = await self._run_command(event)
        is_public = reply.ok and not reply.private
        await interaction.edit_original_response(content=texts.DONE if is_public else reply.text)
        if is_public:
            await respond(interaction, reply)

    async def fail(self, interaction: Interaction, error: Exception) -> None:
        """Tell the person in one sentence that an interaction failed; the log has the rest."""
        cause = getattr(error, "original", error)
        if isinstance(cause, discord.NotFound) and cause.code == 10062:
            logger.warning("an interaction arrived too late to be answered")
            return
        if isinstance(error, app_commands.CheckFailure):
            text = texts.NOT_ALLOWED
        else:
            ref = secrets.token_hex(4)
            logger.error("an interaction failed [%s]", ref, exc_info=cause)
            text = texts.failed(ref)
        try:
            await respond(interaction, CommandReply(text, ok=False))
        except discord.HTTPException as refused:
            logger.info("the person could not be told: %s", refused.status)

    # --- forms

    async def _show_form(
        self, interaction: Interaction, command: Command, args: dict[str, str]
    ) -> None:
        text, sampling = "", SamplingOverrides()
        try:
            async with asyncio.timeout(PREFILL_WITHIN_S):
                text, sampling = await self._current_persona(interaction, command, args)
        except Exception:
            logger.warning("a form is shown without its current values", exc_info=True)
        on_submit = partial(self._submit_command, command, args)
        form = persona_form(command, on_submit, text=text, sampling=sampling)
        await interaction.response.send_modal(form)

    async def _current_persona(
        self, interaction: Interaction, command: Command, args: Mapping[str, str]
    ) -> tuple[str, SamplingOverrides]:
        """The text and the settings that the form starts from."""
        key = _key(interaction)
        if command.name == "persona-library edit":
            name = args.get("name", "").casefold()
            for entry in await self._queries.library(key):
                if entry.name.casefold() == name:
                    return entry.text, entry.sampling
        if command.name in ("persona set", "persona preview"):
            persona = await self._queries.persona_at(_scoped(key, args.get("scope")))
            return persona.text, persona.sampling
        if command.name == "persona default":
            persona = await self._queries.persona_at(key.workspace_key)
            return persona.text, persona.sampling
        return "", SamplingOverrides()

    async def _submit_command(
        self,
        command: Command,
        args: Mapping[str, str],
        interaction: Interaction,
        values: Mapping[str, str],
    ) -> None:
        await self._invoke(interaction, command.name, {**args, **values})

    async def _submit_question(
        self, message: discord.Message, interaction: Interaction, values: Mapping[str, str]
    ) -> None:
        question = values.get("question", "")
        quoted = quote(self._reader.text(message))
        if quoted:
            author = one_line(message.author.display_name, 80)
            question = texts.about_message(question, author, quoted)
        await self._answer(interaction, question, self._files.of(message), private=False)

    # --- events

    async def _confirm_first(self, interaction: Interaction, args: Mapping[str, str]) -> None:
        """Ask before deleting; the core refuses those who may not delete."""
        key, is_dm = _key(interaction), interaction.guild_id is None
        author = _author(interaction, self._reader.me, moderates=True)
        choice: ForgetChoice = "me" if args.get("what") == "me" else "here"
        if choice == "here" and not (is_dm or key.thread or author.is_admin):
            await self._invoke(interaction, "forget", args)
            return
        await interaction.response.send_message(
            confirmation_question(choice, in_thread=bool(key.thread), is_dm=is_dm),
            view=confirmation_buttons(choice),
            ephemeral=True,
        )

    async def _invoke(self, interaction: Interaction, name: str, args: Mapping[str, str]) -> None:
        event = _command_event(interaction, self._reader.me, name, args)
        work = asyncio.create_task(self._run_command(event), name=f"discord /{name}")
        try:
            await respond_when_done(interaction, work)
        finally:
            work.cancel()

    async def _run_command(self, event: CommandInvoked) -> CommandReply:
        reply = await self._handle(event) or CommandReply(texts.DONE)
        if event.name == "help" and self._lacks_content_intent():
            return replace(reply, text=reply.text + texts.NO_MESSAGE_CONTENT)
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
        """Let the core answer a question through this interaction."""
        await interaction.response.defer(ephemeral=private, thinking=True)
        key = _key(interaction)
        thread = f"{keys.ASK}{interaction.id}"
        await self._pending.add(str(interaction.id), interaction, private=private)
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
            await respond(interaction, reply)


def _key(interaction: Interaction) -> ThreadKey:
    channel: Any = interaction.channel or discord.Object(interaction.channel_id or 0)
    return keys.key_of(channel, interaction.guild_id)


def _command_event(
    interaction: Interaction, me: int, name: str, args: Mapping[str, str]
) -> CommandInvoked:
    author = _author(interaction, me, moderates=name in _FOR_MODERATORS)
    is_dm = interaction.guild_id is None
    return CommandInvoked(_key(interaction), author, name, args, is_dm, interaction.created_at)


def _scoped(key: ThreadKey, scope: str | None) -> ThreadKey:
    if scope == "thread":
        return key
    if scope == "workspace":
        return key.workspace_key
    return key.channel_key


def _author(interaction: Interaction, me: int, *, moderates: bool = False) -> Author:
    permissions = interaction.permissions if interaction.guild_id is not None else None
    return keys.author_of(interaction.user, me, permissions, moderates=moderates)


assert set(_FOR_MODERATORS) <= set(COMMANDS), "commands of the core"
