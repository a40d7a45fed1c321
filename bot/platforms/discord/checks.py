"""Discord's part of `parley doctor`: the token, the intents, the permissions in each channel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import discord

from bot.config import Settings
from bot.platforms.base import Finding
from bot.platforms.discord.invite import NEEDED, server_url
from bot.platforms.discord.rest import Rest, RestError

_CONTENT = 1 << 18 | 1 << 19  # granted, or granted for now to a small bot
_CHANNEL_TYPES = {0: "text", 2: "voice", 5: "announcements", 15: "forum"}
_WITHOUT_THREADS = (2,)
_THREADS = ("create_public_threads", "send_messages_in_threads")
_FORUM_NEEDS = ("view_channel", "send_messages_in_threads", "read_message_history", "attach_files")


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """Yields nothing if Discord is not set up."""
    if settings.discord_token is None:
        return
    token = settings.discord_token.get_secret_value()
    async with Rest(settings.discord_api_url, token) as rest:
        try:
            me = await rest.get("/users/@me")
            application = await rest.get("/oauth2/applications/@me")
        except RestError as error:
            yield Finding("discord token", False, error.problem, error.fix)
            return
        yield Finding("discord token", True, f"belongs to {me['username']}")
        for finding in _application(application):
            yield finding
        yield await _gateway(rest)
        async for finding in _servers(rest, me, str(application["id"])):
            yield finding


def _application(application: Mapping[str, Any]) -> Iterable[Finding]:
    content = bool(int(application.get("flags") or 0) & _CONTENT)
    yield Finding(
        "discord Message Content intent",
        content,
        "on" if content else "off: follow-ups in threads only reach the bot if they mention it",
        "turn it on in the developer portal: Bot, Privileged Gateway Intents",
    )
    if application.get("interactions_endpoint_url"):
        yield Finding(
            "discord commands",
            False,
            "Discord sends them to an Interactions Endpoint URL",
            "clear that field in the developer portal: General Information",
        )


async def _gateway(rest: Rest) -> Finding:
    try:
        gateway = await rest.get("/gateway/bot")
    except RestError as error:
        return Finding("discord gateway", False, error.problem, error.fix)
    limit = gateway.get("session_start_limit") or {}
    remaining, total = limit.get("remaining"), limit.get("total")
    return Finding(
        "discord gateway",
        remaining != 0,
        f"{gateway.get('shards', 1)} shards recommended, {remaining} of {total} session starts "
        "left today",
        "wait until tomorrow: one more session start makes Discord reset the token",
    )


async def _servers(rest: Rest, me: Mapping[str, Any], application: str) -> AsyncIterator[Finding]:
    guilds = await rest.get("/users/@me/guilds")
    if not guilds:
        yield Finding(
            "discord servers", False, "the bot is in no server", f"open {server_url(application)}"
        )
    for guild in guilds:
        try:
            async for finding in _server(rest, guild, me):
                yield finding
        except RestError as error:
            yield Finding(
                f"discord server {guild['name']}", False, error.problem, "invite the bot again"
            )


async def _server(
    rest: Rest, guild: Mapping[str, Any], me: Mapping[str, Any]
) -> AsyncIterator[Finding]:
    roles = await rest.get(f"/guilds/{guild['id']}/roles")
    member = await rest.get(f"/guilds/{guild['id']}/members/{me['id']}")
    channels = await rest.get(f"/guilds/{guild['id']}/channels")
    base = _server_permissions(guild, roles, member)
    usable = 0
    for channel in channels:
        if channel["type"] not in _CHANNEL_TYPES:
            continue
        missing = missing_in(channel, allowed_in(channel, guild, member, base))
        if not missing:
            usable += 1
            continue
        names = ", ".join(_permission_title(name) for name in missing)
        yield Finding(
            f"discord #{channel['name']} in {guild['name']}",
            False,
            f"missing {names} ({'; '.join(NEEDED[name] for name in missing)})",
            "grant them to the bot's role in the channel's settings, under Permissions",
        )
    yield Finding(f"discord server {guild['name']}", True, f"channels to answer in: {usable}")


def _server_permissions(
    guild: Mapping[str, Any], roles: Iterable[Mapping[str, Any]], member: Mapping[str, Any]
) -> discord.Permissions:
    """What the bot may do in the whole server."""
    own_roles = {guild["id"], *member["roles"]}
    value = 0
    for role in roles:
        if role["id"] in own_roles:
            value |= int(role["permissions"])
    return discord.Permissions(value)


def allowed_in(
    channel: Mapping[str, Any],
    guild: Mapping[str, Any],
    member: Mapping[str, Any],
    base: discord.Permissions,
) -> discord.Permissions:
    """What the bot may do in a channel: the server's permissions, then the channel's overwrites
    for @everyone, for the roles, and for the bot."""
    if base.administrator:
        return discord.Permissions.all()
    overwrites = {entry["id"]: entry for entry in channel.get("permission_overwrites") or ()}
    value = base.value
    steps = ([guild["id"]], list(member["roles"]), [member["user"]["id"]])
    for step in steps:
        applicable = [overwrites[holder] for holder in step if holder in overwrites]
        for entry in applicable:
            value &= ~int(entry["deny"])
        for entry in applicable:
            value |= int(entry["allow"])
    return discord.Permissions(value)


def missing_in(channel: Mapping[str, Any], allowed: discord.Permissions) -> list[str]:
    """The permissions that the bot lacks in a channel of this type."""
    needed: Iterable[str] = NEEDED
    if _CHANNEL_TYPES[channel["type"]] == "forum":
        needed = _FORUM_NEEDS
    elif channel["type"] in _WITHOUT_THREADS:
        needed = [name for name in NEEDED if name not in _THREADS]
    return [name for name in needed if not getattr(allowed, name)]


def _permission_title(name: str) -> str:
    return name.replace("_", " ").title()
