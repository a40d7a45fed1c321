"""What the terminal chat reads from and writes to: a keyboard and a screen, or pipes."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Protocol, TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, PathCompleter
from prompt_toolkit.completion import Completion as PromptCompletion
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout
from rich.console import Console
from rich.status import Status

from bot.core.commands.parsing import Completion
from bot.platforms.terminal import texts

Complete = Callable[[str], list[Completion]]

# A reply or a file's name may hold escape sequences, which could retitle, recolor or rewrite the
# terminal.
_CONTROL_CHARACTERS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])
_QUEUED_LINES = 100


class EndOfInput(Exception):
    """The input has ended, or Ctrl-D was pressed."""


class Interrupted(Exception):
    """Ctrl-C was pressed at the prompt."""


class OutputClosed(Exception):
    """The reader of the output has closed it."""


class Screen(Protocol):
    """Where one person reads and writes."""

    interactive: bool
    closed: bool  # nobody reads the output any more

    async def read_line(self, prompt: str) -> str:
        """The next line. Raises EndOfInput or Interrupted."""
        ...

    def show_greeting(self, text: str) -> None: ...

    def show_waiting(self, ahead: int) -> None:
        """A reply is coming; `ahead` others are served first."""
        ...

    def clear_waiting(self) -> None: ...

    def stream(self, text: str) -> None:
        """Print a piece of a reply at once."""
        ...

    def end_reply(self) -> None:
        """End the last line of a reply."""
        ...

    def print_text(self, text: str) -> None:
        """Print the answer to a command, or a whole reply."""
        ...

    def print_note(self, text: str) -> None:
        """Print a line that is not part of a reply."""
        ...

    def print_error(self, text: str) -> None: ...

    def close(self) -> None:
        """Leave the terminal as it was. Idempotent."""
        ...


def open_screen(complete: Complete) -> Screen:
    """A keyboard and a screen if standard input and output are a terminal, else plain pipes."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        return TtyScreen(complete)
    return PipeScreen()


def printable(text: str) -> str:
    """`text` without control characters other than tab and line feed."""
    return text.translate(_CONTROL_CHARACTERS)


class PipeScreen:
    """Lines in; replies on standard output as plain text, everything else on standard error."""

    interactive = False

    def __init__(
        self,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.closed = False
        self._lines = LineReader((stdin or sys.stdin).fileno())
        self._out = stdout or sys.stdout
        self._err = stderr or sys.stderr
        self._at_line_start = True

    async def read_line(self, prompt: str) -> str:
        return await self._lines.next()

    def show_greeting(self, text: str) -> None:
        pass  # nobody watches a pipe, here and below

    def show_waiting(self, ahead: int) -> None:
        pass

    def clear_waiting(self) -> None:
        pass

    def stream(self, text: str) -> None:
        text = printable(text)
        if text:
            self._write(text)
            self._at_line_start = text.endswith("\n")

    def end_reply(self) -> None:
        if not self._at_line_start:
            self._write("\n")
        self._at_line_start = True

    def print_text(self, text: str) -> None:
        self.stream(text)
        self.end_reply()

    def print_note(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._err.write(_encodable(f"{printable(text)}\n", self._err))
            self._err.flush()

    def print_error(self, text: str) -> None:
        self.print_note(text)

    def close(self) -> None:
        """Keep Python from failing on the closed pipe when it exits."""
        if self.closed:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())

    def _write(self, text: str) -> None:
        if self.closed:
            return
        try:
            self._out.write(_encodable(text, self._out))
            self._out.flush()
        except BrokenPipeError:
            self.closed = True


class TtyScreen:
    """A prompt with history and completion, a spinner while a reply is awaited, notes in gray."""

    interactive = True

    def __init__(self, complete: Complete, console: Console | None = None) -> None:
        self.closed = False
        self._console = console or Console(highlight=False, emoji=False, markup=False)
        self._session: PromptSession[str] = PromptSession(
            history=InMemoryHistory(),  # not in a file: /reset promises to forget
            completer=LineCompleter(complete),
            complete_while_typing=True,
        )
        self._spinner: Status | None = None
        self._at_line_start = True

    async def read_line(self, prompt: str) -> str:
        try:
            with patch_stdout(raw=True):  # what is printed meanwhile goes above the prompt
                return await self._session.prompt_async(prompt, handle_sigint=False)
        except EOFError:
            raise EndOfInput from None
        except KeyboardInterrupt:
            raise Interrupted from None

    def show_greeting(self, text: str) -> None:
        self.print_note(text)

    def show_waiting(self, ahead: int) -> None:
        text = texts.waiting(ahead)
        if self._spinner is None:
            self._spinner = self._console.status(text, spinner="dots")
            self._spinner.start()
        else:
            self._spinner.update(text)

    def clear_waiting(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None

    def stream(self, text: str) -> None:
        text = printable(text)
        if text:
            self.clear_waiting()
            self._console.print(text, end="", soft_wrap=True)
            self._at_line_start = text.endswith("\n")

    def end_reply(self) -> None:
        self.clear_waiting()
        if not self._at_line_start:
            self._console.print()
        self._at_line_start = True

    def print_text(self, text: str) -> None:
        self.stream(text)
        self.end_reply()

    def print_note(self, text: str) -> None:
        self._print_line(text, "dim")

    def print_error(self, text: str) -> None:
        self._print_line(text, "red")

    def close(self) -> None:
        self.clear_waiting()

    def _print_line(self, text: str, style: str) -> None:
        self.clear_waiting()
        self._console.print(printable(text), style=style, soft_wrap=True)


class LineCompleter(Completer):
    """Completes commands, and paths after `/image`."""

    def __init__(self, complete: Complete) -> None:
        self._complete = complete
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[PromptCompletion]:
        line = document.text_before_cursor
        if line.startswith("/image "):
            path = line.removeprefix("/image ")
            yield from self._paths.get_completions(Document(path), complete_event)
            return
        for completion in self._complete(line):
            yield PromptCompletion(completion.text, -len(line), display_meta=completion.help)


class LineReader:
    """Reads lines from any file descriptor without blocking the event loop.

    A thread reads: a loop can watch pipes and sockets, but not the regular file of
    `parley chat < questions.txt`. The thread is a daemon, since nothing can wake it from a read.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: asyncio.Queue[str | None] = asyncio.Queue(_QUEUED_LINES)
        self._thread: threading.Thread | None = None
        self._ended = False

    async def next(self) -> str:
        """The next line, without its end. Raises EndOfInput."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._pump,
                args=(asyncio.get_running_loop(),),
                name="parley-stdin",
                daemon=True,
            )
            self._thread.start()
        line = None if self._ended else await self._queue.get()
        if line is None:
            self._ended = True
            raise EndOfInput
        return line

    def _pump(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            for line in self._read():
                asyncio.run_coroutine_threadsafe(self._queue.put(line), loop).result()
            asyncio.run_coroutine_threadsafe(self._queue.put(None), loop).result()

    def _read(self) -> Iterable[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        while True:
            try:
                block = os.read(self._descriptor, 65_536)
            except OSError:  # the descriptor was closed
                block = b""
            *lines, rest = (rest + decoder.decode(block, final=not block)).split("\n")
            yield from lines
            if not block:
                break
        if rest:
            yield rest


def _encodable(text: str, stream: TextIO) -> str:
    """Replace what the stream's encoding can't hold (a C locale, a lone surrogate)."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
