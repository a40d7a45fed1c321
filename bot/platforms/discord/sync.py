"""Registers the commands with Discord if they differ from what is registered."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import discord
from discord import app_commands

logger = logging.getLogger(__name__)

#: What Discord omits from its answers, or fills in, for a value that was not given.
_DEFAULTS: dict[str, Any] = {
    "type": 1,
    "description": "",
    "options": [],
    "default_member_permissions": None,
    "nsfw": False,
    "name_localizations": {},
    "description_localizations": {},
    "contexts": None,
    "integration_types": None,
}
_OPTION_DEFAULTS: dict[str, Any] = {
    "required": False,
    "autocomplete": False,
    "choices": [],
    "options": [],
    "name_localizations": {},
    "description_localizations": {},
}
_OPTION_KEYS = (
    "type", "name", "description", "min_value", "max_value", "min_length", "max_length",
    "channel_types",
)  # fmt: skip


async def sync_commands(client: discord.Client, tree: app_commands.CommandTree[Any]) -> bool:
    """Bring the registered commands up to date. Returns whether anything had to change.

    Discord allows 200 creations a day, so a restart must not create any.

    Raises:
        discord.HTTPException, app_commands.CommandSyncFailure: Discord refuses them.
    """
    application_id = client.application_id
    assert application_id is not None, "log in first"
    commands = await _payloads(tree)
    registered = await client.http.get_global_commands(application_id)
    if _normal_form(commands) == _normal_form(registered):
        logger.debug("the registered commands are up to date")
        return False
    await tree.sync()
    logger.info("registered %d commands", len(commands))
    return True


async def _payloads(tree: app_commands.CommandTree[Any]) -> list[dict[str, Any]]:
    translator = tree.translator
    commands = [
        command
        for kind in (discord.AppCommandType.chat_input, discord.AppCommandType.message)
        for command in tree.get_commands(type=kind)
    ]
    if translator is None:
        return [command.to_dict(tree) for command in commands]
    return [await command.get_translated_payload(tree, translator) for command in commands]


def _normal_form(commands: Any) -> dict[tuple[int, str], Any]:
    """The commands in a form that is equal for equal commands, from the tree or from Discord."""
    return {(command.get("type", 1), command["name"]): _command(command) for command in commands}


def _command(command: Mapping[str, Any]) -> dict[str, Any]:
    normal = {key: command.get(key) or default for key, default in _DEFAULTS.items()}
    normal["options"] = [_option(option) for option in command.get("options") or ()]
    permissions = command.get("default_member_permissions")
    normal["default_member_permissions"] = None if permissions is None else str(permissions)
    for key in ("contexts", "integration_types"):
        normal[key] = sorted(command.get(key) or ())
    return normal


def _option(option: Mapping[str, Any]) -> dict[str, Any]:
    normal = {key: option.get(key) for key in _OPTION_KEYS}
    normal |= {key: option.get(key) or default for key, default in _OPTION_DEFAULTS.items()}
    normal["options"] = [_option(child) for child in option.get("options") or ()]
    normal["choices"] = [
        (choice["name"], choice["value"], choice.get("name_localizations") or {})
        for choice in option.get("choices") or ()
    ]
    return normal
