"""The slash commands, built from the core's registry, with autocomplete, and the menus."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import discord
from discord import app_commands

from bot.core.commands.parsing import COMMANDS, Command, Kind, Parameter
from bot.platforms.discord import texts
from bot.platforms.discord.interaction_handler import InteractionHandler
from bot.platforms.discord.modals import takes_form
from bot.platforms.discord.pending_interactions import Interaction

Group = app_commands.Group
Choice = app_commands.Choice[str]

IN_SERVERS_AND_DMS = app_commands.AppCommandContext(
    guild=True, dm_channel=True, private_channel=False
)
EVERYWHERE = app_commands.AppCommandContext(guild=True, dm_channel=True, private_channel=True)
AS_MEMBER = app_commands.AppInstallationType(guild=True, user=False)
AS_MEMBER_OR_USER = app_commands.AppInstallationType(guild=True, user=True)

_MAX_CHOICES = 25


def add_commands(tree: app_commands.CommandTree[Any], handler: InteractionHandler) -> None:
    """Add all commands and menus to the tree."""
    for root in dict.fromkeys(name.split()[0] for name in COMMANDS):
        tree.add_command(_root(root, handler))
    tree.add_command(_ask(handler))
    for menu in _menus(handler):
        tree.add_command(menu)


def _root(root: str, handler: InteractionHandler) -> Group | app_commands.Command[Any, ..., None]:
    members = [command for command in COMMANDS.values() if command.name.split()[0] == root]
    # Discord has default permissions for whole commands only, not for subcommands. Members who
    # don't see a command may type it in a message: "@Parley /persona show".
    manage = discord.Permissions(manage_guild=True) if _for_admins(members) else None
    if members[0].name == root:
        command = _command(members[0], root, handler)
        command.default_permissions = manage
        _allow(command, root)
        return command
    group = Group(
        name=root,
        description=texts.COMMAND_GROUPS.get(root, root)[:100],
        default_permissions=manage,
    )
    _allow(group, root)
    for member in members:
        group.add_command(_command(member, member.name.split()[1], handler))
    return group


def _for_admins(members: Iterable[Command]) -> bool:
    return any(member.admin_only for member in members)


def _allow(command: Group | app_commands.Command[Any, ..., None], root: str) -> None:
    help_ = root == "help"
    command.allowed_contexts = EVERYWHERE if help_ else IN_SERVERS_AND_DMS
    command.allowed_installs = AS_MEMBER_OR_USER if help_ else AS_MEMBER


def _command(
    command: Command, name: str, handler: InteractionHandler
) -> app_commands.Command[Any, ..., None]:
    async def callback(interaction: Interaction, **options: Any) -> None:
        args = {key: str(value) for key, value in options.items() if value is not None}
        await handler.run(interaction, command, args)

    option_parameters = [
        parameter for parameter in command.parameters if _is_option(command, parameter)
    ]
    _set_signature(callback, option_parameters)
    if option_parameters:
        app_commands.describe(**{p.name: _cut(p.help) for p in option_parameters})(callback)
    for parameter in option_parameters:
        if parameter.name == "name":
            app_commands.autocomplete(name=_suggest(handler, command))(callback)
        elif parameter.name == "command":
            app_commands.autocomplete(command=_suggest_command)(callback)
    choices = {p.name: _choices(p) for p in option_parameters if p.choices and p.name != "name"}
    if choices:
        app_commands.choices(**choices)(callback)
    return app_commands.Command(name=name, description=_cut(command.help), callback=callback)


def _is_option(command: Command, parameter: Parameter) -> bool:
    if not takes_form(command):
        return True
    return parameter.kind is Kind.SCOPE or parameter.kind is Kind.WORD


def _set_signature(
    callback: Callable[..., Awaitable[None]], option_parameters: list[Parameter]
) -> None:
    """Give a callback the parameters that discord.py turns into the command's options."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("interaction", kind, annotation=discord.Interaction)]
    for parameter in sorted(option_parameters, key=lambda p: not p.required):
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
    if parameter.limits is not None:
        least, greatest = parameter.limits
        return app_commands.Range[int, least, greatest]
    if parameter.choices and parameter.name != "name":
        return str
    return app_commands.Range[str, 1, 100]


def _choices(parameter: Parameter) -> list[Choice]:
    labels = texts.SCOPES if parameter.kind is Kind.SCOPE else {}
    return [
        app_commands.Choice(name=labels.get(choice, str(choice)), value=str(choice))
        for choice in parameter.choices
    ]


def _suggest(
    handler: InteractionHandler, command: Command
) -> Callable[[Interaction, str], Coroutine[Any, Any, list[Choice]]]:
    async def suggest(interaction: Interaction, current: str) -> list[Choice]:
        names = await handler.suggest(interaction, command, current)
        fitting = [name for name in names if current.casefold() in name.casefold()]
        return [app_commands.Choice(name=n[:100], value=n[:100]) for n in fitting[:_MAX_CHOICES]]

    return suggest


async def _suggest_command(_: Interaction, current: str) -> list[Choice]:
    fitting = [name for name in COMMANDS if current.strip("/ ").casefold() in name]
    return [app_commands.Choice(name=f"/{name}", value=name) for name in fitting[:_MAX_CHOICES]]


def _ask(handler: InteractionHandler) -> app_commands.Command[Any, ..., None]:
    @app_commands.describe(
        question=texts.ASK_QUESTION,
        picture=texts.ASK_PICTURE,
        private=texts.ASK_PRIVATE,
    )
    async def ask(
        interaction: discord.Interaction,
        question: app_commands.Range[str, 1, 4000],
        picture: discord.Attachment | None = None,
        private: bool = False,
    ) -> None:
        await handler.ask(interaction, question, picture, private)

    command: app_commands.Command[Any, ..., None] = app_commands.Command(
        name="ask",
        description=texts.ASK_COMMAND,
        callback=ask,
        allowed_contexts=EVERYWHERE,
        allowed_installs=AS_MEMBER_OR_USER,
    )
    return command


def _menus(handler: InteractionHandler) -> list[app_commands.ContextMenu]:
    async def ask_about(interaction: discord.Interaction, message: discord.Message) -> None:
        await handler.ask_about(interaction, message)

    async def summarize(interaction: discord.Interaction, message: discord.Message) -> None:
        await handler.summarize(interaction, message)

    return [
        app_commands.ContextMenu(
            name=texts.ASK_ABOUT_MENU,
            callback=ask_about,
            allowed_contexts=EVERYWHERE,
            allowed_installs=AS_MEMBER_OR_USER,
        ),
        # It reads the channel, which needs the bot in the server.
        app_commands.ContextMenu(
            name=texts.SUMMARIZE_MENU,
            callback=summarize,
            allowed_contexts=IN_SERVERS_AND_DMS,
            allowed_installs=AS_MEMBER,
        ),
    ]


def _cut(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:99]}…"
