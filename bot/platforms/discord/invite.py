"""The links that invite the bot, with exactly the scopes and permissions that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlencode

import discord

from bot.platforms.discord.rest import Rest, RestError, application_id_in

_AUTHORIZE = "https://discord.com/oauth2/authorize"

#: The permissions that the bot needs, by discord.py's names, and what each is for.
NEEDED: Mapping[str, str] = MappingProxyType(
    {
        "view_channel": "to see the channel",
        "send_messages": "to answer in the channel",
        "create_public_threads": "to open a thread for the answer",
        "send_messages_in_threads": "to answer in threads",
        "read_message_history": "to read earlier messages, and to reply to a message",
        "attach_files": "to send a very long answer as a file",
    }
)


def needed_permissions() -> discord.Permissions:
    return discord.Permissions(**dict.fromkeys(NEEDED, True))


def server_url(application_id: str) -> str:
    """The link with which an admin adds the bot to a server."""
    query = {
        "client_id": application_id,
        "scope": "bot applications.commands",
        "permissions": str(needed_permissions().value),
    }
    return f"{_AUTHORIZE}?{urlencode(query)}"


def user_url(application_id: str) -> str:
    """The link with which a person installs the bot for themselves: /ask and menus anywhere."""
    query = {
        "client_id": application_id,
        "scope": "applications.commands",
        "integration_type": "1",
    }
    return f"{_AUTHORIZE}?{urlencode(query)}"


async def application_id(api_url: str, token: str) -> str:
    """The application's id: from Discord, or from the token if Discord can't be reached.

    Raises:
        RestError: Discord rejected the token, or can't be reached and the token holds no id.
    """
    try:
        async with Rest(api_url, token) as rest:
            return str((await rest.get("/oauth2/applications/@me"))["id"])
    except RestError as error:
        id_in_token = application_id_in(token)
        if error.status == 401 or id_in_token is None:
            raise
        return id_in_token
