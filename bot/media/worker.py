"""The process that reads files: `python -m bot.media.worker <bytes> <seconds>`.

It reads frames from standard input and writes an answer to each to standard output. It may use
`<bytes>` of address space, and `<seconds>` per file; beyond that the operating system kills it, and
only that file fails.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, BinaryIO

from bot.core.ports import BadImage
from bot.core.records import FileContent, NormalizedImage
from bot.media import frames, texts
from bot.media.limits import FileLimits
from bot.media.read import read_file, read_picture

TASKS = {"picture": read_picture, "file": read_file}


def main() -> None:
    """Serve until standard input ends."""
    source, target = _take_streams()
    _confine(int(sys.argv[1]))
    seconds = float(sys.argv[2])
    frames.send(target, {"ready": True})
    while (request := frames.receive(source)) is not None:
        _alarm(seconds)
        head, body = answer(*request)
        _alarm(0)
        frames.send(target, head, body)


def answer(head: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """Answer one request; returns the head and body of the answer."""
    try:
        content = TASKS[head["task"]](data, FileLimits(**head["limits"]))
    except BadImage as reason:
        return {"bad": str(reason)}, b""
    except MemoryError:
        return {"bad": texts.TOO_MUCH_MEMORY}, b""
    return _pack(content)


def _pack(content: FileContent) -> tuple[dict[str, Any], bytes]:
    if isinstance(content, NormalizedImage):
        size = {"width": content.width, "height": content.height}
        return {"picture": size, "note": content.note}, content.data
    return {"text": True, "note": content.note}, content.text.encode()


def _take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Duplicate both pipes and redirect 0 and 1, so library output can't corrupt frames."""
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    return source, target


def _confine(memory: int) -> None:
    """Limit address space, file writes and core dumps (not possible on Windows)."""
    if sys.platform == "win32":
        return
    import resource

    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(limit, (value, value))


def _alarm(seconds: float) -> None:
    """Make the OS end this process after `seconds`, even if it hangs in C code; 0 cancels."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    main()
