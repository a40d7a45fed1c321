"""The addresses that invite the bot: exactly the scopes and permissions that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlencode

import discord

from bot.platforms.discord.rest import Rest, RestError, application_id_in

_AUTHORIZE = "https://discord.com/oauth2/authorize"

#: The permissions that the bot needs, as discord.py names them, and what each is for.
NEEDED: Mapping[str, str] = MappingProxyType(
    {
        "view_channel": "to see the channel at all",
        "send_messages": "to answer in the channel",
        "create_public_threads": "to open a thread for the answer",
        "send_messages_in_threads": "to answer in threads",
        "read_message_history": "to read what was said before, and to reply to a message",
        "attach_files": "to send a very long answer as a file",
    }
)


def permissions() -> discord.Permissions:
    """Those permissions."""
    return discord.Permissions(**dict.fromkeys(NEEDED, True))


def server_url(application_id: str) -> str:
    """What a server's admin opens to invite the bot."""
    query = {
        "client_id": application_id,
        "scope": "bot applications.commands",
        "permissions": str(permissions().value),
    }
    return f"{_AUTHORIZE}?{urlencode(query)}"


def user_url(application_id: str) -> str:
    """What a person opens to use /ask and the menus wherever they are."""
    query = {
        "client_id": application_id,
        "scope": "applications.commands",
        "integration_type": "1",
    }
    return f"{_AUTHORIZE}?{urlencode(query)}"


async def application_id(api_url: str, token: str) -> str:
    """The application's id: as Discord says, or, offline, as the token does.

    Raises:
        RestError: the token is refused, or holds no id while Discord can't be asked.
    """
    try:
        async with Rest(api_url, token) as rest:
            return str((await rest.get("/oauth2/applications/@me"))["id"])
    except RestError as error:
        found = application_id_in(token)
        if error.status == 401 or found is None:
            raise
        return found
