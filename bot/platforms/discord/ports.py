"""What the Discord adapter asks of the database."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from bot.records.discord import SavedAsk


class AskStore(Protocol):
    """Where interactions are kept across a restart."""

    async def save(self, ask: SavedAsk, *, forget_before: datetime) -> None:
        """Keep an interaction, instead of the question's last one; delete those of before then."""
        ...

    async def saved(self, since: datetime) -> list[SavedAsk]:
        """Those since then, oldest first."""
        ...
