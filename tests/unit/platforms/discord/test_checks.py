"""What the bot lacks in a channel."""

from __future__ import annotations

from typing import Any

import discord
import pytest

from bot.platforms.discord.checks import allowed_in, missing_in
from bot.platforms.discord.invite import needed_permissions


def channel(kind: int = 0, **deny: int) -> dict[str, Any]:
    overwrites = [
        {"id": holder, "type": 0, "allow": "0", "deny": str(bits)} for holder, bits in deny.items()
    ]
    return {"type": kind, "name": "c", "permission_overwrites": overwrites}


GUILD = {"id": "g"}
MEMBER = {"roles": ["r"], "user": {"id": "me"}}
SEND = discord.Permissions(send_messages=True).value
THREADS = discord.Permissions(create_public_threads=True).value


@pytest.mark.parametrize(
    ("place", "missing"),
    [
        (channel(), []),
        (channel(r=SEND), ["send_messages"]),
        (channel(me=THREADS), ["create_public_threads"]),
        (channel(2, me=THREADS), []),  # a voice channel has no threads
        (channel(15, me=SEND), []),  # in a forum one writes in its posts
        (channel(g=SEND | THREADS), ["send_messages", "create_public_threads"]),
    ],
)
def test_what_a_channel_lacks(place: dict[str, Any], missing: list[str]) -> None:
    allowed = allowed_in(place, GUILD, MEMBER, needed_permissions())
    assert missing_in(place, allowed) == missing


def test_a_nearer_word_counts_and_an_administrator_may_everything() -> None:
    place = channel(g=SEND)
    place["permission_overwrites"].append({"id": "r", "type": 0, "allow": str(SEND), "deny": "0"})
    assert missing_in(place, allowed_in(place, GUILD, MEMBER, needed_permissions())) == []
    all_denied = channel(g=SEND, r=SEND, me=SEND)
    admin = discord.Permissions(administrator=True)
    assert missing_in(all_denied, allowed_in(all_denied, GUILD, MEMBER, admin)) == []
