"""`parley chat` at a keyboard: a real process on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
CTRL_C, CTRL_D = "\x03", "\x04"
PROMPT = "\n>"


class Keyboard:
    """Types into the program and reads what its screen got."""

    def __init__(self, command: list[str]) -> None:
        self._ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
            preexec_fn=_control_terminal,
        )
        os.close(theirs)
        self.seen = ""
        self._from = 0

    def type(self, keys: str) -> None:
        self._from = len(self.seen)
        os.write(self._ours, keys.encode())

    def wait_for(self, words: str, timeout_s: float = 30) -> None:
        """Until `words` are on the screen, after what was typed last."""
        deadline = time.monotonic() + timeout_s
        while words not in plain(self.seen[self._from :]):
            assert time.monotonic() < deadline, f"no {words!r} in {plain(self.seen)!r}"
            self._read()

    def exit_code(self, timeout_s: float = 20) -> int:
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read()
        assert self.process.returncode is not None, plain(self.seen)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)

    def _read(self) -> None:
        if select.select([self._ours], [], [], 0.1)[0]:
            try:
                data = os.read(self._ours, 65_536).decode(errors="replace")
            except OSError:  # the program has closed its end
                time.sleep(0.05)
                return
            self.seen += data
            if "\x1b[6n" in data:  # it asks where the cursor is, as a terminal knows
                os.write(self._ours, b"\x1b[1;1R")


def _control_terminal() -> None:
    """Make standard input the controlling terminal, so that Ctrl-C is a signal."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r", "", text)


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    return [sys.executable, "-m", "tests.support.terminal_chat", str(tmp_path / "chat.db")]


@pytest.fixture
def keyboard(command: list[str]) -> Iterator[Keyboard]:
    keyboard = Keyboard(command)
    keyboard.wait_for("Type /help")
    keyboard.wait_for(PROMPT)
    yield keyboard
    keyboard.close()


def test_question_answer_and_ctrl_d(keyboard: Keyboard) -> None:
    keyboard.type("turns\r")
    keyboard.wait_for("0 before\n")
    keyboard.wait_for(PROMPT)
    keyboard.type(CTRL_D)
    assert keyboard.exit_code() == 0


def test_ctrl_c_stops_the_reply_and_the_chat_goes_on(keyboard: Keyboard) -> None:
    keyboard.type("a long one\r")
    keyboard.wait_for("word2")
    keyboard.type(CTRL_C)
    keyboard.wait_for("Stopped.")
    keyboard.wait_for(PROMPT)
    keyboard.type("turns\r")
    keyboard.wait_for("1 before\n")
    keyboard.wait_for(PROMPT)
    keyboard.type("/quit\r")
    assert keyboard.exit_code() == 0
    assert "word30" not in keyboard.seen


def test_ctrl_c_twice_leaves(keyboard: Keyboard) -> None:
    keyboard.type("a long one\r")
    keyboard.wait_for("word1")
    keyboard.type(CTRL_C)
    keyboard.wait_for("Stopped.")
    keyboard.wait_for(PROMPT)
    keyboard.type(CTRL_C)
    assert keyboard.exit_code() == 0
    assert "Traceback" not in keyboard.seen


def test_ctrl_c_at_the_prompt_hints_then_leaves(keyboard: Keyboard) -> None:
    keyboard.type("half a li" + CTRL_C)
    keyboard.wait_for("to leave.")
    keyboard.wait_for(PROMPT)
    keyboard.type(CTRL_C)
    assert keyboard.exit_code() == 0


def test_completion_of_commands(keyboard: Keyboard) -> None:
    keyboard.type("/pers")
    keyboard.wait_for("/persona show")
    keyboard.wait_for("Show my persona here")
    keyboard.type(CTRL_C)


def test_history(keyboard: Keyboard) -> None:
    keyboard.type("turns\r")
    keyboard.wait_for("0 before\n")
    keyboard.wait_for(PROMPT)
    keyboard.type("\x1b[A\r")
    keyboard.wait_for("1 before\n")


def test_a_reply_cannot_speak_to_the_terminal(keyboard: Keyboard) -> None:
    keyboard.type("escape\r")
    keyboard.wait_for("]0;owned[31mred1m")
    assert "\x1b]0;owned" not in keyboard.seen
    assert "\x9b1m" not in keyboard.seen


def test_a_reply_still_owed_is_shown_with_its_question(command: list[str]) -> None:
    first = Keyboard(command)
    first.wait_for(PROMPT)
    first.type("a long story\r")
    first.wait_for("word1")
    first.process.kill()
    first.close()
    database = command[-1]
    _shorten(database)
    second = Keyboard(command)
    second.wait_for("You asked earlier: a brief story")
    second.wait_for("a brief story\n")
    second.close()


def _shorten(database: str) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE messages SET text = 'a brief story'")
        connection.commit()
