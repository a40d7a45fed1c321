"""The terminal's adapter on a screen that records what it is told to print."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence

from bot.core.events import (
    Author,
    CommandInvoked,
    ControlPressed,
    Inbound,
    MessageReceived,
    ThreadKey,
)
from bot.core.ports import CommandReply, FinishedReply
from bot.core.records import Turn, TurnState, UserMessage
from bot.platforms.base import Adapter
from bot.platforms.shared.reply_ending import STOPPED
from bot.platforms.terminal import texts
from bot.platforms.terminal.adapter import TerminalAdapter, completions
from bot.platforms.terminal.screen import EndOfInput
from tests.support.waiting import until

KEY = ThreadKey("terminal", "local", "Ana")


class RecordingScreen:
    """Reads the lines it is given and keeps everything printed, each with its kind."""

    def __init__(self, lines: Sequence[str] = (), *, interactive: bool = True) -> None:
        self.interactive = interactive
        self.closed = False
        self.lines = list(lines)
        self.printed: list[tuple[str, str]] = []

    async def read_line(self, prompt: str) -> str:
        if not self.lines:
            raise EndOfInput
        return self.lines.pop(0)

    def show_greeting(self, text: str) -> None: ...

    def show_waiting(self, ahead: int) -> None: ...

    def clear_waiting(self) -> None: ...

    def stream(self, text: str) -> None:
        self.printed.append(("reply", text))

    def end_reply(self) -> None: ...

    def print_text(self, text: str) -> None:
        self.printed.append(("text", text))

    def print_note(self, text: str) -> None:
        self.printed.append(("note", text))

    def print_error(self, text: str) -> None:
        self.printed.append(("error", text))

    def close(self) -> None: ...


class Core:
    """Keeps the events and answers each with the same reply."""

    def __init__(self, answer: CommandReply | None = None) -> None:
        self.events: list[Inbound] = []
        self.answer = answer

    async def handle(self, event: Inbound) -> CommandReply | None:
        self.events.append(event)
        return self.answer


def turn_of(event: MessageReceived) -> Turn:
    message = UserMessage(1, event.id, event.author.id, event.author.name, event.text, (), event.at)
    return Turn(7, 1, event.key, TurnState.ANSWERING, (message,))


async def chat(core: Core, screen: RecordingScreen) -> TerminalAdapter:
    terminal = TerminalAdapter(core.handle, name="Ana", screen=screen)
    await terminal.start()
    return terminal


async def typed_message(core: Core) -> MessageReceived:
    await until(lambda: core.events)
    (event,) = core.events
    assert isinstance(event, MessageReceived)
    return event


async def test_it_is_an_adapter_and_connected_until_the_input_ends() -> None:
    terminal: Adapter = TerminalAdapter(Core().handle, screen=RecordingScreen())
    assert terminal.platform == "terminal"
    assert not terminal.is_connected
    await terminal.start()
    assert terminal.is_connected
    await terminal.watch()
    assert not terminal.is_connected
    await terminal.close()
    await terminal.close()


async def test_a_line_is_a_direct_message_of_an_admin() -> None:
    core = Core(CommandReply("no", ok=False))
    terminal = await chat(core, RecordingScreen(["hello"]))
    await terminal.watch()
    event = await typed_message(core)
    assert (event.key, event.text, event.is_dm) == (KEY, "hello", True)
    assert event.author.is_admin


async def test_a_command_of_the_core_is_run() -> None:
    core = Core(CommandReply("It is set."))
    screen = RecordingScreen(["/persona set You are a pirate."])
    terminal = await chat(core, screen)
    await terminal.watch()
    (event,) = core.events
    assert isinstance(event, CommandInvoked)
    assert (event.name, event.args) == ("persona set", {"text": "You are a pirate."})
    assert screen.printed == [("text", "It is set.")]


async def test_the_reply_streams_and_the_next_line_waits_for_its_end() -> None:
    core, screen = Core(), RecordingScreen(["hello", "/quit"])
    terminal = await chat(core, screen)
    sink = await terminal.open_reply(turn_of(await typed_message(core)))
    await sink.waiting(0)
    await sink.write("Hi ")
    await sink.write("Ana")
    assert screen.lines == ["/quit"]
    await sink.finish(FinishedReply(TurnState.DELIVERED, "Hi Ana!", ("a note",)))
    await terminal.watch()
    assert screen.printed == [
        ("reply", "Hi "),
        ("reply", "Ana"),
        ("reply", "!"),
        ("note", "a note"),
    ]


async def test_a_stopped_reply_says_so() -> None:
    core, screen = Core(), RecordingScreen(["hello"])
    terminal = await chat(core, screen)
    sink = await terminal.open_reply(turn_of(await typed_message(core)))
    await sink.finish(FinishedReply(TurnState.CANCELLED, ""))
    await terminal.watch()
    assert screen.printed[-1] == ("note", STOPPED)


async def test_a_withdrawn_reply_ends_the_wait() -> None:
    core = Core()
    terminal = await chat(core, RecordingScreen(["hello"]))
    sink = await terminal.open_reply(turn_of(await typed_message(core)))
    await sink.withdraw()
    async with asyncio.timeout(5):
        await terminal.watch()


async def test_an_interrupt_before_the_turn_exists_stops_it_when_it_does() -> None:
    core = Core()
    terminal = await chat(core, RecordingScreen(["hello"]))
    event = await typed_message(core)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(0.05)
    sink = await terminal.open_reply(turn_of(event))
    await until(lambda: len(core.events) == 2)
    pressed = core.events[1]
    assert isinstance(pressed, ControlPressed)
    assert (pressed.action, pressed.turn_id) == ("stop", 7)
    await sink.finish(FinishedReply(TurnState.CANCELLED, ""))
    await terminal.watch()


async def test_exit_codes() -> None:
    refusal = CommandReply("no", ok=False)
    for interactive, expected in ((True, 0), (False, 1)):
        terminal = await chat(Core(refusal), RecordingScreen(["hi"], interactive=interactive))
        await terminal.watch()
        assert terminal.exit_code == expected
    terminal = await chat(Core(), RecordingScreen(interactive=False))
    await terminal.watch()
    assert terminal.exit_code == 0


async def test_a_reply_owed_from_an_earlier_run_comes_with_its_question() -> None:
    event = MessageReceived(KEY, "1", Author("local", "Ana"), "how\nare you")
    for interactive in (True, False):
        screen = RecordingScreen(interactive=interactive)
        terminal = TerminalAdapter(Core().handle, screen=screen)
        sink = await terminal.open_reply(turn_of(event))
        await sink.write("Fi")
        await sink.finish(FinishedReply(TurnState.DELIVERED, "Fine."))
        expected = [("note", texts.earlier_question("how are you")), ("text", "Fine.")]
        assert screen.printed == (expected if interactive else [])


def test_completions_have_the_commands_of_the_terminal_too() -> None:
    assert "/image " in [c.text for c in completions("/i")]
    assert {"/quit", "/reset"} <= {c.text for c in completions("/")}
    assert completions("hello") == []
