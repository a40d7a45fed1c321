"""The registry of commands that parsing, completion, help and native menus are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bot.core.limits import MAX_DAYS, USAGE_DAYS
from bot.core.personas import LIBRARY, SAMPLING_FIELDS
from bot.core.records import Mode

SCOPES = ("channel", "thread", "workspace")
INHERIT = "inherit"  # the value of a setting that takes it back
SWITCH = ("on", "off", INHERIT)


class Kind(StrEnum):
    """How a parameter is written."""

    REST = "rest"  # all that follows the others, as it is
    WORD = "word"  # the first word, in quotes if there are blanks in it
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
    limits: tuple[int, int] | None = None  # of a whole number: the least and the greatest

    @property
    def flags(self) -> tuple[str, ...]:
        """How it is written as an option; () for the words without one."""
        if self.kind is Kind.SCOPE:
            return tuple(f"--{choice}" for choice in self.choices)
        if self.kind in (Kind.NUMBER, Kind.TEXT, Kind.SETTING):
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
    def word(self) -> Parameter | None:
        """The parameter that is the first word."""
        return next((p for p in self.parameters if p.kind is Kind.WORD), None)

    @property
    def rest(self) -> Parameter | None:
        """The parameter that takes the rest of the line."""
        return next((p for p in self.parameters if p.kind is Kind.REST), None)

    @property
    def usage(self) -> str:
        """How it is typed, in one line."""
        kinds = {p.kind for p in self.parameters}
        words = [f"/{self.name}"]
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
_TEXT = Parameter("text", "The persona, as you would tell it me", required=True)
_LIBRARY_NAME = Parameter("name", "Its name", Kind.WORD, required=True)
_SETTINGS = (
    Parameter(
        "mode",
        "When I answer: when mentioned (and in threads that I am in), always, never, or strictly "
        "when mentioned",
        Kind.SETTING,
        choices=(*Mode, INHERIT),
    ),
    Parameter(
        "inline",
        "Answer in the channel itself instead of opening a thread",
        Kind.SETTING,
        choices=SWITCH,
    ),
    Parameter("answer_bots", "Answer bots that mention me", Kind.SETTING, choices=SWITCH),
    Parameter(
        "retention_days", "Delete what I remember after so many days; 0 keeps it", Kind.SETTING
    ),
    Parameter("max_images", "How many pictures I look at at once, at most", Kind.SETTING),
)

COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        Command(
            "persona set",
            "Set who I am in this channel, from the next message on",
            (_TEXT, _SCOPE, *_SAMPLING),
            admin_only=True,
        ),
        Command("persona show", "Show who I am here, who set it and when"),
        Command("persona clear", "Clear the persona here: it inherits again", (_SCOPE,), True),
        Command("persona list", "List the personas there are to take: mine and your own"),
        Command(
            "persona use",
            "Take a persona from that list",
            (Parameter("name", "Its name", required=True, choices=tuple(LIBRARY)), _SCOPE),
            admin_only=True,
        ),
        Command("persona history", "List who set the persona here before, and how", (_SCOPE,)),
        Command(
            "persona undo",
            "Bring back the persona before this one; once more brings this one back",
            (_SCOPE,),
            admin_only=True,
        ),
        Command(
            "persona preview",
            "Try a persona on a question, for you alone; nothing is saved",
            (_TEXT, Parameter("question", "What to ask it", Kind.TEXT), *_SAMPLING),
            admin_only=True,
        ),
        Command(
            "persona default",
            "Set who I am in every channel of the workspace that has no persona of its own",
            (_TEXT, *_SAMPLING),
            admin_only=True,
        ),
        Command(
            "persona-library add",
            "Add a persona to your library",
            (_LIBRARY_NAME, _TEXT, *_SAMPLING),
            admin_only=True,
        ),
        Command(
            "persona-library edit",
            "Change a persona of your library; what you leave out stays",
            (_LIBRARY_NAME, Parameter("text", "The new text"), *_SAMPLING),
            admin_only=True,
        ),
        Command(
            "persona-library remove",
            "Remove a persona from your library",
            (Parameter("name", "Its name", required=True),),
            admin_only=True,
        ),
        Command("persona-library list", "List the personas there are to take: mine and your own"),
        Command("reset", "Stop, and delete what I remember of this conversation"),
        Command("stop", "Stop the reply that I am writing here"),
        Command(
            "forget",
            "Delete what I remember: of you in the whole workspace, or of this place",
            (
                Parameter(
                    "what",
                    "me: all that you wrote to me, and my replies to it; here: this thread, or "
                    "this channel with its threads",
                    required=True,
                    choices=("me", "here"),
                ),
            ),
        ),
        Command("settings show", "Show how I behave here"),
        Command("settings set", "Change how I behave here", (*_SETTINGS, _SCOPE), admin_only=True),
        Command(
            "usage",
            "Show what my replies took: yours, and for admins everybody's",
            (
                Parameter(
                    "days",
                    f"Of how many days, {USAGE_DAYS} unless said otherwise",
                    limits=(1, MAX_DAYS),
                ),
            ),
        ),
        Command("audit", "Show the last changes of personas and settings", admin_only=True),
        Command("help", "Say what I can do", (Parameter("command", "One command only"),)),
    )
}
ROOTS = frozenset(name.split()[0] for name in COMMANDS)


def describe(command: Command) -> str:
    """Help on one command."""
    admins = " For admins." if command.admin_only else ""
    lines = [f"`{command.usage}`", f"{command.help}.{admins}"]
    for parameter in command.parameters:
        flags = " or ".join(f"`{flag}`" for flag in parameter.flags) or f"<{parameter.name}>"
        chosen = parameter.choices and parameter.kind is not Kind.SCOPE
        choices = f" ({', '.join(parameter.choices)})" if chosen else ""
        lines.append(f"- {flags}: {parameter.help}{choices}.")
    return "\n".join(lines)
