"""The links that invite the bot."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import discord

from bot.platforms.discord import invite


def test_the_invitation_asks_for_what_is_needed_and_no_more() -> None:
    query = parse_qs(urlsplit(invite.server_url("42")).query)
    assert query["client_id"] == ["42"]
    assert query["scope"] == ["bot applications.commands"]
    granted = discord.Permissions(int(query["permissions"][0]))
    assert all(getattr(granted, name) for name in invite.NEEDED)
    assert sum(value for _, value in granted) == len(invite.NEEDED)
    assert granted == invite.needed_permissions()
    assert not granted.administrator
