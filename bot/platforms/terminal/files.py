"""A file that somebody names in the terminal, as an attachment."""

from __future__ import annotations

import asyncio
import mimetypes
import shlex
import stat
from pathlib import Path

from bot.core.events import Attachment
from bot.platforms.terminal import texts


class UnusableFile(Exception):
    """There is no such file, or it can't be read; the text is one line for the person."""


def open_attachment(typed_path: str) -> Attachment:
    """The file at a path as people type it: with `~`, quoted, or dropped on the terminal.

    Raises:
        UnusableFile: why it can't be attached.
    """
    if not typed_path:
        raise UnusableFile(texts.IMAGE_USAGE)
    path = _resolve(typed_path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnusableFile(texts.is_folder(path))
        if not stat.S_ISREG(status.st_mode):  # reading a device or a pipe might never end
            raise UnusableFile(texts.not_a_regular_file(path))
        path.open("rb").close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or texts.NOT_A_PATH
        raise UnusableFile(texts.cannot_open(path, reason)) from error

    async def load() -> bytes:
        return await asyncio.to_thread(path.read_bytes)

    content_type, _ = mimetypes.guess_type(path.name)
    return Attachment(path.name, content_type or "application/octet-stream", status.st_size, load)


def _resolve(typed_path: str) -> Path:
    """Undo the quoting that terminals apply to the name of a file dropped on them."""
    path = Path(typed_path)
    if not path.exists():
        try:
            words = shlex.split(typed_path)
        except ValueError:
            words = []
        if len(words) == 1:
            path = Path(words[0])
    try:
        return path.expanduser()
    except RuntimeError:  # no such user
        return path
