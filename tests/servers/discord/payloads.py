"""Messages as Discord sends them, with what an app without Message Content does not get."""

from __future__ import annotations

import re
from typing import Any

from tests.servers.discord.world import DM, Message, User, created_at, iso

MESSAGE_CONTENT = 1 << 15


def mentioned(message: Message, users: dict[int, User]) -> list[User]:
    ids = [int(found) for found in re.findall(r"<@!?(\d+)>", message.content)]
    found = [users[user] for user in dict.fromkeys(ids) if user in users]
    return found + [user for user in message.pings if user not in found]


def message_payload(
    message: Message,
    users: dict[int, User],
    *,
    nested: bool = False,
    sees_all: bool = True,
    me: User | None = None,
) -> dict[str, Any]:
    channel, guild = message.channel, message.channel.guild
    mentions = mentioned(message, users)
    roles = re.findall(r"<@&(\d+)>", message.content)
    visible = (
        sees_all
        or channel.type == DM
        or message.author is me
        or (me is not None and me in mentions)
    )
    found: dict[str, Any] = {
        "id": str(message.id),
        "type": message.type,
        "channel_id": str(channel.id),
        "author": message.author.payload(),
        "content": message.content if visible else "",
        "timestamp": iso(created_at(message.id)),
        "edited_timestamp": iso(message.edited) if message.edited else None,
        "tts": False,
        "mention_everyone": "@everyone" in message.content or "@here" in message.content,
        "mentions": [user.payload() for user in mentions],
        "mention_roles": roles,
        "attachments": message.attachments if visible else [],
        "embeds": message.embeds if visible else [],
        "components": message.components if visible else [],
        "pinned": False,
        "flags": message.flags,
    }
    if guild is not None:
        found["guild_id"] = str(guild.id)
        found["member"] = guild.member(message.author, with_user=False)
    if message.nonce is not None:
        found["nonce"] = message.nonce
    if message.stickers:
        found["sticker_items"] = message.stickers
    if message.poll is not None and visible:
        found["poll"] = message.poll
    if message.webhook is not None:
        found["webhook_id"] = str(message.webhook)
        found.pop("member", None)
    if message.snapshots:
        found["message_snapshots"] = [{"message": snapshot} for snapshot in message.snapshots]
    if message.interaction is not None:
        found["interaction"] = message.interaction
    if message.reference is not None:
        target = message.reference
        found["message_reference"] = {
            "type": message.reference_type,
            "message_id": str(target.id),
            "channel_id": str(target.channel.id),
        }
        if guild is not None:
            found["message_reference"]["guild_id"] = str(guild.id)
        if not nested and message.reference_type == 0:
            exists = target.id in target.channel.messages
            found["referenced_message"] = (
                message_payload(target, users, nested=True, sees_all=sees_all, me=me)
                if exists
                else None
            )
    return found


def as_stored(command: dict[str, Any]) -> dict[str, Any]:
    """Discord leaves out what is empty, fills in what was not said and sorts nothing."""
    stored = {key: value for key, value in command.items() if value not in ({}, [], None)}
    stored.setdefault("type", 1)
    stored["description"] = command.get("description", "")
    stored.setdefault("default_member_permissions", None)
    stored.setdefault("nsfw", False)
    stored["name_localizations"] = command.get("name_localizations") or None
    stored["description_localizations"] = command.get("description_localizations") or None
    if stored["default_member_permissions"] is not None:
        stored["default_member_permissions"] = str(stored["default_member_permissions"])
    if "options" in stored:
        stored["options"] = [_option_as_stored(option) for option in stored["options"]]
    return stored


def _option_as_stored(option: dict[str, Any]) -> dict[str, Any]:
    stored = {key: value for key, value in option.items() if value not in ({}, [], None, False)}
    if "options" in stored:
        stored["options"] = [_option_as_stored(below) for below in stored["options"]]
    return stored
