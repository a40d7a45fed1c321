"""The terminal as a platform: `parley chat`, at a keyboard or in a pipe.

The smallest adapter, and the example of how to write one: what somebody types becomes events for
the core (`TerminalAdapter`), and the core writes its replies into sinks (`StreamedReply`,
`LateReply`).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from bot.core.commands.parsing import (
    CommandError,
    Completion,
    complete,
    help_text,
    is_command,
    looks_like_command,
    parse,
)
from bot.core.events import (
    Attachment,
    Author,
    CommandInvoked,
    ControlPressed,
    MessageReceived,
    ThreadKey,
)
from bot.core.ports import CommandReply, FinishedReply, InboundHandler, ReplySink
from bot.core.records import Turn, TurnState
from bot.core.safe_names import one_line
from bot.platforms.shared.reply_ending import reply_ending
from bot.platforms.terminal import texts
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

#: Resolved when the reply to a typed message has ended; None: the reply was withdrawn.
ReplyEnd: TypeAlias = "asyncio.Future[FinishedReply | None]"

OWN_COMMANDS = (
    Completion("/image ", texts.IMAGE_HELP),
    Completion("/quit", texts.QUIT_HELP),
)
_EXIT_INTERRUPTED = 128 + signal.SIGINT


class TerminalAdapter:
    """`bot.platforms.base.Adapter` for the terminal: one person and one conversation, a DM.

    The person is an admin, since the machine is theirs. Their `name` also names the conversation,
    which continues across runs unless `forget_first`.
    """

    platform = PLATFORM

    def __init__(
        self,
        handle: InboundHandler,
        *,
        name: str = "",
        forget_first: bool = False,
        screen: Screen | None = None,
    ) -> None:
        """`screen`: None opens one on standard input and output."""
        self._handle = handle
        self._author = Author(id="local", name=name or "You", is_admin=True)
        self._key = ThreadKey(PLATFORM, WORKSPACE, channel=name or "chat")
        self._forget_first = forget_first
        self._screen = screen or open_screen(completions)
        self._conversation: asyncio.Task[None] | None = None
        self._attachments: list[Attachment] = []  # they go with the next message
        self._reply_ends: dict[str, ReplyEnd] = {}  # by the id of the message
        self._running_turn: int | None = None
        self._interrupts = 0  # presses of Ctrl-C since the last line
        self._leaving = asyncio.Event()
        self._failed = False
        self._interrupted = False
        self._tasks: set[asyncio.Future[CommandReply | None]] = set()

    # --- Adapter

    @property
    def is_connected(self) -> bool:
        return self._conversation is not None and not self._conversation.done()

    async def start(self) -> None:
        self._conversation = asyncio.create_task(self._converse(), name="terminal")

    async def watch(self) -> None:
        """Wait until the person leaves or the input ends; `exit_code` is known then."""
        if self._conversation is not None:
            await asyncio.wait((self._conversation,))
            if not self._conversation.cancelled():
                self._conversation.result()

    async def close(self) -> None:
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            conversation.cancel()
            await asyncio.gather(conversation, return_exceptions=True)
        self._screen.close()

    @property
    def exit_code(self) -> int:
        """1 where the input was a pipe and something in it was not answered."""
        if self._interrupted:
            return _EXIT_INTERRUPTED
        return 1 if self._failed and not self._screen.interactive else 0

    async def open_reply(self, turn: Turn) -> ReplySink:
        """Stream the reply to what was just typed. One that an earlier run still owed is shown
        whole, with its question."""
        reply_ends = [
            self._reply_ends[message.platform_id]
            for message in turn.messages
            if message.platform_id in self._reply_ends
        ]
        if not reply_ends:
            return LateReply(self._screen, turn)
        self._running_turn = turn.id
        if self._interrupts:  # Ctrl-C came before there was a turn to stop
            self._stop_turn(turn.id)
        return StreamedReply(self._screen, reply_ends)

    # --- what the person types

    async def _converse(self) -> None:
        """Read and handle lines until the person leaves or the input ends."""
        try:
            with self._handling_interrupts():
                if self._forget_first:
                    await self._run_command("reset", {})
                self._screen.show_greeting(texts.GREETING)
                while not self._leaving.is_set():
                    await self._handle_next_line()
        except EndOfInput:
            pass
        except OutputClosed:
            self._failed = True

    async def _handle_next_line(self) -> None:
        try:
            line = await self._screen.read_line(texts.prompt(len(self._attachments)))
        except Interrupted:
            self._interrupt()
            if not self._leaving.is_set():
                self._screen.print_note(texts.LEAVE_HINT)
            return
        self._interrupts = 0
        await self._handle_line(line.strip())

    async def _handle_line(self, line: str) -> None:
        """One line: a command of the terminal's, a command of the core's, or a message."""
        word, _, rest = line.partition(" ")
        if line == "/quit":
            self._leaving.set()
        elif word == "/image":
            self._attach(rest.strip())
        elif looks_like_command(line) or is_command(line):
            await self._handle_command(line)
        elif line or self._attachments:
            await self._send_message(line)

    def _attach(self, path: str) -> None:
        try:
            attachment = open_attachment(path)
        except UnusableFile as error:
            self._print_error(str(error))
            return
        self._attachments.append(attachment)
        self._screen.print_note(texts.attached(attachment.name))

    async def _handle_command(self, line: str) -> None:
        command = parse(line)
        if isinstance(command, CommandError):
            self._print_error(command.text)
        elif command.name == "help" and not command.args:
            self._screen.print_text(f"{help_text()}\n{texts.OWN_HELP}")
        else:
            await self._run_command(command.name, command.args)

    async def _run_command(self, name: str, args: Mapping[str, str]) -> None:
        event = CommandInvoked(self._key, self._author, name, args, is_dm=True)
        self._print_reply(await self._handle(event))

    async def _send_message(self, text: str) -> None:
        """Hand a message to the core and wait until its reply has ended."""
        event = MessageReceived(
            self._key,
            secrets.token_hex(8),
            self._author,
            text,
            tuple(self._attachments),
            is_dm=True,
        )
        self._attachments.clear()
        reply_end = self._reply_ends[event.id] = asyncio.get_running_loop().create_future()
        self._screen.show_waiting(0)
        try:
            refusal = await self._handle(event)
            if refusal is not None:
                self._print_reply(refusal)
                return
            await self._wait_for_reply(reply_end)
        finally:
            self._screen.clear_waiting()
            del self._reply_ends[event.id]
            self._running_turn = None

    async def _wait_for_reply(self, reply_end: ReplyEnd) -> None:
        leaving = asyncio.ensure_future(self._leaving.wait())
        try:
            await asyncio.wait((reply_end, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
        if self._screen.closed:
            raise OutputClosed
        if reply_end.done():
            reply = reply_end.result()
            self._failed |= reply is None or reply.state is TurnState.FAILED

    def _print_reply(self, reply: CommandReply | None) -> None:
        if reply is None:
            return
        if reply.ok:
            self._screen.print_text(reply.text)
        else:
            self._print_error(reply.text)

    def _print_error(self, text: str) -> None:
        self._failed = True
        self._screen.print_error(text)

    # --- Ctrl-C

    @contextlib.contextmanager
    def _handling_interrupts(self) -> Iterator[None]:
        """At a keyboard Ctrl-C stops the reply; in a pipe it ends the program."""
        loop = asyncio.get_running_loop()
        # A handler of the loop's own wakes the loop. With asyncio.run's, a signal that comes just
        # before the loop falls asleep waits for the next event.
        loop.add_signal_handler(
            signal.SIGINT, self._interrupt if self._screen.interactive else self._end_pipe
        )
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    def _interrupt(self) -> None:
        """The first Ctrl-C stops the reply. The second leaves, unless a line was typed between."""
        self._interrupts += 1
        if self._interrupts > 1:
            self._leaving.set()
        elif self._running_turn is not None:
            self._stop_turn(self._running_turn)

    def _end_pipe(self) -> None:
        self._interrupted = True
        if self._conversation is not None:
            self._conversation.cancel()

    def _stop_turn(self, turn_id: int) -> None:
        event = ControlPressed(self._key, self._author, "stop", turn_id)
        task = asyncio.ensure_future(self._handle(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def completions(line: str) -> list[Completion]:
    """How a line that begins like this can continue."""
    own = [c for c in OWN_COMMANDS if line.startswith("/") and c.text.startswith(line)]
    return complete(line) + own


class StreamedReply:
    """A `ReplySink` for the reply to what was just typed, printed as it is generated."""

    def __init__(self, screen: Screen, reply_ends: Sequence[ReplyEnd]) -> None:
        """`reply_ends`: of the messages that this reply answers."""
        self._screen = screen
        self._reply_ends = reply_ends
        self._written = ""

    async def waiting(self, ahead: int) -> None:
        if not self._written:
            self._screen.show_waiting(ahead)

    async def write(self, delta: str) -> None:
        self._screen.stream(delta)
        self._written += delta

    async def restart(self) -> None:
        """Printed text can't be taken back, so the new reply begins on the next line."""
        if self._written:
            self._screen.stream("\n")
        self._written = ""

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        if reply.text.startswith(self._written):  # an earlier write may have failed
            self._screen.stream(reply.text[len(self._written) :])
        self._screen.end_reply()
        _print_foot(self._screen, reply)
        self._resolve(reply)
        return ()

    async def withdraw(self) -> None:
        self._screen.end_reply()
        self._resolve(None)

    def _resolve(self, reply: FinishedReply | None) -> None:
        for reply_end in self._reply_ends:
            if not reply_end.done():
                reply_end.set_result(reply)


class LateReply:
    """A `ReplySink` for a reply that an earlier run still owed: printed whole, with its question.

    In a pipe nobody typed the question: the core stores the reply, and nothing is printed.
    """

    def __init__(self, screen: Screen, turn: Turn) -> None:
        self._screen = screen
        self._turn = turn

    async def waiting(self, ahead: int) -> None:
        pass

    async def write(self, delta: str) -> None:
        pass

    async def restart(self) -> None:
        pass

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        if self._screen.interactive and reply.state is not TurnState.CANCELLED:
            question = " / ".join(message.text for message in self._turn.messages)
            self._screen.print_note(texts.earlier_question(one_line(question, 200)))
            if reply.text:
                self._screen.print_text(reply.text)
            _print_foot(self._screen, reply)
        return ()

    async def withdraw(self) -> None:
        pass


def _print_foot(screen: Screen, reply: FinishedReply) -> None:
    ending = reply_ending(reply)
    if ending.error:
        screen.print_error(ending.error)
    for note in ending.notes:
        screen.print_note(note)
