"""Commands are named as they are typed where the reader is: by a slash, "!" or "/parley "."""

from __future__ import annotations

import re

import pytest

from bot.core.commands.parsing import COMMANDS, CommandError, help_text, parse
from bot.core.commands.registry import describe
from bot.core.events import CommandInvoked
from tests.support.core_rig import ADMIN, CHANNEL, Rig

SLACK = "/parley "
#: A command that is named in another form than "/parley ...".
ELSEWHERE = re.compile(
    rf"(?<!\w)[/!](?!parley )({'|'.join(name.split()[0] for name in COMMANDS)})\b"
)


@pytest.mark.parametrize(
    "text",
    ["dance", "persona dance", "persona set", "persona set --x y", "stop now", "stop -- x", "hepl"],
)
def test_what_is_wrong_is_said_in_the_form_that_works_there(text: str) -> None:
    error = parse(f"/{text}", SLACK)
    assert isinstance(error, CommandError)
    assert SLACK in error.text
    assert not ELSEWHERE.search(error.text)


@pytest.mark.parametrize("prefix", ["/", "!"])
def test_a_typed_command_is_answered_in_its_own_form(prefix: str) -> None:
    error = parse(f"{prefix}dance")
    assert isinstance(error, CommandError)
    assert f"{prefix}help" in error.text
    parsed = parse(f"{prefix}help")
    assert not isinstance(parsed, CommandError)
    assert parsed.prefix == prefix


def test_help_is_in_the_form_that_works_there() -> None:
    for text in (help_text(prefix=SLACK), *(describe(c, SLACK) for c in COMMANDS.values())):
        assert SLACK in text
        assert not ELSEWHERE.search(text)


@pytest.mark.parametrize("name", ["help", "persona list", "settings show", "forget"])
async def test_answers_are_in_the_form_that_works_there(name: str) -> None:
    reply = await Rig().service.handle(CommandInvoked(CHANNEL, ADMIN, name, prefix=SLACK))
    assert reply is not None
    assert SLACK in reply.text
    assert not ELSEWHERE.search(reply.text)


async def test_in_a_thread_of_slack_they_begin_with_an_exclamation_mark() -> None:
    rig = Rig()
    reply = await rig.service.handle(rig.message("!persona list"))
    assert reply is not None
    assert "`!persona use <name>`" in reply.text
