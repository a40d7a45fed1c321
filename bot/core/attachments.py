"""Reads the files of a message: each becomes a stored picture or a named problem."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from bot.core.events import Attachment
from bot.core.labels import one_line
from bot.core.ports import BadImage, ImageReader, Store
from bot.core.records import NormalisedImage
from bot.core.settings import ServiceSettings

logger = logging.getLogger(__name__)

LOST = "lost in a restart, please send it again"

# Types that are certainly no picture are not even fetched. Everything else is decided from the
# bytes, since phones and browsers often name no type or a wrong one.
_NO_PICTURE = ("audio/", "video/", "text/", "application/pdf", "application/zip")


class AttachmentLoader:
    """Fetches, reads and stores files, several at a time."""

    def __init__(self, store: Store, images: ImageReader, settings: ServiceSettings) -> None:
        self._store = store
        self._images = images
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
        image, problem = None, None
        try:
            self._check_claims(attachment, number)
            async with self._slots, asyncio.timeout(self._settings.attachment_timeout_s):
                image = await self._read(attachment)
        except BadImage as reason:
            problem = one_line(str(reason), 200) or "not a picture that I can read"
        except TimeoutError:
            problem = "took too long to load"
        except Exception:
            logger.exception("loading attachment %d failed", row)
            problem = "could not be loaded"
        await self._store.set_attachment(row, image, problem)

    def _check_claims(self, attachment: Attachment, number: int) -> None:
        if number > self._settings.max_attachments:
            raise BadImage(f"too many files, I read {self._settings.max_attachments} of a message")
        if attachment.content_type.lower().startswith(_NO_PICTURE):
            raise BadImage("not a picture")
        self._check_size(attachment.size)

    async def _read(self, attachment: Attachment) -> NormalisedImage:
        data = await attachment.load()
        self._check_size(len(data))
        return await self._images.read(data)

    def _check_size(self, size: int) -> None:
        limit = self._settings.max_attachment_bytes
        if size > limit:
            raise BadImage(f"too large, {_megabytes(size)}, limit {_megabytes(limit)}")


def _megabytes(size: int) -> str:
    megabytes = size / (1024 * 1024)
    return f"{megabytes:.0f} MB" if megabytes >= 10 else f"{megabytes:.1f} MB"
