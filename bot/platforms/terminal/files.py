"""A file that somebody names in the terminal, as an attachment."""

from __future__ import annotations

import asyncio
import mimetypes
import shlex
import stat
from pathlib import Path

from bot.core.events import Attachment


class UnusableFile(Exception):
    """There is no such file, or it can't be read; the text is one line for the person."""


def open_attachment(typed: str) -> Attachment:
    """The file at a path as people type it: with `~`, quoted, or dropped into the terminal.

    Raises:
        UnusableFile: why it can't be attached.
    """
    if not typed:
        raise UnusableFile("Which picture? Type: /image <path>")
    path = _path(typed)
    try:
        facts = path.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise UnusableFile(f"{path} is a folder.")
        if not stat.S_ISREG(facts.st_mode):  # reading a device or a pipe might never end
            raise UnusableFile(f"{path} is not an ordinary file.")
        path.open("rb").close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise UnusableFile(f"I can't open {path}: {reason}.") from error

    async def load() -> bytes:
        return await asyncio.to_thread(path.read_bytes)

    guess, _ = mimetypes.guess_type(path.name)
    return Attachment(path.name, guess or "application/octet-stream", facts.st_size, load)


def _path(typed: str) -> Path:
    """Terminals quote or escape the name of a file that is dropped on them."""
    path = Path(typed)
    if not path.exists():
        try:
            words = shlex.split(typed)
        except ValueError:
            words = []
        if len(words) == 1:
            path = Path(words[0])
    try:
        return path.expanduser()
    except RuntimeError:  # no such user
        return path
