"""The terminal for the scenarios: the real chat and screen, at a keyboard that a test types on."""

from __future__ import annotations

import io
import signal
from contextlib import ExitStack
from typing import ClassVar

from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from bot.platforms.terminal.adapter import PLATFORM, TerminalAdapter, completions
from bot.platforms.terminal.screen import TtyScreen
from tests.contract.harness import Ability, Harness, Message, Person


class WatchedScreen(TtyScreen):
    """The real screen on a page that a test can read; `at_prompt` while it waits for a line."""

    def __init__(self) -> None:
        self.page = io.StringIO()
        self.at_prompt = False
        console = Console(file=self.page, highlight=False, emoji=False, markup=False, width=10_000)
        super().__init__(completions, console)

    async def read_line(self, prompt: str) -> str:
        self.at_prompt = True
        try:
            return await super().read_line(prompt)
        finally:
            self.at_prompt = False


class TerminalHarness(Harness):
    name = "terminal"
    missing: ClassVar[frozenset[Ability]] = frozenset(
        {
            Ability.MENTIONS,
            Ability.THREADS,
            Ability.EDITS,
            Ability.OTHER_PEOPLE,
            Ability.BUTTONS,
            Ability.PRIVATE_REPLIES,
            Ability.PRIVATE_QUESTIONS,
            Ability.MESSAGE_MENUS,
            Ability.HISTORY,
            Ability.CATCH_UP,
        }
    )

    async def start(self) -> None:
        await self.restart()

    async def restart(self) -> None:
        self._starts: list[int] = []  # where on the page each line's answer begins
        self.core = await self.new_core()
        self._stack = ExitStack()
        self._keyboard = self._stack.enter_context(create_pipe_input())
        await self.core.process.run(self._sit_down())
        await self._prompt()

    async def _sit_down(self) -> None:
        with create_app_session(self._keyboard, DummyOutput()):  # kept by the tasks begun in it
            self._screen = WatchedScreen()
            self._adapter = TerminalAdapter(
                self.core.service.handle, name="Ana", screen=self._screen
            )
            await self.serve(PLATFORM, self._adapter)
            await self._adapter.start()

    async def crash(self) -> None:
        await self.kill()
        await self._adapter.close()
        self._stack.close()
        await self.close_core()

    async def stop(self) -> None:
        await self.drain()
        await self._adapter.close()
        self._stack.close()
        await self.close_core()

    # --- what people do

    async def ask(
        self, text: str, *, by: Person = Person.ASKER, picture: bytes | None = None
    ) -> Message:
        return await self.say(text, by=by, picture=picture)

    async def say(
        self,
        text: str,
        *,
        by: Person = Person.ASKER,
        after: Message | None = None,
        picture: bytes | None = None,
    ) -> Message:
        if picture is not None:
            file = self.folder / "picture.png"
            file.write_bytes(picture)
            await self._type(f"/image {file}")
        await self._type(text)
        return Message(by, raw=(self._screen, len(self._starts) - 1))

    async def say_in_private(self, text: str, *, by: Person = Person.ASKER) -> Message:
        return await self.say(text, by=by)

    async def stop_reply(self, message: Message, *, by: Person = Person.ASKER) -> str:
        signal.raise_signal(signal.SIGINT)  # Ctrl-C
        return ""

    async def command(
        self, text: str, *, by: Person = Person.ASKER, after: Message | None = None
    ) -> str:
        await self._type(f"/{text}")
        await self._prompt()
        return self._page()[self._starts[-1] :].strip()

    # --- what people read

    def posts(self, message: Message) -> list[str]:
        screen, number = message.raw
        if screen is not self._screen:  # of an earlier run: all that stands on the new screen
            number = -1
        starts = [0, *self._starts, len(self._page())][number + 1 :]
        return [
            text
            for start, end in zip(starts, starts[1:], strict=False)
            if (text := self._page()[start:end].strip())
        ]

    async def ended(self, message: Message) -> list[str]:
        await super().ended(message)
        await self._prompt()
        return self.posts(message)

    def _page(self) -> str:
        return self._screen.page.getvalue()

    async def _type(self, line: str) -> None:
        await self._prompt()
        self._starts.append(len(self._page()))
        self._keyboard.send_text(f"{line}\r")
        self._screen.at_prompt = False

    async def _prompt(self) -> None:
        await self.until(lambda: self._screen.at_prompt, "the prompt")
