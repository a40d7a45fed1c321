"""Typed commands: parsing, errors with suggestions, completion, help."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.commands.parsing import (
    COMMANDS,
    CommandError,
    ParsedCommand,
    complete,
    help_text,
    is_command,
    looks_like_command,
    parse,
)


@pytest.mark.parametrize(
    ("text", "name", "args"),
    [
        ("/persona set You are kind.", "persona set", {"text": "You are kind."}),
        ("/persona set  Two\n lines ", "persona set", {"text": "Two\n lines"}),
        ("/persona set --thread Hi", "persona set", {"scope": "thread", "text": "Hi"}),
        ("/persona set —workspace Hi", "persona set", {"scope": "workspace", "text": "Hi"}),
        ("/persona set --top-p 0.9 --seed=4 Hi", "persona set",
         {"top_p": "0.9", "seed": "4", "text": "Hi"}),
        ("/persona set -- --thread is a word", "persona set", {"text": "--thread is a word"}),
        ("/PERSONA Show", "persona show", {}),
        ("/persona use --channel love bug", "persona use",
         {"scope": "channel", "name": "love bug"}),
        ("/persona clear --thread", "persona clear", {"scope": "thread"}),
        ("!stop", "stop", {}),
        ("  /reset  ", "reset", {}),
        ("/help persona set", "help", {"command": "persona set"}),
        ("/persona preview --question “Who are you?” Be kind.", "persona preview",
         {"question": "Who are you?", "text": "Be kind."}),
        ("/persona set x=1 is an equation", "persona set", {"text": "x=1 is an equation"}),
        ('/persona-library add "sea dog" --top-k 1 Arr.', "persona-library add",
         {"name": "sea dog", "top_k": "1", "text": "Arr."}),
        ("/persona-library edit dog", "persona-library edit", {"name": "dog"}),
        ("/persona-library remove sea dog", "persona-library remove", {"name": "sea dog"}),
        ("/settings set mode=always inline=on --thread", "settings set",
         {"mode": "always", "inline": "on", "scope": "thread"}),
        ("!settings set --retention-days 7 answer-bots=off", "settings set",
         {"retention_days": "7", "answer_bots": "off"}),
        ("/forget me", "forget", {"what": "me"}),
        ("/usage 7", "usage", {"days": "7"}),
    ],
)  # fmt: skip
def test_parse(text: str, name: str, args: dict[str, str]) -> None:
    assert parse(text) == ParsedCommand(name, args, text.strip()[0])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hello", "starts with a slash"),
        ("/", "/help lists them"),
        ("/persona", "followed by one of: set, show, clear, list, use"),
        ("/persona sett x", "followed by one of"),
        ("/persnoa set x", "Did you mean /persona set?"),
        ("/stpo", "Did you mean /stop?"),
        ("/frobnicate", "/help lists them"),
        ("/persona set", "needs the persona's instructions. Usage: /persona set [--thread | "),
        ("/persona set --thred x", "Did you mean --thread?"),
        ("/persona set --temperature", "--temperature needs a number"),
        ("/stop now", "takes nothing after it"),
        ("/settings set colour=red", "takes nothing after it"),
        ("/settings set mode=", "--mode needs a value"),
        ("/persona-library add", "needs the persona's name"),
        ("/persona-library add dog", "needs the persona's instructions"),
        ("/forget", "/forget needs `me` or `here`. Usage: /forget <what>"),
        ("/stop --thread", "takes no options"),
    ],
)
def test_errors_say_what_to_type(text: str, told: str) -> None:
    error = parse(text)
    assert isinstance(error, CommandError)
    assert told in error.text
    assert "\n" not in error.text


@given(st.text() | st.text().map("/persona set --".__add__) | st.text().map("/".__add__))
def test_any_text_is_a_command_or_a_short_error(text: str) -> None:
    parsed = parse(text)
    if isinstance(parsed, CommandError):
        assert 0 < len(parsed.text) < 400
    else:
        assert parsed.args.keys() <= {p.name for p in COMMANDS[parsed.name].parameters}
    complete(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("/stop", True), ("!Persona xyz", True), (" /help me", True), ("/etc/passwd", False),
     ("stop", False), ("! stop", False), ("", False), ("/stopping", False)],
)  # fmt: skip
def test_is_command(text: str, meant: bool) -> None:
    assert is_command(text) is meant


@pytest.mark.parametrize(
    ("prefix", "lines"),
    [
        ("/st", ["/stop"]),
        ("/persona s", ["/persona set ", "/persona show"]),
        ("/persona use p", ["/persona use pirate", "/persona use physicist"]),
        ("/persona use --thread lo", ["/persona use --thread love bug"]),
        ("/persona use love b", ["/persona use love bug"]),
        ("/persona set --th", ["/persona set --thread "]),
        ("/persona clear --", ["/persona clear --channel ", "/persona clear --thread ",
                               "/persona clear --workspace "]),
        ("/persona set You", []),
        ("hello", []),
        ("", []),
    ],
)  # fmt: skip
def test_complete(prefix: str, lines: list[str]) -> None:
    assert [completion.text for completion in complete(prefix)] == lines


def test_a_slash_offers_every_command() -> None:
    assert [c.text.strip() for c in complete("/")] == [f"/{name}" for name in COMMANDS]


def test_help_names_every_command_and_every_option() -> None:
    assert all(f"`/{name}" in help_text() for name in COMMANDS)
    told = help_text("persona set")
    for flag in ("--thread", "--workspace", "--temperature", "--max-new-tokens"):
        assert f"`{flag}`" in told
    assert "Admins only" in told
    of_persona = [name for name in COMMANDS if name.startswith("persona ")]
    assert help_text("/persona").count("`/persona") == len(of_persona)
    assert "There's no command" in help_text("dance")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/reset", True),
        ("/sotp", True),
        ("/Persona show", True),
        ("/usr/bin is what?", False),
        ("//", False),
        ("/", False),
        (" /reset", False),
        ("reset", False),
    ],
)
def test_looks_like_command(text: str, expected: bool) -> None:
    assert looks_like_command(text) is expected
