"""Every command of the registry has an action: where one has none, nothing starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from bot.core.commands.actions import require_actions

FORGOTTEN_COMMAND = """
from bot.core.commands import registry

registry.COMMANDS = {**registry.COMMANDS, "dance": registry.Command("dance", "Dance")}
import bot.core.service
"""


@pytest.mark.parametrize(
    ("commands", "actions", "complaint"),
    [
        (("stop", "dance"), ("stop",), "commands without an action: dance"),
        (("stop",), ("stop", "dance"), "actions without a command: dance"),
    ],
)
def test_a_command_and_its_action_belong_together(
    commands: Sequence[str], actions: Sequence[str], complaint: str
) -> None:
    with pytest.raises(RuntimeError, match=complaint):
        require_actions(commands, actions)


def test_a_command_without_an_action_fails_at_import() -> None:
    program = [sys.executable, "-c", FORGOTTEN_COMMAND]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 1
    assert "commands without an action: dance" in done.stderr
