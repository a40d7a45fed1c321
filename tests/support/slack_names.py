"""Names of Slack users and channels for tests of reading."""

from __future__ import annotations

from bot.platforms.slack.text import NameLookup


async def _person(user: str) -> str:
    return {"U1": "Ana", "U2": "Bob", "UBOT": "Parley"}.get(user, user)


async def _channel(channel: str) -> str:
    return {"C1": "general"}.get(channel, channel)


NAMES = NameLookup(_person, _channel)
