"""Reads what was said in a thread before the bot joined: once, within limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime

from bot.core import texts
from bot.core.attachments import AttachmentLoader
from bot.core.commands.parsing import is_command
from bot.core.events import MessageReceived, PastMessage, ThreadKey
from bot.core.failures import new_reference
from bot.core.limits import MAX_EARLIER_MESSAGES
from bot.core.ports import RetentionStore, TurnStore
from bot.core.records import ResetPoint, person_hash
from bot.core.service_settings import ServiceSettings

logger = logging.getLogger(__name__)


class HistoryReader:
    """Inserts earlier messages before a new conversation's first turn."""

    def __init__(
        self,
        store: TurnStore,
        retention: RetentionStore,
        loader: AttachmentLoader,
        settings: ServiceSettings,
    ) -> None:
        self._store = store
        self._retention = retention
        self._loader = loader
        self._settings = settings

    async def read(self, key: ThreadKey, event: MessageReceived) -> tuple[str, ...]:
        """Read what was said before `event`, and store it in the conversation at `key`.

        Returns notes for the foot of the reply: that it failed, if it did. Never raises.
        """
        if event.earlier is None:
            return ()
        try:
            async with asyncio.timeout(self._settings.earlier_timeout_s):
                past = await event.earlier()
            past = [message for message in past if message.id != event.id]
            if event.asked_in is None:  # what a shortcut or a form points at is meant to be read
                ids = [message.id for message in past]
                past = without_forgotten(past, await self._retention.reset_points(key, ids), key)
            past = self._newest(past)
            if past:
                await self._keep(key, past)
        except Exception:
            ref = new_reference()
            logger.exception("reading what was said before in %s failed [%s]", key, ref)
            return (texts.history_unread(ref),)
        return ()

    def _newest(self, past: Sequence[PastMessage]) -> Sequence[PastMessage]:
        """The newest messages that fit, oldest first, without commands and empty messages."""
        chosen: list[PastMessage] = []
        left = self._settings.max_earlier_characters
        for message in reversed(past):
            if is_command(message.text) or not (message.text.strip() or message.attachments):
                continue
            left -= len(message.text)
            if left < 0 or len(chosen) == MAX_EARLIER_MESSAGES:
                break
            chosen.append(message)
        return chosen[::-1]

    async def _keep(self, key: ThreadKey, past: Sequence[PastMessage]) -> None:
        stored = await self._store.add_earlier(key, past)
        looked_at = 0
        for message, ids in reversed(list(zip(past, stored, strict=False))):
            room = max(0, self._settings.max_images - looked_at)
            looked_at += len(ids[:room])
            await self._loader.load_all(message.attachments[:room], ids[:room])
            for attachment in ids[room:]:
                await self._store.set_attachment(attachment, None, texts.FILE_FROM_BEFORE)


def without_forgotten(
    past: Sequence[PastMessage], points: Sequence[ResetPoint], key: ThreadKey
) -> list[PastMessage]:
    """The messages (oldest first) that nobody asked to forget. A reply of the bot is dropped with
    the message it follows."""
    everybody = max((point.at for point in points if not point.person), default=None)
    people: dict[str, datetime] = {}
    for point in points:
        if point.person:
            people[point.person] = max(point.at, people.get(point.person, point.at))
    kept: list[PastMessage] = []
    follows_forgotten = False
    for message in past:
        if everybody is not None and message.at <= everybody:
            follows_forgotten = True
            continue
        if not message.author.is_self:
            until = people.get(person_hash(key, message.author.id)) if people else None
            follows_forgotten = until is not None and message.at <= until
        if not follows_forgotten:
            kept.append(message)
    return kept
