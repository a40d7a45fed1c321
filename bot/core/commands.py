"""The commands: one registry that parsing, completion, help and native menus are made of."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from bot.core.personas import LIBRARY, SAMPLING_FIELDS

PREFIXES = ("/", "!")  # "!" because Slack knows no slash commands in threads
SCOPES = ("channel", "thread", "workspace")


class Kind(StrEnum):
    """How a parameter is written."""

    REST = "rest"  # all that follows the options, as it is
    SCOPE = "scope"  # --channel, --thread or --workspace
    NUMBER = "number"  # --top-p 0.9


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a command; `name` is its key in `CommandInvoked.args`."""

    name: str
    help: str
    kind: Kind = Kind.REST
    required: bool = False
    choices: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """How it is written as an option; () for the rest of the line."""
        if self.kind is Kind.SCOPE:
            return tuple(f"--{choice}" for choice in self.choices)
        if self.kind is Kind.NUMBER:
            return (f"--{self.name.replace('_', '-')}",)
        return ()


@dataclass(frozen=True, slots=True)
class Command:
    """A command as people see it. `admin_only`: the core refuses it to others."""

    name: str
    help: str
    parameters: tuple[Parameter, ...] = ()
    admin_only: bool = False

    @property
    def rest(self) -> Parameter | None:
        """The parameter that takes the rest of the line."""
        return next((p for p in self.parameters if p.kind is Kind.REST), None)

    @property
    def usage(self) -> str:
        """How it is typed, in one line."""
        words = [f"/{self.name}"]
        if any(p.kind is Kind.SCOPE for p in self.parameters):
            words.append("[--thread | --workspace]")
        if any(p.kind is Kind.NUMBER for p in self.parameters):
            words.append("[--temperature 0.7 ...]")
        if self.rest:
            words.append(f"<{self.rest.name}>" if self.rest.required else f"[{self.rest.name}]")
        return " ".join(words)


_SCOPE = Parameter(
    "scope",
    "Where it counts: the whole channel (unless said otherwise), only this thread, "
    "or every channel of the workspace that has none of its own",
    Kind.SCOPE,
    choices=SCOPES,
)
_SAMPLING_HELP = {
    "temperature": "How freely it chooses words, 0 (always the likeliest) to 5",
    "top_k": "Choose among the k likeliest tokens; 0 is off",
    "top_p": "Choose among the likeliest tokens that make up this share, above 0 to 1 (off)",
    "min_p": "Leave out tokens less likely than this share of the likeliest; 0 is off",
    "repetition_penalty": "Above 1 it avoids repeating itself; 1 is off",
    "seed": "The same number gives the same reply to the same conversation",
    "max_new_tokens": "The longest reply, in tokens (never more than the operator allows)",
}
_SAMPLING = tuple(Parameter(name, _SAMPLING_HELP[name], Kind.NUMBER) for name in SAMPLING_FIELDS)

COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        Command(
            "persona set",
            "Set who I am in this channel, from the next message on",
            (
                Parameter("text", "The persona, as you would tell it me", required=True),
                _SCOPE,
                *_SAMPLING,
            ),
            admin_only=True,
        ),
        Command("persona show", "Show who I am here, who set it and when"),
        Command("persona clear", "Clear the persona here: it inherits again", (_SCOPE,), True),
        Command("persona list", "List the personas that come with me"),
        Command(
            "persona use",
            "Take a persona from that list",
            (Parameter("name", "Its name", required=True, choices=tuple(LIBRARY)), _SCOPE),
            admin_only=True,
        ),
        Command("reset", "Stop, and delete what I remember of this conversation"),
        Command("stop", "Stop the reply that I am writing here"),
        Command("help", "Say what I can do", (Parameter("command", "One command only"),)),
    )
}
_ROOTS = frozenset(name.split()[0] for name in COMMANDS)


@dataclass(frozen=True, slots=True)
class ParsedCommand:
    """What `CommandInvoked` needs: the command's name and its arguments."""

    name: str
    args: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CommandError:
    """The text is no command that can be run; `text` says why and what to type instead."""

    text: str


@dataclass(frozen=True, slots=True)
class Completion:
    """One way to go on: the whole line as it would be then, and what it means."""

    text: str
    help: str


def is_command(text: str) -> bool:
    """Whether a message is meant as one of the commands, rightly typed or not."""
    match = re.match(r"\s*[/!](\S+)", text)
    return match is not None and match[1].lower() in _ROOTS


def parse(text: str) -> ParsedCommand | CommandError:
    """Read a typed command: `/persona set --thread You are a pirate.`"""
    text = text.strip()
    if not text.startswith(PREFIXES):
        return CommandError("A command starts with a slash, for example /help.")
    command, rest = _split_name(text[1:])
    if command is None:
        return _unknown(text[1:])
    options, rest = _split_options(command, rest)
    if isinstance(options, CommandError):
        return options
    return _with_rest(command, options, rest)


def complete(prefix: str) -> list[Completion]:
    """How a line that begins like this can go on; [] where anything can follow."""
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


def help_text(name: str = "") -> str:
    """Help on one command, or on all of them."""
    wanted = " ".join(name.lstrip("/!").split()).lower()
    if not wanted:
        lines = [f"`{command.usage}` {command.help}." for command in COMMANDS.values()]
        lines.append("`/help persona set` and the like tell more.")
        return "\n".join(lines)
    found = [
        command
        for command in COMMANDS.values()
        if command.name == wanted or command.name.startswith(f"{wanted} ")
    ]
    return "\n\n".join(map(_help_on, found)) if found else _unknown(wanted).text


def _help_on(command: Command) -> str:
    admins = " For admins." if command.admin_only else ""
    lines = [f"`{command.usage}`", f"{command.help}.{admins}"]
    for parameter in command.parameters:
        flags = " or ".join(f"`{flag}`" for flag in parameter.flags) or f"<{parameter.name}>"
        choices = f" ({', '.join(parameter.choices)})" if parameter.kind is Kind.REST else ""
        lines.append(f"- {flags}: {parameter.help}{choices if parameter.choices else ''}.")
    return "\n".join(lines)


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


def _unknown(line: str) -> CommandError:
    words = line.lower().split()[:2]
    root = words[0].lstrip("/!") if words else ""
    if root in _ROOTS:
        known = [name.split()[1] for name in COMMANDS if name.startswith(f"{root} ")]
        return CommandError(f"/{root} is followed by one of: {', '.join(known)}.")
    typed = " ".join(words)[:40]
    close = difflib.get_close_matches(typed, COMMANDS, 1, 0.6) or difflib.get_close_matches(
        root[:40], COMMANDS, 1, 0.6
    )
    hint = f" Did you mean /{close[0]}?" if close else " /help lists them."
    return CommandError(f"I know no command /{root[:40]}.{hint}")


def _split_options(command: Command, rest: str) -> tuple[dict[str, str] | CommandError, str]:
    """Take the options off the front of `rest`; `--` alone ends them."""
    options: dict[str, str] = {}
    # Phones and chat clients make one long dash of two short ones.
    while match := re.match(r"\s*(?:--|—)(\S*)", rest):
        rest = rest[match.end() :]
        if not match[1]:
            break
        word, _, value = match[1].partition("=")
        flag = f"--{word.lower()}"
        parameter = next((p for p in command.parameters if flag in p.flags), None)
        if parameter is None:
            return _unknown_option(command, flag), rest
        if parameter.kind is Kind.SCOPE:
            options[parameter.name] = word.lower()
            continue
        if not value:
            number = re.match(r"\s*(\S+)", rest)
            value, rest = (number[1], rest[number.end() :]) if number else ("", rest)
        if not value:
            return CommandError(f"{flag} needs a number."), rest
        options[parameter.name] = value
    return options, rest.strip()


def _unknown_option(command: Command, flag: str) -> CommandError:
    known = [known for parameter in command.parameters for known in parameter.flags]
    if not known:
        return CommandError(f"/{command.name} takes no options.")
    close = difflib.get_close_matches(flag, known, 1, 0.5)
    hint = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(known)}."
    return CommandError(f"/{command.name} has no option {flag[:40]}. {hint}")


def _with_rest(command: Command, args: dict[str, str], rest: str) -> ParsedCommand | CommandError:
    parameter = command.rest
    if parameter is None:
        if rest:
            return CommandError(f"/{command.name} takes nothing after it. Type: {command.usage}")
    elif rest:
        args[parameter.name] = rest
    elif parameter.required:
        return CommandError(f"/{command.name} needs a {parameter.name}. Type: {command.usage}")
    return ParsedCommand(command.name, args)


def _complete_parameters(command: Command, prefix: str, rest: str) -> Iterator[Completion]:
    start, _, word = prefix.rpartition(" ")
    if word.startswith("-"):
        for parameter in command.parameters:
            for flag in parameter.flags:
                if flag.startswith(word.lower()):
                    yield Completion(f"{start} {flag} ", parameter.help)
        return
    _, typed = _split_options(command, rest)
    chosen = command.rest
    if chosen is not None and prefix.endswith(typed):
        line = prefix[: len(prefix) - len(typed)]
        for choice in chosen.choices:
            if choice.startswith(typed.lower()):
                yield Completion(f"{line}{choice}", LIBRARY.get(choice, chosen.help))
