"""The registry of commands; parsing, completion, help and native menus are built from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bot.core.commands.texts import ADMINS_ONLY, COMMAND_HELP, PARAMETER_HELP
from bot.core.limits import MAX_DAYS
from bot.core.personas import LIBRARY, SAMPLING_FIELDS
from bot.core.records import Mode
from bot.core.scoped_settings import INHERIT, SWITCH

SCOPES = ("channel", "thread", "workspace")


class Kind(StrEnum):
    """How a parameter is written."""

    REST = "rest"  # the rest of the line, unchanged
    WORD = "word"  # the first word, in quotes if it has spaces
    SCOPE = "scope"  # --channel, --thread or --workspace
    NUMBER = "number"  # --top-p 0.9
    TEXT = "text"  # --question "Who are you?"
    SETTING = "setting"  # mode=always, or --mode always


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a command; `name` is its key in `CommandInvoked.args`.

    `choices` are shown and completed. Only a SCOPE is one of them for certain: personas by name
    are also a workspace's own, and what values a setting takes is the command's to say.
    """

    name: str
    help: str
    kind: Kind = Kind.REST
    required: bool = False
    choices: tuple[str, ...] = ()
    limits: tuple[int, int] | None = None  # of a whole number: minimum and maximum

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags it is written with; () for positional parameters."""
        if self.kind is Kind.SCOPE:
            return tuple(f"--{choice}" for choice in self.choices)
        if self.kind in (Kind.NUMBER, Kind.TEXT, Kind.SETTING):
            return (f"--{self.name.replace('_', '-')}",)
        return ()


@dataclass(frozen=True, slots=True)
class Command:
    """A command. `admin_only`: the core refuses it to others."""

    name: str
    help: str
    parameters: tuple[Parameter, ...] = ()
    admin_only: bool = False

    @property
    def word(self) -> Parameter | None:
        return next((p for p in self.parameters if p.kind is Kind.WORD), None)

    @property
    def rest(self) -> Parameter | None:
        return next((p for p in self.parameters if p.kind is Kind.REST), None)

    def usage(self, prefix: str = "/") -> str:
        """Its syntax in one line, where commands begin with `prefix`."""
        kinds = {p.kind for p in self.parameters}
        words = [f"{prefix}{self.name}"]
        if Kind.SCOPE in kinds:
            words.append("[--thread | --workspace]")
        if Kind.NUMBER in kinds:
            words.append("[--temperature 0.7 ...]")
        words += [f'[--{p.name} "..."]' for p in self.parameters if p.kind is Kind.TEXT]
        words += [f"[{p.name}=...]" for p in self.parameters if p.kind is Kind.SETTING]
        for parameter in (self.word, self.rest):
            if parameter is not None:
                name = parameter.name
                words.append(f"<{name}>" if parameter.required else f"[{name}]")
        return " ".join(words)


def _parameter(name: str, kind: Kind = Kind.REST, **options: Any) -> Parameter:
    return Parameter(name, PARAMETER_HELP[name], kind, **options)


def _command(name: str, *parameters: Parameter, admin_only: bool = False) -> Command:
    return Command(name, COMMAND_HELP[name], parameters, admin_only)


_SCOPE = _parameter("scope", Kind.SCOPE, choices=SCOPES)
_SAMPLING = tuple(_parameter(name, Kind.NUMBER) for name in SAMPLING_FIELDS)
_TEXT = _parameter("text", required=True)
_NAME = _parameter("name", required=True)
_NAME_FIRST = _parameter("name", Kind.WORD, required=True)
_SETTINGS = (
    _parameter("mode", Kind.SETTING, choices=(*Mode, INHERIT)),
    _parameter("inline", Kind.SETTING, choices=SWITCH),
    _parameter("answer_bots", Kind.SETTING, choices=SWITCH),
    _parameter("retention_days", Kind.SETTING),
    _parameter("max_images", Kind.SETTING),
)

COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        _command("persona set", _TEXT, _SCOPE, *_SAMPLING, admin_only=True),
        _command("persona show"),
        _command("persona clear", _SCOPE, admin_only=True),
        _command("persona list"),
        _command(
            "persona use",
            _parameter("name", required=True, choices=tuple(LIBRARY)),
            _SCOPE,
            admin_only=True,
        ),
        _command("persona history", _SCOPE),
        _command("persona undo", _SCOPE, admin_only=True),
        _command(
            "persona preview",
            _TEXT,
            _parameter("question", Kind.TEXT),
            *_SAMPLING,
            admin_only=True,
        ),
        _command("persona default", _TEXT, *_SAMPLING, admin_only=True),
        _command("persona-library add", _NAME_FIRST, _TEXT, *_SAMPLING, admin_only=True),
        _command(
            "persona-library edit",
            _NAME_FIRST,
            Parameter("text", PARAMETER_HELP["new_text"]),
            *_SAMPLING,
            admin_only=True,
        ),
        _command("persona-library remove", _NAME, admin_only=True),
        _command("persona-library list"),
        _command("reset"),
        _command("stop"),
        _command("forget", _parameter("what", required=True, choices=("me", "here"))),
        _command("settings show"),
        _command("settings set", *_SETTINGS, _SCOPE, admin_only=True),
        _command("usage", _parameter("days", limits=(1, MAX_DAYS))),
        _command("audit", admin_only=True),
        _command("help", _parameter("command")),
    )
}
ROOTS = frozenset(name.split()[0] for name in COMMANDS)


def describe(command: Command, prefix: str = "/") -> str:
    """Help on one command, where commands begin with `prefix`."""
    admins = f" {ADMINS_ONLY}" if command.admin_only else ""
    lines = [f"`{command.usage(prefix)}`", f"{command.help}.{admins}"]
    for parameter in command.parameters:
        flags = " or ".join(f"`{flag}`" for flag in parameter.flags) or f"<{parameter.name}>"
        has_choices = parameter.choices and parameter.kind is not Kind.SCOPE
        choices = f" ({', '.join(parameter.choices)})" if has_choices else ""
        lines.append(f"- {flags}: {parameter.help}{choices}.")
    return "\n".join(lines)
