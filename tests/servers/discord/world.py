"""What there is: users, servers, channels, messages; and their payloads as Discord sends them."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

EPOCH_MS = 1420070400000
ALL = 0x3_FFFF_FFFF_FFFF
BITS = {
    "create_instant_invite": 1 << 0,
    "administrator": 1 << 3,
    "manage_guild": 1 << 5,
    "view_channel": 1 << 10,
    "send_messages": 1 << 11,
    "manage_messages": 1 << 13,
    "embed_links": 1 << 14,
    "attach_files": 1 << 15,
    "read_message_history": 1 << 16,
    "use_application_commands": 1 << 31,
    "create_public_threads": 1 << 35,
    "send_messages_in_threads": 1 << 38,
}
USUAL = sum(
    v for k, v in BITS.items() if k not in ("administrator", "manage_guild", "manage_messages")
)

DM, TEXT, VOICE, PUBLIC_THREAD, FORUM = 1, 0, 2, 11, 15

_counter = itertools.count(1)


def snowflake(at: float | None = None) -> int:
    """A new id, in order of time; every id is another."""
    ms = int((at or time.time()) * 1000) - EPOCH_MS
    return (ms << 22) | (next(_counter) & 0x3FFFFF)


def created_at(id: int) -> float:
    """When an id was made, in seconds since 1970."""
    return ((id >> 22) + EPOCH_MS) / 1000


def iso(seconds: float | None = None) -> str:
    moment = datetime.fromtimestamp(seconds or time.time(), UTC)
    return moment.isoformat(timespec="microseconds")


@dataclass
class User:
    name: str
    bot: bool = False
    id: int = field(default_factory=snowflake)

    @property
    def mention(self) -> str:
        return f"<@{self.id}>"

    def payload(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "username": self.name,
            "global_name": self.name,
            "discriminator": "0",
            "avatar": None,
            "bot": self.bot,
            "public_flags": 0,
        }


@dataclass
class Role:
    name: str
    permissions: int
    id: int = field(default_factory=snowflake)

    def payload(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "name": self.name,
            "color": 0,
            "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
            "hoist": False,
            "position": 1,
            "permissions": str(self.permissions),
            "managed": False,
            "mentionable": True,
            "flags": 0,
        }


@dataclass
class Message:
    channel: Channel
    author: User
    content: str = ""
    type: int = 0
    attachments: list[dict[str, Any]] = field(default_factory=list)
    embeds: list[dict[str, Any]] = field(default_factory=list)
    components: list[dict[str, Any]] = field(default_factory=list)
    stickers: list[dict[str, Any]] = field(default_factory=list)
    snapshots: list[dict[str, Any]] = field(default_factory=list)
    poll: dict[str, Any] | None = None
    reference: Message | None = None
    reference_type: int = 0
    flags: int = 0
    nonce: str | None = None
    edited: float | None = None
    webhook: int | None = None
    pings: list[User] = field(default_factory=list)
    allowed_mentions: dict[str, Any] | None = None
    interaction: dict[str, Any] | None = None
    id: int = field(default_factory=snowflake)
    edits: list[str] = field(default_factory=list)  # every content it had

    @property
    def labels(self) -> list[str]:
        """The buttons under it, by label or emoji."""
        return [
            button.get("label") or button["emoji"]["name"]
            for row in self.components
            for button in row.get("components", ())
        ]

    def button(self, label: str) -> dict[str, Any]:
        for row in self.components:
            for button in row.get("components", ()):
                if label in (button.get("label"), (button.get("emoji") or {}).get("name")):
                    return dict(button)
        raise AssertionError(f"no button {label!r}, there are {self.labels}")


@dataclass
class Channel:
    type: int
    guild: Guild | None = None
    name: str = ""
    parent: Channel | None = None
    owner: User | None = None
    recipient: User | None = None
    archived: bool = False
    denied: int = 0  # to the bot, by an overwrite of its own
    id: int = field(default_factory=snowflake)
    messages: dict[int, Message] = field(default_factory=dict)
    typing: int = 0

    @property
    def is_thread(self) -> bool:
        return self.type in (10, 11, 12)

    @property
    def last(self) -> Message:
        return list(self.messages.values())[-1]

    def of_bot(self) -> list[Message]:
        return [m for m in self.messages.values() if m.author.bot and not m.flags & 64]

    def payload(self, bot: User) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": str(self.id),
            "type": self.type,
            "name": self.name,
            "last_message_id": str(self.last.id) if self.messages else None,
            "flags": 0,
        }
        if self.type == DM:
            assert self.recipient is not None
            return found | {"recipients": [self.recipient.payload()]}
        assert self.guild is not None
        found |= {"guild_id": str(self.guild.id), "parent_id": None, "position": 0}
        if self.is_thread:
            assert self.parent is not None
            return found | {
                "parent_id": str(self.parent.id),
                "owner_id": str(self.owner.id if self.owner else bot.id),
                "message_count": len(self.messages),
                "member_count": 2,
                "rate_limit_per_user": 0,
                "thread_metadata": {
                    "archived": self.archived,
                    "auto_archive_duration": 1440,
                    "archive_timestamp": iso(),
                    "locked": False,
                    "create_timestamp": iso(),
                },
                "member": {
                    "id": str(self.id),
                    "user_id": str(bot.id),
                    "join_timestamp": iso(),
                    "flags": 0,
                },
            }
        overwrite = {"id": str(bot.id), "type": 1, "allow": "0", "deny": str(self.denied)}
        return found | {
            "permission_overwrites": [overwrite] if self.denied else [],
            "topic": None,
            "nsfw": False,
            "rate_limit_per_user": 0,
            "bitrate": 64000,
            "user_limit": 0,
            "rtc_region": None,
            "available_tags": [],
            "default_reaction_emoji": None,
            "default_sort_order": None,
        }


@dataclass
class Guild:
    name: str
    bot: User
    owner: User
    id: int = field(default_factory=snowflake)
    channels: dict[int, Channel] = field(default_factory=dict)
    roles: dict[int, Role] = field(default_factory=dict)
    members: dict[int, list[int]] = field(default_factory=dict)  # user id -> role ids

    def __post_init__(self) -> None:
        self.roles[self.id] = Role("@everyone", USUAL, self.id)
        self.members[self.bot.id] = []

    def role(self, name: str, *permissions: str) -> Role:
        role = Role(name, sum(BITS[p] for p in permissions))
        self.roles[role.id] = role
        return role

    def permissions(self, user: User, channel: Channel) -> int:
        if user.id == self.owner.id:
            return ALL
        value = 0
        for role_id in (self.id, *self.members.get(user.id, ())):
            value |= self.roles[role_id].permissions
        if value & BITS["administrator"]:
            return ALL
        place = channel.parent if channel.is_thread and channel.parent else channel
        return value & ~place.denied if user.id == self.bot.id else value

    def member(self, user: User, *, with_user: bool = True) -> dict[str, Any]:
        found: dict[str, Any] = {
            "roles": [str(role) for role in self.members.get(user.id, ())],
            "joined_at": iso(),
            "premium_since": None,
            "deaf": False,
            "mute": False,
            "flags": 0,
            "nick": None,
            "avatar": None,
            "pending": False,
        }
        return found | ({"user": user.payload()} if with_user else {})

    def payload(self) -> dict[str, Any]:
        places = list(self.channels.values())
        return {
            "id": str(self.id),
            "name": self.name,
            "icon": None,
            "splash": None,
            "banner": None,
            "description": None,
            "owner_id": str(self.owner.id),
            "afk_channel_id": None,
            "afk_timeout": 300,
            "verification_level": 0,
            "default_message_notifications": 0,
            "explicit_content_filter": 0,
            "mfa_level": 0,
            "nsfw_level": 0,
            "premium_tier": 0,
            "premium_subscription_count": 0,
            "preferred_locale": "en-US",
            "system_channel_id": None,
            "system_channel_flags": 0,
            "rules_channel_id": None,
            "public_updates_channel_id": None,
            "features": [],
            "emojis": [],
            "stickers": [],
            "roles": [role.payload() for role in self.roles.values()],
            "channels": [c.payload(self.bot) for c in places if not c.is_thread],
            "threads": [c.payload(self.bot) for c in places if c.is_thread and not c.archived],
            "members": [self.member(self.bot)],
            "member_count": len(self.members),
            "joined_at": iso(),
            "large": False,
            "unavailable": False,
            "presences": [],
            "voice_states": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
        }
