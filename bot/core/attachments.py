"""Turns a message's files into stored pictures, stored texts or named problems."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from bot.core import texts
from bot.core.events import Attachment
from bot.core.ports import BadImage, FileReader, TurnStore
from bot.core.records import FileContent
from bot.core.safe_names import one_line
from bot.core.service_settings import ServiceSettings

logger = logging.getLogger(__name__)


class AttachmentLoader:
    """Fetches, reads and stores files, several at a time.

    What a file is, its bytes say: phones and browsers often name no type or a wrong one.
    """

    def __init__(self, store: TurnStore, files: FileReader, settings: ServiceSettings) -> None:
        self._store = store
        self._files = files
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.max_parallel_loads)

    async def load_all(self, attachments: Sequence[Attachment], ids: Sequence[int]) -> None:
        """Load a message's files (`ids`: their rows, in the same order). Never raises."""
        loads = [
            self._load(attachment, row, number)
            for number, (attachment, row) in enumerate(zip(attachments, ids, strict=True), 1)
        ]
        for outcome in await asyncio.gather(*loads, return_exceptions=True):
            if isinstance(outcome, BaseException):
                logger.error("an attachment's outcome was not stored", exc_info=outcome)

    async def _load(self, attachment: Attachment, row: int, number: int) -> None:
        content, problem = None, None
        try:
            self._check_claims(attachment, number)
            async with self._slots:
                content = await self._read(attachment)
        except BadImage as reason:
            problem = one_line(str(reason), 200) or texts.FILE_UNKNOWN
        except TimeoutError:
            problem = texts.FILE_TIMED_OUT
        except Exception:
            logger.exception("loading attachment %d failed", row)
            problem = texts.FILE_FAILED
        await self._store.set_attachment(row, content, problem)

    def _check_claims(self, attachment: Attachment, number: int) -> None:
        if number > self._settings.max_attachments:
            raise BadImage(texts.too_many_files(self._settings.max_attachments))
        self._check_size(attachment.size)

    async def _read(self, attachment: Attachment) -> FileContent:
        async with asyncio.timeout(self._settings.attachment_timeout_s):
            data = await attachment.load()
        self._check_size(len(data))
        return await self._files.read_file(data)  # has its own time limit

    def _check_size(self, size: int) -> None:
        limit = self._settings.max_attachment_bytes
        if size > limit:
            raise BadImage(texts.file_too_large(size, limit))
