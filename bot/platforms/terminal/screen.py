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

Complete = Callable[[str], list[Completion]]

# A model can write escape sequences, and so can whoever named a file: they must not reach a
# terminal, where they could retitle, recolour or rewrite what stands there.
_CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])
_QUEUED_LINES = 100


class EndOfInput(Exception):
    """The input has ended, or somebody pressed Ctrl-D."""


class Interrupted(Exception):
    """Somebody pressed Ctrl-C at the prompt."""


class OutputClosed(Exception):
    """Whoever read the output has gone."""


class Screen(Protocol):
    """Where one person reads and writes."""

    interactive: bool
    closed: bool  # nobody reads the output any more

    async def read_line(self, prompt: str) -> str:
        """The next line. Raises EndOfInput or Interrupted."""
        ...

    def greet(self, text: str) -> None:
        """The first words."""
        ...

    def working(self, ahead: int) -> None:
        """A reply is being made; `ahead` others come first."""
        ...

    def idle(self) -> None:
        """Nothing is being made any more."""
        ...

    def stream(self, text: str) -> None:
        """A piece of a reply."""
        ...

    def end_of_reply(self) -> None:
        """The reply's last line ends."""
        ...

    def say(self, text: str) -> None:
        """An answer to a command, or a whole reply."""
        ...

    def note(self, text: str) -> None:
        """A line beside the reply."""
        ...

    def complain(self, text: str) -> None:
        """A line about what went wrong."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


def open_screen(complete: Complete) -> Screen:
    """Keyboard and screen if that is what standard input and output are, else plain pipes."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        return TtyScreen(complete)
    return PipeScreen()


def printable(text: str) -> str:
    """`text` without control characters other than tab and line feed."""
    return text.translate(_CONTROLS)


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
        """The next line of the input. Raises EndOfInput."""
        return await self._lines.next()

    def greet(self, text: str) -> None:
        """A pipe wants no greeting."""

    def working(self, ahead: int) -> None:
        """Nobody watches."""

    def idle(self) -> None:
        """Nobody watches."""

    def stream(self, text: str) -> None:
        """A piece of a reply, at once."""
        text = printable(text)
        if text:
            self._write(text)
            self._at_line_start = text.endswith("\n")

    def end_of_reply(self) -> None:
        """Each reply ends its line."""
        if not self._at_line_start:
            self._write("\n")
        self._at_line_start = True

    def say(self, text: str) -> None:
        """An answer to a command."""
        self.stream(text)
        self.end_of_reply()

    def note(self, text: str) -> None:
        """On standard error, out of the reply's way."""
        self._beside(text)

    def complain(self, text: str) -> None:
        """On standard error."""
        self._beside(text)

    def close(self) -> None:
        """Nothing to restore; but Python must not trip over a closed pipe when it ends."""
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

    def _beside(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._err.write(_encodable(f"{printable(text)}\n", self._err))
            self._err.flush()


class TtyScreen:
    """A prompt with history and completion, a spinner while it thinks, notes in grey."""

    interactive = True

    def __init__(self, complete: Complete, console: Console | None = None) -> None:
        self.closed = False
        self._console = console or Console(highlight=False, emoji=False, markup=False)
        self._session: PromptSession[str] = PromptSession(
            history=InMemoryHistory(),  # not in a file: /reset promises to forget
            completer=LineCompleter(complete),
            complete_while_typing=True,
        )
        self._status: Status | None = None
        self._at_line_start = True

    async def read_line(self, prompt: str) -> str:
        """What somebody types. Raises EndOfInput for Ctrl-D, Interrupted for Ctrl-C."""
        try:
            with patch_stdout(raw=True):  # what is printed meanwhile goes above the prompt
                return await self._session.prompt_async(prompt, handle_sigint=False)
        except EOFError:
            raise EndOfInput from None
        except KeyboardInterrupt:
            raise Interrupted from None

    def greet(self, text: str) -> None:
        """The first line, in grey."""
        self.note(text)

    def working(self, ahead: int) -> None:
        """A spinner that says who is first."""
        text = "thinking" if not ahead else f"{ahead} before you"
        if self._status is None:
            self._status = self._console.status(text, spinner="dots")
            self._status.start()
        else:
            self._status.update(text)

    def idle(self) -> None:
        """Take the spinner away."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def stream(self, text: str) -> None:
        """A piece of a reply, as it is."""
        text = printable(text)
        if text:
            self.idle()
            self._console.print(text, end="", soft_wrap=True)
            self._at_line_start = text.endswith("\n")

    def end_of_reply(self) -> None:
        """Each reply ends its line."""
        self.idle()
        if not self._at_line_start:
            self._console.print()
        self._at_line_start = True

    def say(self, text: str) -> None:
        """An answer to a command, or a whole reply."""
        self.stream(text)
        self.end_of_reply()

    def note(self, text: str) -> None:
        """In grey."""
        self._line(text, "dim")

    def complain(self, text: str) -> None:
        """In red, or what stands for it."""
        self._line(text, "red")

    def close(self) -> None:
        """Take the spinner away."""
        self.idle()

    def _line(self, text: str, style: str) -> None:
        self.idle()
        self._console.print(printable(text), style=style, soft_wrap=True)


class LineCompleter(Completer):
    """Completes commands, and paths after `/image`."""

    def __init__(self, complete: Complete) -> None:
        self._complete = complete
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[PromptCompletion]:
        """How the line can go on."""
        line = document.text_before_cursor
        if line.startswith("/image "):
            path = line.removeprefix("/image ")
            yield from self._paths.get_completions(Document(path), complete_event)
            return
        for found in self._complete(line):
            yield PromptCompletion(found.text, -len(line), display_meta=found.help)


class LineReader:
    """Lines of a file descriptor, of any kind, without blocking the event loop.

    A thread waits for them: a loop can watch pipes and sockets, but not the regular file of
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
            except OSError:  # closed under us
                block = b""
            *lines, rest = (rest + decoder.decode(block, final=not block)).split("\n")
            yield from lines
            if not block:
                break
        if rest:
            yield rest


def _encodable(text: str, stream: TextIO) -> str:
    """What the stream's encoding can't hold (a C locale, a lone surrogate) becomes a mark."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
