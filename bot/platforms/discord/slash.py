"""The slash commands, made of the core's registry, with autocomplete and forms."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol

import discord
from discord import app_commands

from bot.core.commands.parsing import COMMANDS, Command, Kind, Parameter

Interaction = discord.Interaction[Any]
Group = app_commands.Group
Choice = app_commands.Choice[str]

IN_SERVERS_AND_DMS = app_commands.AppCommandContext(
    guild=True, dm_channel=True, private_channel=False
)
EVERYWHERE = app_commands.AppCommandContext(guild=True, dm_channel=True, private_channel=True)
AS_MEMBER = app_commands.AppInstallationType(guild=True, user=False)
ANYHOW = app_commands.AppInstallationType(guild=True, user=True)

_SCOPE_LABELS = {
    "channel": "this channel",
    "thread": "this thread only",
    "workspace": "the whole server",
}
_GROUPS = {
    "persona": "Who I am here",
    "persona-library": "The personas of this server",
    "settings": "How I behave here",
}
_MAX_CHOICES = 25


class Runs(Protocol):
    """Who runs the commands: the adapter."""

    async def run(self, interaction: Interaction, command: Command, args: dict[str, str]) -> None:
        """Run a command of the core's registry."""
        ...

    async def suggest(self, interaction: Interaction, command: Command, typed: str) -> list[str]:
        """Names of personas that the command can take."""
        ...

    async def ask(
        self,
        interaction: Interaction,
        question: str,
        picture: discord.Attachment | None,
        private: bool,
    ) -> None:
        """Answer a question."""
        ...

    async def ask_about(self, interaction: Interaction, message: discord.Message) -> None:
        """Ask what is to be answered about a message."""
        ...

    async def summarise(self, interaction: Interaction, message: discord.Message) -> None:
        """Summarise what was written from a message on."""
        ...


def add_commands(tree: app_commands.CommandTree[Any], runs: Runs) -> None:
    """Put all commands and menus into the tree."""
    for root in dict.fromkeys(name.split()[0] for name in COMMANDS):
        tree.add_command(_root(root, runs))
    tree.add_command(_ask(runs))
    for menu in _menus(runs):
        tree.add_command(menu)


def _root(root: str, runs: Runs) -> Group | app_commands.Command[Any, ..., None]:
    members = [command for command in COMMANDS.values() if command.name.split()[0] == root]
    # Discord knows a default permission for a whole command only, not for one below it. Whoever
    # does not see it may type "@Parley /persona show" in a message.
    manage = discord.Permissions(manage_guild=True) if _for_admins(members) else None
    if members[0].name == root:
        command = _command(members[0], root, runs)
        command.default_permissions = manage
        _allow(command, root)
        return command
    group = Group(name=root, description=_GROUPS.get(root, root)[:100], default_permissions=manage)
    _allow(group, root)
    for member in members:
        group.add_command(_command(member, member.name.split()[1], runs))
    return group


def _for_admins(members: Iterable[Command]) -> bool:
    return any(member.admin_only for member in members)


def _allow(command: Group | app_commands.Command[Any, ..., None], root: str) -> None:
    help_ = root == "help"
    command.allowed_contexts = EVERYWHERE if help_ else IN_SERVERS_AND_DMS
    command.allowed_installs = ANYHOW if help_ else AS_MEMBER


def _command(command: Command, name: str, runs: Runs) -> app_commands.Command[Any, ..., None]:
    async def callback(interaction: Interaction, **options: Any) -> None:
        args = {key: str(value) for key, value in options.items() if value is not None}
        await runs.run(interaction, command, args)

    shown = [parameter for parameter in command.parameters if _is_option(command, parameter)]
    _set_signature(callback, shown)
    if shown:
        app_commands.describe(**{p.name: _cut(p.help) for p in shown})(callback)
    for parameter in shown:
        if parameter.name == "name":
            app_commands.autocomplete(name=_suggest(runs, command))(callback)
        elif parameter.name == "command":
            app_commands.autocomplete(command=_suggest_command)(callback)
    choices = {p.name: _choices(p) for p in shown if p.choices and p.name != "name"}
    if choices:
        app_commands.choices(**choices)(callback)
    return app_commands.Command(name=name, description=_cut(command.help), callback=callback)


def takes_form(command: Command) -> bool:
    """Whether its text is written in a form, with the sampling settings."""
    return any(parameter.name == "text" for parameter in command.parameters)


def _is_option(command: Command, parameter: Parameter) -> bool:
    if not takes_form(command):
        return True
    return parameter.kind is Kind.SCOPE or parameter.kind is Kind.WORD


def _set_signature(callback: Callable[..., Awaitable[None]], shown: list[Parameter]) -> None:
    """Give a callback the parameters that discord.py makes a command's options of."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("interaction", kind, annotation=discord.Interaction)]
    for parameter in sorted(shown, key=lambda p: not p.required):
        required = parameter.required
        annotation: Any = _annotation(parameter)
        parameters.append(
            inspect.Parameter(
                parameter.name,
                kind,
                annotation=annotation if required else annotation | None,
                default=inspect.Parameter.empty if required else None,
            )
        )
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]


def _annotation(parameter: Parameter) -> Any:
    if parameter.name == "days":
        return app_commands.Range[int, 1, 365]
    if parameter.choices and parameter.name != "name":
        return str
    return app_commands.Range[str, 1, 100]


def _choices(parameter: Parameter) -> list[Choice]:
    labels = _SCOPE_LABELS if parameter.kind is Kind.SCOPE else {}
    return [
        app_commands.Choice(name=labels.get(choice, str(choice)), value=str(choice))
        for choice in parameter.choices
    ]


def _suggest(
    runs: Runs, command: Command
) -> Callable[[Interaction, str], Coroutine[Any, Any, list[Choice]]]:
    async def suggest(interaction: Interaction, current: str) -> list[Choice]:
        names = await runs.suggest(interaction, command, current)
        fitting = [name for name in names if current.casefold() in name.casefold()]
        return [app_commands.Choice(name=n[:100], value=n[:100]) for n in fitting[:_MAX_CHOICES]]

    return suggest


async def _suggest_command(_: Interaction, current: str) -> list[Choice]:
    fitting = [name for name in COMMANDS if current.strip("/ ").casefold() in name]
    return [app_commands.Choice(name=f"/{name}", value=name) for name in fitting[:_MAX_CHOICES]]


def _ask(runs: Runs) -> app_commands.Command[Any, ..., None]:
    @app_commands.describe(
        question="Your question",
        picture="A picture to look at",
        private="Only you see the answer",
    )
    async def ask(
        interaction: discord.Interaction,
        question: app_commands.Range[str, 1, 4000],
        picture: discord.Attachment | None = None,
        private: bool = False,
    ) -> None:
        await runs.ask(interaction, question, picture, private)

    # The annotations are names of this module only; discord.py looks them up from here.
    command: app_commands.Command[Any, ..., None] = app_commands.Command(
        name="ask",
        description="Ask me something",
        callback=ask,
        allowed_contexts=EVERYWHERE,
        allowed_installs=ANYHOW,
    )
    return command


def _menus(runs: Runs) -> list[app_commands.ContextMenu]:
    async def ask_about(interaction: discord.Interaction, message: discord.Message) -> None:
        await runs.ask_about(interaction, message)

    async def summarise(interaction: discord.Interaction, message: discord.Message) -> None:
        await runs.summarise(interaction, message)

    return [
        app_commands.ContextMenu(
            name="Ask about this",
            callback=ask_about,
            allowed_contexts=EVERYWHERE,
            allowed_installs=ANYHOW,
        ),
        # It reads the channel, which a bot that only its user installed may not.
        app_commands.ContextMenu(
            name="Summarise from here",
            callback=summarise,
            allowed_contexts=IN_SERVERS_AND_DMS,
            allowed_installs=AS_MEMBER,
        ),
    ]


def _cut(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:99]}…"
