"""Registers the commands with Discord, only if they differ from what is registered."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import discord
from discord import app_commands

logger = logging.getLogger(__name__)

#: What Discord leaves out of its answers, or fills in, where it was not said.
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
    """Bring the registered commands up to date; whether anything had to change.

    Discord lets 200 commands a day be created, so a restart must not create any.

    Raises:
        discord.HTTPException, app_commands.CommandSyncFailure: Discord does not take them.
    """
    application_id = client.application_id
    assert application_id is not None, "log in first"
    wanted = await _payloads(tree)
    registered = await client.http.get_global_commands(application_id)
    if _normal_form(wanted) == _normal_form(registered):
        logger.debug("the commands are registered as they should be")
        return False
    await tree.sync()
    logger.info("%d commands were registered anew", len(wanted))
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
    """Commands in a form in which equal ones are equal, whoever wrote them."""
    return {(command.get("type", 1), command["name"]): _command(command) for command in commands}


def _command(command: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: command.get(key) or default for key, default in _DEFAULTS.items()}
    found["options"] = [_option(option) for option in command.get("options") or ()]
    permissions = command.get("default_member_permissions")
    found["default_member_permissions"] = None if permissions is None else str(permissions)
    for key in ("contexts", "integration_types"):
        found[key] = sorted(command.get(key) or ())
    return found


def _option(option: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: option.get(key) for key in _OPTION_KEYS}
    found |= {key: option.get(key) or default for key, default in _OPTION_DEFAULTS.items()}
    found["options"] = [_option(below) for below in option.get("options") or ()]
    found["choices"] = [
        (choice["name"], choice["value"], choice.get("name_localizations") or {})
        for choice in option.get("choices") or ()
    ]
    return found
