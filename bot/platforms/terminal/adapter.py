"""The terminal as a platform: `parley chat`, at a keyboard or in a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeAlias

from bot.core.commands.parsing import CommandError, Completion, help_text, is_command, parse
from bot.core.events import (
    Attachment,
    Author,
    CommandInvoked,
    ControlPressed,
    Inbound,
    MessageReceived,
    ThreadKey,
)
from bot.core.ports import CommandReply, FinishedReply, ReplySink
from bot.core.records import Turn, TurnState
from bot.core.safe_names import one_line
from bot.platforms.terminal.files import UnusableFile, open_attachment
from bot.platforms.terminal.screen import (
    EndOfInput,
    Interrupted,
    OutputClosed,
    Screen,
    open_screen,
)

PLATFORM = "terminal"
WORKSPACE = "local"

Handle: TypeAlias = Callable[[Inbound], Awaitable[CommandReply | None]]
Complete: TypeAlias = Callable[[str], list[Completion]]
Ended: TypeAlias = "asyncio.Future[FinishedReply | None]"

OWN_COMMANDS = (
    Completion("/image ", "Attach a picture to your next message"),
    Completion("/quit", "Leave; so does Ctrl-D"),
)
_OWN_HELP = (
    "`/image <path>` Attach a picture to your next message.\n"
    "`/quit` Leave; so does Ctrl-D. Ctrl-C stops the reply that is being written."
)
_COMMAND_LIKE = re.compile(r"/[a-z]+(\s|$)", re.IGNORECASE)  # "/usr/bin is what?" is a question


class TerminalChat:
    """A conversation in a terminal. It is a ReplyTarget: register it, then `run` it.

    `handle` and `complete` are `Service.handle` and `commands.complete`. The one at the keyboard
    is an admin: the machine is theirs. `name` is how they are called, and names the conversation,
    which goes on where it ended last time unless `forget_first`.
    """

    def __init__(
        self,
        handle: Handle,
        complete: Complete,
        *,
        name: str = "",
        forget_first: bool = False,
        screen: Screen | None = None,
    ) -> None:
        self._handle = handle
        self._complete = complete
        self._author = Author(id="local", name=name or "You", is_admin=True)
        self._key = ThreadKey(PLATFORM, WORKSPACE, channel=name or "chat")
        self._forget_first = forget_first
        self._screen = screen
        self._pictures: list[Attachment] = []
        self._asked: dict[str, Ended] = {}
        self._turn_id: int | None = None  # being answered on the screen
        self._failed = False
        self._interrupts = 0
        self._leave = asyncio.Event()
        self._stops: set[asyncio.Future[CommandReply | None]] = set()

    async def run(self) -> int:
        """Talk until the one at the keyboard leaves or the input ends.

        Returns the exit code: 1 where the input was a pipe and something in it was not answered.
        """
        screen = self._screen = self._screen or open_screen(self.completions)
        try:
            if self._forget_first:
                await self._command(CommandInvoked(self._key, self._author, "reset", is_dm=True))
            screen.greet("Talk to me. /help says what I can do, Ctrl-D leaves.")
            with self._interruptible():
                while not self._leave.is_set():
                    try:
                        line = await screen.read_line(self._prompt())
                    except Interrupted:
                        self._interrupt()
                        if not self._leave.is_set():
                            screen.note("Press Ctrl-C again, or Ctrl-D, to leave.")
                        continue
                    self._interrupts = 0
                    await self._take(line.strip())
        except EndOfInput:
            pass
        except OutputClosed:
            self._failed = True  # whoever read us has gone
        finally:
            screen.close()
        return 1 if self._failed and not screen.interactive else 0

    def completions(self, line: str) -> list[Completion]:
        """How a line that begins like this can go on."""
        own = [c for c in OWN_COMMANDS if line.startswith("/") and c.text.startswith(line)]
        return self._complete(line) + own

    async def open_reply(self, turn: Turn) -> ReplySink:
        """See ReplyTarget. The reply to what was just asked is streamed; one that was still owed
        from an earlier run is shown at its end, together with its question."""
        if self._screen is None:
            self._screen = open_screen(self.completions)
        asked = [f for m in turn.messages if (f := self._asked.get(m.platform_id)) is not None]
        if not asked:
            return LateReply(self._screen, turn)
        self._turn_id = turn.id
        if self._interrupts:  # Ctrl-C came before there was a turn to stop
            self._stop_soon(turn.id)
        return StreamedReply(self._screen, asked)

    def _prompt(self) -> str:
        count = len(self._pictures)
        if not count:
            return "> "
        return "[1 picture] > " if count == 1 else f"[{count} pictures] > "

    async def _take(self, line: str) -> None:
        """One line: a command of ours, a command of the core's, or a message."""
        word, _, rest = line.partition(" ")
        if line == "/quit":
            self._leave.set()
        elif word == "/image":
            self._attach(rest.strip())
        elif _COMMAND_LIKE.match(line) or is_command(line):
            await self._typed_command(line)
        elif line or self._pictures:
            await self._ask(line)

    def _attach(self, path: str) -> None:
        try:
            picture = open_attachment(path)
        except UnusableFile as error:
            self._complain(str(error))
            return
        self._pictures.append(picture)
        self._shown.note(f"{picture.name} goes with your next message.")

    async def _typed_command(self, line: str) -> None:
        parsed = parse(line)
        if isinstance(parsed, CommandError):
            self._complain(parsed.text)
            return
        if parsed.name == "help" and not parsed.args:
            self._shown.say(f"{help_text()}\n{_OWN_HELP}")
            return
        await self._command(
            CommandInvoked(self._key, self._author, parsed.name, parsed.args, is_dm=True)
        )

    async def _command(self, event: CommandInvoked) -> None:
        reply = await self._handle(event)
        if reply is not None:
            self._answer(reply)

    async def _ask(self, text: str) -> None:
        """Send a message and wait for the end of its reply."""
        event = MessageReceived(
            self._key,
            secrets.token_hex(8),
            self._author,
            text,
            tuple(self._pictures),
            is_dm=True,
        )
        self._pictures.clear()
        ended = self._asked[event.id] = asyncio.get_running_loop().create_future()
        self._shown.working(0)
        try:
            refusal = await self._handle(event)
            if refusal is not None:
                self._answer(refusal)
                return
            await self._until_ended_or_left(ended)
        finally:
            self._shown.idle()
            self._asked.pop(event.id, None)
            self._turn_id = None

    async def _until_ended_or_left(self, ended: Ended) -> None:
        leaving = asyncio.ensure_future(self._leave.wait())
        try:
            await asyncio.wait((ended, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
        if not ended.done():
            return
        reply = ended.result()
        if self._shown.closed:
            raise OutputClosed
        if reply is None or reply.state is TurnState.FAILED:
            self._failed = True

    def _answer(self, reply: CommandReply) -> None:
        if reply.ok:
            self._shown.say(reply.text)
        else:
            self._complain(reply.text)

    def _complain(self, text: str) -> None:
        self._failed = True
        self._shown.complain(text)

    @property
    def _shown(self) -> Screen:
        if self._screen is None:
            raise RuntimeError("the terminal is not running")
        return self._screen

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """At a keyboard Ctrl-C stops the reply; in a pipe it ends the command, as anywhere."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        interactive, interrupted = self._shown.interactive, False

        def end() -> None:
            nonlocal interrupted
            interrupted = True
            task.cancel()

        # The loop's own handler wakes it. asyncio.run's doesn't: a signal that comes just before
        # the loop falls asleep would wait for whatever wakes it next.
        loop.add_signal_handler(signal.SIGINT, self._interrupt if interactive else end)
        try:
            yield
        except asyncio.CancelledError:
            if interrupted:
                raise KeyboardInterrupt from None
            raise
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    def _interrupt(self) -> None:
        """Ctrl-C: the first stops the reply that is written or awaited, the second leaves, unless
        something was typed in between."""
        self._interrupts += 1
        if self._interrupts > 1:
            self._leave.set()
        elif self._turn_id is not None:
            self._stop_soon(self._turn_id)

    def _stop_soon(self, turn_id: int) -> None:
        pressed = ControlPressed(self._key, self._author, "stop", turn_id)
        task = asyncio.ensure_future(self._handle(pressed))
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)


class StreamedReply:
    """The reply to what was just asked, written as it comes (a ReplySink)."""

    def __init__(self, screen: Screen, asked: Sequence[Ended]) -> None:
        self._screen = screen
        self._asked = asked
        self._written = ""

    async def waiting(self, ahead: int) -> None:
        """Say so, until the first word comes."""
        if not self._written:
            self._screen.working(ahead)

    async def write(self, delta: str) -> None:
        """Write on."""
        self._screen.stream(delta)
        self._written += delta

    async def restart(self) -> None:
        """What stands there can't be taken back: begin again below."""
        if self._written:
            self._screen.stream("\n")
        self._written = ""

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        """Write what is missing (a write may have failed), then notes and error."""
        if reply.text.startswith(self._written):
            self._screen.stream(reply.text[len(self._written) :])
        self._screen.end_of_reply()
        _foot(self._screen, reply)
        self._end(reply)
        return ()

    async def withdraw(self) -> None:
        """The question is gone: nothing more to say."""
        self._screen.end_of_reply()
        self._end(None)

    def _end(self, reply: FinishedReply | None) -> None:
        for ended in self._asked:
            if not ended.done():
                ended.set_result(reply)


class LateReply:
    """A reply that an earlier run still owed: shown whole, with its question (a ReplySink).

    In a pipe nobody asked for it: it is stored, and not written between the answers.
    """

    def __init__(self, screen: Screen, turn: Turn) -> None:
        self._screen = screen
        self._turn = turn

    async def waiting(self, ahead: int) -> None:
        """Nobody waits."""

    async def write(self, delta: str) -> None:
        """`finish` brings all of it."""

    async def restart(self) -> None:
        """Nothing stands there yet."""

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        """Show question and answer."""
        if self._screen.interactive and reply.state is not TurnState.CANCELLED:
            question = " / ".join(message.text for message in self._turn.messages)
            self._screen.note(f"You asked earlier: {one_line(question, 200)}")
            if reply.text:
                self._screen.say(reply.text)
            _foot(self._screen, reply)
        return ()

    async def withdraw(self) -> None:
        """Nothing stands there."""


def _foot(screen: Screen, reply: FinishedReply) -> None:
    for note in reply.notes:
        screen.note(note)
    if reply.error:
        screen.complain(reply.error)
    elif reply.state is TurnState.CANCELLED and not reply.notes:
        screen.note("Stopped.")
