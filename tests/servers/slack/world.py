"""What a Slack of our own remembers: workspaces, people, channels, messages, files, views."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Any

ALL_FEATURES = frozenset({"stream", "status", "markdown", "feedback", "title", "prompts"})
ALL_SCOPES = frozenset(
    {
        "app_mentions:read",
        "assistant:write",
        "channels:history",
        "channels:read",
        "chat:write",
        "commands",
        "files:read",
        "files:write",
        "groups:history",
        "groups:read",
        "im:history",
        "im:read",
        "mpim:history",
        "mpim:read",
        "users:read",
    }
)
_ids = itertools.count(1)
_clock = itertools.count(1)


def new_id(prefix: str) -> str:
    return f"{prefix}{next(_ids):09d}"


def new_ts() -> str:
    """Timestamps in the order of their making, unique in all channels."""
    return f"{int(time.time())}.{next(_clock):06d}"


@dataclass
class Channel:
    id: str
    name: str
    kind: str  # channel, group, im, mpim
    members: set[str]
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    statuses: list[tuple[str, str]] = field(default_factory=list)  # (thread, status), all of them

    def thread(self, root: str) -> list[dict[str, Any]]:
        """A thread's messages without its root, oldest first."""
        return [m for ts, m in self.messages.items() if m.get("thread_ts") == root and ts != root]

    def status(self, thread: str) -> str:
        """The status that a thread shows now."""
        return next((s for t, s in reversed(self.statuses) if t == thread), "")


@dataclass
class StoredFile:
    id: str
    name: str
    mimetype: str
    data: bytes
    channels: set[str] = field(default_factory=set)


@dataclass
class Team:
    id: str
    name: str
    bot_token: str
    bot_user: str
    bot_id: str
    scopes: set[str] = field(default_factory=lambda: set(ALL_SCOPES))
    features: set[str] = field(default_factory=lambda: set(ALL_FEATURES))
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)  # open modals, by view id
    homes: dict[str, dict[str, Any]] = field(default_factory=dict)  # by user
    ephemeral: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[dict[str, Any]] = field(default_factory=list)
    titles: dict[tuple[str, str], str] = field(default_factory=dict)
    uninstalled: bool = False

    def add_user(self, name: str, *, admin: bool = False, bot: bool = False) -> str:
        user = new_id("U")
        self.users[user] = {
            "id": user,
            "team_id": self.id,
            "name": name.lower(),
            "real_name": name,
            "profile": {"display_name": name, "real_name": name},
            "is_admin": admin,
            "is_owner": False,
            "is_primary_owner": False,
            "is_bot": bot,
        }
        return user

    def add_channel(self, name: str, *, kind: str = "channel", bot: bool = True) -> Channel:
        members = set(self.users) - ({self.bot_user} if not bot else set())
        channel = Channel(new_id("G" if kind == "mpim" else "C"), name, kind, members)
        self.channels[channel.id] = channel
        return channel

    def dm(self, user: str) -> Channel:
        """A person's DM with the bot."""
        for channel in self.channels.values():
            if channel.kind == "im" and user in channel.members:
                return channel
        channel = Channel(new_id("D"), "", "im", {user, self.bot_user})
        self.channels[channel.id] = channel
        return channel

    def find(self, ts: str) -> dict[str, Any]:
        """A message by its timestamp, wherever it is."""
        return next(c.messages[ts] for c in self.channels.values() if ts in c.messages)


def new_team(name: str = "Acme") -> Team:
    team_id = new_id("T")
    bot_user = new_id("U")
    team = Team(team_id, name, f"xoxb-{team_id}-secret", bot_user, new_id("B"))
    team.users[bot_user] = {
        "id": bot_user,
        "name": "parley",
        "real_name": "Parley",
        "profile": {"display_name": "Parley"},
        "is_bot": True,
    }
    return team


def shown(message: dict[str, Any]) -> str:
    """All that a person reads in a message."""
    blocks = message.get("blocks") or []
    text = message.get("streamed", "")
    for block in blocks:
        if block["type"] == "markdown":
            text += block["text"]
        elif block["type"] == "section":
            text += block["text"]["text"]
    if not text:
        text = message.get("text", "")
    return text


def small_print(message: dict[str, Any]) -> str:
    """The context blocks' text."""
    return "\n".join(
        element["text"]
        for block in message.get("blocks") or []
        if block["type"] == "context"
        for element in block["elements"]
    )


def buttons(message: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A message's buttons by action id."""
    found: dict[str, dict[str, Any]] = {}
    for block in message.get("blocks") or []:
        if block["type"] in ("actions", "context_actions"):
            found.update({element["action_id"]: element for element in block["elements"]})
    return found
