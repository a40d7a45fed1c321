"""The interactions that wait for an answer, by their question; kept across a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import discord

from bot.core.records import Turn
from bot.platforms.discord import keys
from bot.platforms.discord.ports import InteractionStore
from bot.platforms.shared.recent import RecentDict
from bot.records.discord import SavedInteraction

Interaction: TypeAlias = discord.Interaction[Any]
Clock: TypeAlias = Callable[[], datetime]

#: Discord accepts answers for 15 minutes; the rest is left to say that they are over.
TOKEN_LIFETIME = timedelta(minutes=14, seconds=30)
REUSABLE_FOR = timedelta(minutes=5)  # an interaction needs this much left to carry another reply
KEPT_FOR = timedelta(days=1)  # after that nobody knows whether an answer was private
MAX_PENDING = 1_000


@dataclass(slots=True)
class PendingInteraction:
    """An interaction that a question is answered through. `revoked`: Discord ended it early."""

    saved: SavedInteraction
    interaction: Interaction
    clock: Clock
    revoked: bool = False

    @property
    def time_left(self) -> timedelta:
        """How long Discord accepts answers."""
        return timedelta() if self.revoked else self.saved.at + TOKEN_LIFETIME - self.clock()

    @property
    def alive(self) -> bool:
        return self.time_left > timedelta()


class PendingInteractions:
    """The interactions by the id of their question; at `MAX_PENDING` the oldest drop out."""

    def __init__(
        self, store: InteractionStore | None = None, clock: Clock = discord.utils.utcnow
    ) -> None:
        self._store = store
        self._clock = clock
        self._pending: RecentDict[str, PendingInteraction] = RecentDict(MAX_PENDING)

    async def attach(self, client: discord.Client) -> None:
        """Continue through `client` what earlier runs, and earlier clients of this one, left."""
        saved = {question_id: pending.saved for question_id, pending in self._pending.items()}
        if self._store is not None:
            stored = await self._store.saved_since(self._clock() - KEPT_FOR)
            saved |= {interaction.question_id: interaction for interaction in stored}
        for question_id, interaction in saved.items():
            self._pending[question_id] = PendingInteraction(
                interaction, _restored(interaction, client), self._clock
            )

    async def add(self, question_id: str, interaction: Interaction, *, private: bool) -> None:
        """Answer this question through this interaction from now on."""
        pressed = interaction.message
        saved = SavedInteraction(
            question_id=question_id,
            interaction=interaction.id,
            application=interaction.application_id,
            channel=interaction.channel_id or 0,
            at=interaction.created_at,
            private=private,
            pressed=None if pressed is None else pressed.id,
            token=interaction.token,
        )
        self._pending[question_id] = PendingInteraction(saved, interaction, self._clock)
        if self._store is not None:
            await self._store.save(saved, delete_before=self._clock() - KEPT_FOR)

    def of(self, turn: Turn) -> PendingInteraction | None:
        """The interaction of a turn's question, alive or not."""
        return self._pending.get(turn.question_id)


def is_from_interaction(turn: Turn) -> bool:
    """Whether a turn's question came through an interaction. A follow-up to its answer in the
    channel belongs to the same conversation and is an ordinary message."""
    return turn.key.thread == f"{keys.ASK}{turn.question_id}"


def _restored(saved: SavedInteraction, client: discord.Client) -> Interaction:
    """An interaction with as much as answering needs."""
    data: Any = {
        "id": str(saved.interaction),
        "application_id": str(saved.application),
        "type": discord.InteractionType.application_command.value,
        "token": saved.token,
        "version": 1,
        "attachment_size_limit": 10 * 1024 * 1024,
    }
    # discord.py makes interactions from gateway events only; this is how it does that.
    interaction: Interaction = discord.Interaction(data=data, state=client._connection)
    interaction.channel = client.get_partial_messageable(saved.channel)  # type: ignore[assignment]
    return interaction
