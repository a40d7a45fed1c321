"""The process in which files are read: `python -m bot.media.worker <bytes> <seconds>`.

It takes frames on standard input and answers each on standard output. It may use `<bytes>` of
address space, and `<seconds>` for one file; beyond that the operating system ends it, and with it
goes nothing but that file.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, BinaryIO

from bot.core.ports import BadImage
from bot.core.records import FileContent, NormalisedImage
from bot.media import frames
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
    """The answer to one request, as head and body."""
    try:
        content = TASKS[head["task"]](data, FileLimits(**head["limits"]))
    except BadImage as reason:
        return {"bad": str(reason)}, b""
    except MemoryError:
        return {"bad": "it takes too much memory to open"}, b""
    return _pack(content)


def _pack(content: FileContent) -> tuple[dict[str, Any], bytes]:
    if isinstance(content, NormalisedImage):
        size = {"width": content.width, "height": content.height}
        return {"picture": size, "note": content.note}, content.data
    return {"text": True, "note": content.note}, content.text.encode()


def _take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Our ends of the pipes, for ourselves alone: a library that prints must not garble frames."""
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    return source, target


def _confine(memory: int) -> None:
    """Give up what reading a file does not need. (Windows has no such limits.)"""
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
    """End this process by then, also when it hangs in C and nobody is left to kill it."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    main()
