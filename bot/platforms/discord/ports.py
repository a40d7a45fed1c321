"""What the Discord adapter asks of the database."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from bot.records.discord import SavedInteraction


class InteractionStore(Protocol):
    """Keeps the interactions that wait for an answer across a restart."""

    async def save(self, interaction: SavedInteraction, *, delete_before: datetime) -> None:
        """Keep an interaction in place of its question's last one, and delete those of before
        `delete_before`."""
        ...

    async def saved_since(self, since: datetime) -> list[SavedInteraction]:
        """The interactions since then, oldest first."""
        ...
