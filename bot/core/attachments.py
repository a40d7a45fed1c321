"""Reads the files of a message: each becomes a stored picture, a stored text or a named problem."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from bot.core.events import Attachment
from bot.core.ports import BadImage, FileReader, TurnStore
from bot.core.records import FileContent
from bot.core.safe_names import megabytes, one_line
from bot.core.service_settings import ServiceSettings

logger = logging.getLogger(__name__)

LOST = "lost in a restart, please send it again"


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
            problem = one_line(str(reason), 200) or "not a kind of file that I can read"
        except TimeoutError:
            problem = "took too long to load"
        except Exception:
            logger.exception("loading attachment %d failed", row)
            problem = "could not be loaded"
        await self._store.set_attachment(row, content, problem)

    def _check_claims(self, attachment: Attachment, number: int) -> None:
        if number > self._settings.max_attachments:
            raise BadImage(f"too many files, I read {self._settings.max_attachments} of a message")
        self._check_size(attachment.size)

    async def _read(self, attachment: Attachment) -> FileContent:
        async with asyncio.timeout(self._settings.attachment_timeout_s):
            data = await attachment.load()
        self._check_size(len(data))
        return await self._files.read_file(data)  # which has a time limit of its own

    def _check_size(self, size: int) -> None:
        limit = self._settings.max_attachment_bytes
        if size > limit:
            raise BadImage(f"too large, {megabytes(size)}, limit {megabytes(limit)}")
