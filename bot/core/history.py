"""Reads what was said in a thread before the bot was there, once, within limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from bot.core import texts
from bot.core.attachments import AttachmentLoader
from bot.core.commands.parsing import is_command
from bot.core.events import Earlier, PastMessage, ThreadKey
from bot.core.failures import new_reference
from bot.core.limits import MAX_EARLIER_MESSAGES
from bot.core.ports import TurnStore
from bot.core.service_settings import ServiceSettings

logger = logging.getLogger(__name__)

NOT_LOOKED_AT = "from before I was here, not looked at"


class HistoryReader:
    """Puts what was said before in front of a new conversation's first turn."""

    def __init__(
        self, store: TurnStore, loader: AttachmentLoader, settings: ServiceSettings
    ) -> None:
        self._store = store
        self._loader = loader
        self._settings = settings

    async def read(self, key: ThreadKey, earlier: Earlier, asking: str) -> tuple[str, ...]:
        """Read and store it; `asking` is the id of the message that asks now.

        Returns notes for the foot of the reply: that it failed, if it did. Never raises.
        """
        try:
            async with asyncio.timeout(self._settings.earlier_timeout_s):
                past = await earlier()
            past = [message for message in self._newest(past) if message.id != asking]
            if past:
                await self._keep(key, past)
        except Exception:
            ref = new_reference()
            logger.exception("reading what was said before in %s failed [%s]", key, ref)
            return (texts.history_unread(ref),)
        return ()

    def _newest(self, past: Sequence[PastMessage]) -> Sequence[PastMessage]:
        """The newest messages that fit, oldest first; what says nothing to the model is out."""
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
                await self._store.set_attachment(attachment, None, NOT_LOOKED_AT)
