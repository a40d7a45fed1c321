"""The service: what comes in from the platforms is accepted, queued, answered or run."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import assert_never

from bot.core import commands
from bot.core.access import NotAllowed, require_control
from bot.core.attachments import LOST, AttachmentLoader
from bot.core.command_actions import CommandActions
from bot.core.conversations import Conversations
from bot.core.events import (
    CommandInvoked,
    ControlPressed,
    Inbound,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    ThreadKey,
)
from bot.core.gate import GateFacts, Reason, decide, reply_key
from bot.core.ports import CommandReply, ImageReader, ReplyTarget, Store
from bot.core.records import Turn, TurnState
from bot.core.replies import Answering, new_reference
from bot.core.settings import ServiceSettings
from bot.engine.api import Engine

logger = logging.getLogger(__name__)

_RESTARTING = CommandReply("I am being restarted; please try again in a moment.", ok=False)
_GONE = CommandReply("I don't have that reply any more.", ok=False)


class Service:
    """Answers messages, runs commands and buttons, on every platform that is registered."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        images: ImageReader,
        settings: ServiceSettings | None = None,
    ) -> None:
        self._settings = settings or ServiceSettings()
        self._store = store
        self._targets: dict[str, ReplyTarget] = {}
        self._parked: dict[str, dict[ThreadKey, None]] = {}  # oldest first
        self._conversations = Conversations(Answering(store, engine, self._settings, self._targets))
        self._loader = AttachmentLoader(store, images, self._settings)
        self._commands = CommandActions(store, self._conversations, self._settings.persona)
        self._draining = False

    def register(self, platform: str, target: ReplyTarget) -> None:
        """Answer on this platform from now on, first what is still owed there."""
        self._targets[platform] = target
        for key in self._parked.pop(platform, ()):
            self._conversations.wake(key)

    async def start(self) -> None:
        """Take up what the last run left unfinished; each is answered when its platform is
        registered."""
        for turn in await self._store.unfinished():
            await self._recover(turn)
            self._wake(turn.key)

    async def drain(self, grace_s: float) -> None:
        """Accept nothing more, let running replies end within `grace_s` seconds, hand the rest
        back to the store (the next start answers them) and stop."""
        self._draining = True
        await self._conversations.drain(grace_s, self._settings.hand_back_s)

    async def handle(self, event: Inbound) -> CommandReply | None:
        """Take an event in. Returns soon: replies are written by tasks of their own.

        Returns the answer for the one who caused it, if there is one to give: to a command, a
        button, or a message that could not be accepted. Raises nothing.
        """
        try:
            return await self._dispatch(event)
        except Exception:
            ref = new_reference()
            logger.exception("handling a %s failed [%s]", type(event).__name__, ref)
            return CommandReply(
                f"Something went wrong; please try again (reference {ref}).", ok=False
            )

    def _dispatch(self, event: Inbound) -> Awaitable[CommandReply | None]:
        if isinstance(event, MessageReceived):
            return self._message(event)
        if isinstance(event, MessageEdited):
            return self._edited(event)
        if isinstance(event, MessageDeleted):
            return self._deleted(event)
        if isinstance(event, CommandInvoked):
            return self._command(event)
        if isinstance(event, ControlPressed):
            return self._control(event)
        assert_never(event)

    async def _message(self, event: MessageReceived) -> CommandReply | None:
        decision = decide(event, await self._facts(event))
        if decision.reason is Reason.COMMAND:
            return await self._typed_command(event)
        if not decision.answer:
            logger.debug("message %s is not answered: %s", event.id, decision.reason)
            return None
        if self._draining:
            return _RESTARTING
        await self._accept(event)
        return None

    async def _facts(self, event: MessageReceived) -> GateFacts:
        in_thread = bool(event.key.thread) and await self._store.has_conversation(event.key)
        return GateFacts(in_thread, self._settings.mode, self._settings.answer_bots)

    async def _accept(self, event: MessageReceived) -> None:
        """Write the message down, then see that it is answered: this order loses nothing."""
        key = reply_key(event, self._settings.inline)
        async with self._conversations.accepting(key) as load:
            accepted = await self._store.accept(key, event)
            if accepted is not None and accepted.attachment_ids:
                load(self._loader.load_all(event.attachments, accepted.attachment_ids))
        self._park(key)

    async def _typed_command(self, event: MessageReceived) -> CommandReply:
        parsed = commands.parse(event.text)
        if isinstance(parsed, commands.CommandError):
            return CommandReply(parsed.text, ok=False)
        command = CommandInvoked(event.key, event.author, parsed.name, parsed.args, event.is_dm)
        return await self._command(command)

    async def _command(self, event: CommandInvoked) -> CommandReply:
        return _RESTARTING if self._draining else await self._commands.run(event)

    async def _edited(self, event: MessageEdited) -> None:
        turn = await self._store.edit_message(event.key, event.id, event.text)
        if turn is not None:
            await self._conversations.edited(turn)

    async def _deleted(self, event: MessageDeleted) -> None:
        before = await self._store.delete_message(event.key, event.id)
        if before is not None:
            await self._conversations.deleted(before)

    async def _control(self, event: ControlPressed) -> CommandReply:
        if self._draining:
            return _RESTARTING
        turn = await self._store.turn(event.turn_id)
        # The id comes from outside: it must not reach into another channel.
        if turn is None or turn.key.in_thread("") != event.key.in_thread(""):
            return _GONE
        try:
            require_control(event.author, turn)
        except NotAllowed as refusal:
            return CommandReply(str(refusal), ok=False)
        if event.action == "stop":
            return self._stop(turn)
        if await self._conversations.regenerate(turn):
            return CommandReply("I am writing another reply.")
        return CommandReply("I can't redo that reply just now.", ok=False)

    def _stop(self, turn: Turn) -> CommandReply:
        if self._conversations.stop(turn.key, turn.id):
            return CommandReply("Stopped.")
        return CommandReply("That reply isn't being written any more.", ok=False)

    async def _recover(self, turn: Turn) -> None:
        """Make what a crash left in the middle of something ready to be answered anew."""
        if turn.state is TurnState.ANSWERING:
            await self._store.release_turn(turn.id)
        for message in turn.messages:
            for attachment in message.attachments:
                if attachment.digest is None and attachment.problem is None:
                    await self._store.set_attachment(attachment.id, None, LOST)

    def _wake(self, key: ThreadKey) -> None:
        if not self._park(key):
            self._conversations.wake(key)

    def _park(self, key: ThreadKey) -> bool:
        """Remember a conversation until its platform is registered; False if it is already."""
        if key.platform in self._targets:
            return False
        self._parked.setdefault(key.platform, {})[key] = None
        return True
