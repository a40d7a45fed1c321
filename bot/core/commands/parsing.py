"""Typed commands: parsing, completion and help. Re-exports the registry."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bot.core.commands import texts
from bot.core.commands.registry import (
    COMMANDS,
    ROOTS,
    SCOPES,
    Command,
    Kind,
    Parameter,
    describe,
)
from bot.core.personas import LIBRARY

__all__ = [
    "COMMANDS",
    "PREFIXES",
    "SCOPES",
    "Command",
    "CommandError",
    "Completion",
    "Kind",
    "Parameter",
    "ParsedCommand",
    "complete",
    "help_text",
    "is_command",
    "looks_like_command",
    "parse",
]

PREFIXES = ("/", "!")  # "!": Slack has no slash commands in threads
# Phones and chat clients turn "--" into a dash and straight quotes into curly ones.
_COMMAND_LIKE = re.compile(r"/[a-z]+(?:\s|\Z)", re.IGNORECASE)
_OPTION = re.compile(r"\s*(?:--|—)([^\s=]*)(=?)")
_SETTING = re.compile(r"\s*([A-Za-z_-]+)=")
_VALUE = re.compile(r"""\s*(?:["“”]([^"“”]*)["“”]|(\S+))""")


@dataclass(frozen=True, slots=True)
class ParsedCommand:
    """What `CommandInvoked` needs: the command's name, its arguments, how commands begin here."""

    name: str
    args: Mapping[str, str]
    prefix: str = "/"


@dataclass(frozen=True, slots=True)
class CommandError:
    """The command can't be run; `text` says why and what to type instead."""

    text: str


@dataclass(frozen=True, slots=True)
class Completion:
    """One way to continue: the whole resulting line, and what it means."""

    text: str
    help: str


def is_command(text: str) -> bool:
    """Whether a message begins with one of the commands, complete or not."""
    match = re.match(r"\s*[/!](\S+)", text)
    return match is not None and match[1].lower() in ROOTS


def looks_like_command(text: str) -> bool:
    """Whether a line is typed like a command, perhaps a mistyped one: "/sotp", not "/usr/bin"."""
    return _COMMAND_LIKE.match(text) is not None


def parse(text: str, prefix: str = "") -> ParsedCommand | CommandError:
    """Read a typed command: `/persona set --thread You are a pirate.`

    `prefix`: how commands begin where it was typed, if not as in `text`; texts name them so.
    """
    text = text.strip()
    if not text.startswith(PREFIXES):
        return CommandError(texts.no_command(prefix or PREFIXES[0]))
    prefix = prefix or text[0]
    command, rest = _split_name(text[1:])
    if command is None:
        return _unknown(text[1:], prefix)
    options, rest = _split_options(command, rest, prefix)
    if isinstance(options, CommandError):
        return options
    return _with_positionals(command, options, rest, prefix)


def complete(prefix: str) -> list[Completion]:
    """How a line can continue; [] where anything may follow."""
    if not prefix.startswith("/"):
        return []
    typed = " ".join(prefix.split()).lower() + (" " if prefix[-1].isspace() else "")
    names = [
        Completion(f"/{command.name}{' ' if command.parameters else ''}", command.help)
        for command in COMMANDS.values()
        if f"/{command.name}".startswith(typed)
    ]
    if names:
        return names
    command, rest = _split_name(prefix[1:])
    return list(_complete_parameters(command, prefix, rest)) if command else []


def help_text(name: str = "", prefix: str = "/") -> str:
    """Help on one command, or on all of them, where commands begin with `prefix`."""
    topic = " ".join(name.lstrip("/!").split()).lower()
    if not topic:
        lines = [f"`{command.usage(prefix)}` {command.help}." for command in COMMANDS.values()]
        return "\n".join([*lines, texts.more_help(prefix)])
    commands = [
        command
        for command in COMMANDS.values()
        if command.name == topic or command.name.startswith(f"{topic} ")
    ]
    if not commands:
        return _unknown(topic, prefix).text
    return "\n\n".join(describe(command, prefix) for command in commands)


def _split_name(line: str) -> tuple[Command | None, str]:
    """The command that `line` (without its slash) begins with, and what follows."""
    match = re.match(r"(\S+)(?:\s+(\S+))?", line)
    if match is None:
        return None, line
    first, second = match[1].lower(), (match[2] or "").lower()
    two_words = COMMANDS.get(f"{first} {second}")
    if two_words is not None:
        return two_words, line[match.end() :]
    return COMMANDS.get(first), line[match.end(1) :]


def _unknown(line: str, prefix: str) -> CommandError:
    words = line.lower().split()[:2]
    root = words[0].lstrip("/!") if words else ""
    if root in ROOTS:
        subcommands = [name.split()[1] for name in COMMANDS if name.startswith(f"{root} ")]
        return CommandError(texts.unknown_subcommand(prefix, root, subcommands))
    typed = " ".join(words)[:40]
    close = difflib.get_close_matches(typed, COMMANDS, 1, 0.6) or difflib.get_close_matches(
        root[:40], COMMANDS, 1, 0.6
    )
    suggestion = close[0] if close else None
    return CommandError(texts.unknown_command(prefix, root[:40], suggestion))


def _split_options(
    command: Command, rest: str, prefix: str = "/"
) -> tuple[dict[str, str] | CommandError, str]:
    """Take the options off the front of `rest`; `--` alone ends them."""
    options: dict[str, str] = {}
    while True:
        setting = _setting(command, rest)
        match = setting or _OPTION.match(rest)
        if match is None:
            break
        rest = rest[match.end() :]
        if not match[1]:
            break
        flag = f"--{match[1].lower().replace('_', '-')}"
        parameter = next((p for p in command.parameters if flag in p.flags), None)
        if parameter is None:
            return _unknown_option(command, flag, prefix), rest
        if parameter.kind is Kind.SCOPE:
            options[parameter.name] = match[1].lower()
            continue
        value = _VALUE.match(rest)
        if value is None:
            is_number = parameter.kind is Kind.NUMBER
            return CommandError(texts.no_value(flag, number=is_number)), rest
        options[parameter.name] = value[1] if value[1] is not None else value[2]
        rest = rest[value.end() :]
    return options, rest.strip()


def _setting(command: Command, rest: str) -> re.Match[str] | None:
    """`mode=` if the command has such a setting; other texts may contain "=", too."""
    match = _SETTING.match(rest)
    if match is None:
        return None
    name = match[1].lower().replace("-", "_")
    is_setting = any(p.name == name and p.kind is Kind.SETTING for p in command.parameters)
    return match if is_setting else None


def _unknown_option(command: Command, flag: str, prefix: str) -> CommandError:
    flags = [each for parameter in command.parameters for each in parameter.flags]
    if not flags:
        return CommandError(texts.no_options(prefix, command.name))
    close = difflib.get_close_matches(flag, flags, 1, 0.5)
    suggestion = close[0] if close else None
    return CommandError(texts.unknown_option(prefix, command.name, flag[:40], suggestion, flags))


def _with_positionals(
    command: Command, args: dict[str, str], rest: str, prefix: str
) -> ParsedCommand | CommandError:
    """Read the positional parameters: the first word, if the command has one, and the rest."""
    if command.word is not None:
        word = _VALUE.match(rest)
        if word is None:
            return _missing(command, command.word, prefix)
        args[command.word.name] = word[1] if word[1] is not None else word[2]
        # Options may also follow the name: /persona-library add pirate --top-k 1 ...
        options, rest = _split_options(command, rest[word.end() :], prefix)
        if isinstance(options, CommandError):
            return options
        args |= options
    parameter = command.rest
    if parameter is None:
        if rest:
            usage = command.usage(prefix)
            return CommandError(texts.no_arguments(prefix, command.name, usage))
    elif rest:
        args[parameter.name] = rest
    elif parameter.required:
        return _missing(command, parameter, prefix)
    return ParsedCommand(command.name, args, prefix)


def _missing(command: Command, parameter: Parameter, prefix: str) -> CommandError:
    usage = command.usage(prefix)
    return CommandError(texts.missing_argument(prefix, command.name, parameter.name, usage))


def _complete_parameters(command: Command, prefix: str, rest: str) -> Iterator[Completion]:
    start, _, word = prefix.rpartition(" ")
    settings = [p for p in command.parameters if p.kind is Kind.SETTING]
    if word.startswith("-"):
        for parameter in command.parameters:
            for flag in parameter.flags:
                if flag.startswith(word.lower()):
                    yield Completion(f"{start} {flag} ", parameter.help)
        return
    for parameter in settings:
        written = [f"{parameter.name}={choice}" for choice in parameter.choices]
        for option in written or [f"{parameter.name}="]:
            if option.startswith(word.lower()):
                yield Completion(f"{start} {option}", parameter.help)
    _, typed = _split_options(command, rest)
    chosen = command.rest
    if chosen is not None and prefix.endswith(typed):
        line = prefix[: len(prefix) - len(typed)]
        for choice in chosen.choices:
            if choice.startswith(typed.lower()):
                yield Completion(f"{line}{choice}", LIBRARY.get(choice, chosen.help))
