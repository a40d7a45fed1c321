"""The core's entry point: accepts, queues and answers messages; runs commands and buttons."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import assert_never

from bot.core import scoped_settings, texts
from bot.core.access import NotAllowed, require_control
from bot.core.attachments import AttachmentLoader
from bot.core.commands import parsing
from bot.core.commands.actions import CommandActions
from bot.core.conversations import Acceptance, Conversations
from bot.core.events import (
    CommandInvoked,
    ControlPressed,
    Inbound,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    ThreadKey,
)
from bot.core.failures import new_reference
from bot.core.gate import GateFacts, Reason, decide, edit_asks, refusal, reply_key
from bot.core.history import HistoryReader
from bot.core.ports import CommandReply, FileReader, ReplyTarget, Store
from bot.core.preview import Preview
from bot.core.records import Rating, Turn, TurnState
from bot.core.replies import ReplyServices
from bot.core.retention import Retention
from bot.core.service_settings import ServiceSettings
from bot.engine.api import Engine

logger = logging.getLogger(__name__)

_UNAVAILABLE = CommandReply(texts.UNAVAILABLE, ok=False)
_GONE = CommandReply(texts.REPLY_GONE, ok=False)


class Service:
    """Answers messages, runs commands and buttons, on every platform that is registered."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        files: FileReader,
        settings: ServiceSettings | None = None,
    ) -> None:
        self._settings = settings or ServiceSettings()
        self._store = store
        self._targets: dict[str, ReplyTarget] = {}
        self._parked: dict[str, dict[ThreadKey, None]] = {}  # oldest first
        self._conversations = Conversations(
            ReplyServices(store, store, store, engine, self._settings, self._targets), store
        )
        self._loader = AttachmentLoader(store, files, self._settings)
        self._history = HistoryReader(store, store, self._loader, self._settings)
        preview = Preview(engine, self._settings)
        self._commands = CommandActions(store, store, self._conversations, self._settings, preview)
        self._retention: asyncio.Task[None] | None = None
        self._draining = False

    def register(self, platform: str, target: ReplyTarget) -> None:
        """Start answering on this platform, beginning with what it is still owed."""
        self._targets[platform] = target
        for key in self._parked.pop(platform, ()):
            self._conversations.wake(key)

    async def start(self) -> None:
        """Take up what the last run left unfinished. Each turn is answered once its platform is
        registered."""
        for turn in await self._store.unfinished():
            await self._recover(turn)
            self._wake(turn.key)
        if self._retention is None:
            retention = Retention(self._store, self._store, self._settings)
            self._retention = asyncio.create_task(retention.run(), name="retention")

    async def drain(self, grace_s: float) -> None:
        """Accept nothing more, let running replies end within `grace_s` seconds, return the rest
        to the store for the next start, and stop."""
        self._draining = True
        if self._retention is not None:
            self._retention.cancel()
            await asyncio.gather(self._retention, return_exceptions=True)
        await self._conversations.drain(grace_s, self._settings.hand_back_s)

    async def handle(self, event: Inbound) -> CommandReply | None:
        """See InboundHandler."""
        try:
            return await self._dispatch(event)
        except Exception:
            ref = new_reference()
            logger.exception("handling a %s failed [%s]", type(event).__name__, ref)
            return CommandReply(texts.went_wrong(ref), ok=False)

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

    # Events

    async def _message(self, event: MessageReceived) -> CommandReply | None:
        if event.author.is_self:
            return None  # frequent, so decided without the database
        place = await scoped_settings.resolve(
            self._store, event.asked_in or event.key, self._settings
        )
        in_thread = bool(event.key.thread) and await self._store.has_conversation(event.key)
        decision = decide(event, GateFacts(in_thread, place.mode, place.answer_bots))
        if decision.reason is Reason.COMMAND:
            return await self._typed_command(event)
        if not decision.answer:
            logger.debug("message %s is not answered: %s", event.id, decision.reason)
            sentence = refusal(event, decision.reason)
            return CommandReply(sentence, ok=False) if sentence is not None else None
        if self._draining:
            return _UNAVAILABLE
        await self._accept(event, await self._continued(event) or reply_key(event, place.inline))
        return None

    async def _continued(self, event: MessageReceived) -> ThreadKey | None:
        """The conversation that a message in the channel itself continues: that of the reply it
        answers, if that reply could not get a thread."""
        if not event.replies_to or event.key.thread or event.is_dm:
            return None
        return await self._store.conversation_of(event.key, event.replies_to)

    async def _accept(self, event: MessageReceived, key: ThreadKey) -> None:
        """Store the message before anything else, so that a crash can't lose it."""
        async with self._conversations.accepting(key) as acceptance:
            is_new = event.earlier is not None and not await self._store.has_conversation(key)
            accepted = await self._store.accept(key, event)
            if accepted is not None:
                acceptance.note(event.id, event.foot)
                if accepted.attachment_ids:
                    acceptance.load(
                        self._loader.load_all(event.attachments, accepted.attachment_ids)
                    )
                if is_new:
                    acceptance.load(self._read_earlier(event, key, acceptance))
        self._park(key)

    async def _read_earlier(
        self, event: MessageReceived, key: ThreadKey, acceptance: Acceptance
    ) -> None:
        acceptance.note(event.id, await self._history.read(key, event))

    async def _typed_command(self, event: MessageReceived) -> CommandReply | None:
        parsed = parsing.parse(event.text)
        if self._draining:
            return _UNAVAILABLE
        if not await self._store.claim(event.key, event.id):
            return None  # delivered twice
        if isinstance(parsed, parsing.CommandError):
            return CommandReply(parsed.text, ok=False)
        key = await self._continued(event) or event.key
        command = CommandInvoked(
            key, event.author, parsed.name, parsed.args, event.is_dm, event.at, parsed.prefix
        )
        return await self._command(command)

    async def _command(self, event: CommandInvoked) -> CommandReply:
        return _UNAVAILABLE if self._draining else await self._commands.run(event)

    async def _edited(self, event: MessageEdited) -> CommandReply | None:
        if await self._edit(event):
            return None
        if event.as_new is None or not edit_asks(event):
            return None
        # The claim of the first delivery, or of an earlier edit, makes it a question only once.
        reply = await self._message(event.as_new)
        await self._edit(event)  # the old text may have been accepted in between
        return reply

    async def _edit(self, event: MessageEdited) -> bool:
        """Change a stored message; False if it isn't stored."""
        turn = await self._store.edit_message(event.key, event.id, event.text)
        if turn is None:
            return False
        await self._conversations.edited(turn)
        return True

    async def _deleted(self, event: MessageDeleted) -> None:
        turn = await self._store.delete_message(event.key, event.id)
        if turn is not None:
            await self._conversations.deleted(turn)

    async def _control(self, event: ControlPressed) -> CommandReply:
        if self._draining:
            return _UNAVAILABLE
        turn = await self._store.turn(event.turn_id)
        # The id comes from outside and must not reach another channel.
        if turn is None or turn.key.channel_key != event.key.channel_key:
            return _GONE
        if event.action == "good" or event.action == "bad":
            return await self._rate(turn, event.author.id, event.action)
        try:
            require_control(event.author, turn)
        except NotAllowed as refusal:
            return CommandReply(str(refusal), ok=False)
        if event.action == "stop":
            return self._stop(turn)
        if await self._conversations.regenerate(turn):
            return CommandReply(texts.REGENERATING)
        return CommandReply(texts.CANT_REGENERATE, ok=False)

    async def _rate(self, turn: Turn, user_id: str, rating: Rating) -> CommandReply:
        if not await self._store.rate(turn.id, user_id, rating):
            return _GONE
        return CommandReply(texts.FEEDBACK_SAVED)

    def _stop(self, turn: Turn) -> CommandReply:
        if self._conversations.stop(turn.key, turn.id):
            return CommandReply(texts.STOPPED)
        return CommandReply(texts.NOT_RUNNING, ok=False)

    async def _recover(self, turn: Turn) -> None:
        """Prepare a turn that a crash interrupted to be answered again."""
        if turn.state is TurnState.ANSWERING:
            await self._store.release_turn(turn.id)
        for message in turn.messages:
            for attachment in message.attachments:
                if attachment.digest is None and attachment.problem is None:
                    await self._store.set_attachment(attachment.id, None, texts.FILE_LOST)

    def _wake(self, key: ThreadKey) -> None:
        if not self._park(key):
            self._conversations.wake(key)

    def _park(self, key: ThreadKey) -> bool:
        """Keep a conversation until its platform is registered; False if it is registered."""
        if key.platform in self._targets:
            return False
        self._parked.setdefault(key.platform, {})[key] = None
        return True
