"""Reads attached files as pictures or text, in separate processes and within limits."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bot.core.ports import BadImage
from bot.core.records import FileContent, FileText, NormalizedImage
from bot.media import texts
from bot.media.limits import FileLimits
from bot.media.pool import WorkerDied, WorkerPool, WorkerTookTooLong

logger = logging.getLogger(__name__)


class MediaReader:
    """Implements `FileReader` and `ImageReader` of bot/core/ports.py. Owns processes: `close` it.

    `processes` limits how many files are read at once, and thus the memory: at most
    `limits.memory` per process.
    """

    def __init__(
        self,
        limits: FileLimits | None = None,
        *,
        processes: int = 2,
        timeout_s: float = 20.0,
        command: Sequence[str] | None = None,
    ) -> None:
        self.limits = limits or FileLimits()
        self._pool = WorkerPool(
            processes, memory=self.limits.memory, timeout_s=timeout_s, command=command
        )

    async def read(self, data: bytes) -> NormalizedImage:
        """Read a picture: the first frame, upright, sRGB on white, no metadata.

        The same file always gives the same bytes.

        Raises:
            BadImage: the message is the reason, in a few words.
            bot.media.pool.PoolClosed: after `close`.
        """
        content = await self._read("picture", data)
        if not isinstance(content, NormalizedImage):
            raise BadImage(texts.CRASHED)
        return content

    async def read_file(self, data: bytes) -> FileContent:
        """Read a picture as `read` does, or the text of a text file or PDF. Raises like `read`."""
        return await self._read("file", data)

    async def close(self) -> None:
        """Kill all processes, even busy ones. Idempotent."""
        await self._pool.close()

    async def _read(self, task: str, data: bytes) -> FileContent:
        self.limits.check_bytes(len(data))
        try:
            head, body = await self._pool.run({"task": task, "limits": asdict(self.limits)}, data)
        except WorkerTookTooLong:
            logger.warning("a file of %d bytes took too long to open", len(data))
            raise BadImage(texts.TOO_SLOW) from None
        except WorkerDied:
            logger.warning("a file of %d bytes ended the process that opened it", len(data))
            raise BadImage(texts.CRASHED) from None
        return _unpack(head, body)


def _unpack(head: dict[str, Any], body: bytes) -> FileContent:
    """Parse a worker's answer, which isn't trusted: hostile files may have taken it over."""
    if "bad" in head:
        raise BadImage(str(head["bad"]))
    note = str(head.get("note", ""))
    try:
        if "text" in head:
            return FileText(body.decode(), note)
        width, height = int(head["picture"]["width"]), int(head["picture"]["height"])
    except (KeyError, TypeError, ValueError):
        raise BadImage(texts.CRASHED) from None
    return NormalizedImage(body, hashlib.sha256(body).hexdigest(), width, height, note)
