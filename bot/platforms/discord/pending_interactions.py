"""The interactions that wait for an answer: known by the question, kept across a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import discord

from bot.core.records import Turn
from bot.platforms.discord import keys
from bot.platforms.discord.ports import AskStore
from bot.platforms.shared.recent import RecentDict
from bot.records.discord import SavedAsk

logger = logging.getLogger(__name__)

Interaction: TypeAlias = discord.Interaction[Any]
Now: TypeAlias = Callable[[], datetime]

#: Discord takes answers for 15 minutes; what is left of them is for telling that they are over.
TOKEN_LIVES = timedelta(minutes=14, seconds=30)
LONG_ENOUGH = timedelta(minutes=5)  # what has to be left for another reply through it
KEEP = timedelta(days=1)  # after that it is not known any more whether an answer was private
MAX_OPEN = 1_000


@dataclass(slots=True)
class Asked:
    """An interaction that a question is answered through. `over`: Discord has said so itself."""

    saved: SavedAsk
    interaction: Interaction
    now: Now
    over: bool = False

    @property
    def left(self) -> timedelta:
        """How long answers are taken for."""
        return timedelta() if self.over else self.saved.at + TOKEN_LIVES - self.now()

    @property
    def alive(self) -> bool:
        """Whether answers are taken."""
        return self.left > timedelta()


class Asks:
    """The interactions, by the question that they answer; the oldest drop out."""

    def __init__(self, store: AskStore | None = None, now: Now = discord.utils.utcnow) -> None:
        self._store = store
        self._now = now
        self._open: RecentDict[str, Asked] = RecentDict(MAX_OPEN)

    async def attach(self, client: discord.Client) -> None:
        """Go on with what earlier runs, and earlier clients of this one, have left."""
        known = {asked.saved.asking: asked.saved for asked in self._open.values()}
        if self._store is not None:
            known |= {ask.asking: ask for ask in await self._store.saved(self._now() - KEEP)}
        for saved in known.values():
            self._put(Asked(saved, _revived(saved, client), self._now))

    async def add(self, asking: str, interaction: Interaction, *, private: bool) -> None:
        """Answer this question through this interaction from now on."""
        pressed = interaction.message
        saved = SavedAsk(
            asking=asking,
            interaction=interaction.id,
            application=interaction.application_id,
            channel=interaction.channel_id or 0,
            at=interaction.created_at,
            private=private,
            pressed=None if pressed is None else pressed.id,
            token=interaction.token,
        )
        self._put(Asked(saved, interaction, self._now))
        if self._store is not None:
            await self._store.save(saved, forget_before=self._now() - KEEP)

    def of(self, turn: Turn) -> Asked | None:
        """The interaction of a turn, whether it is still alive or not."""
        return self._open.get(turn.question_id)

    def _put(self, asked: Asked) -> None:
        self._open[asked.saved.asking] = asked


def is_asked(turn: Turn) -> bool:
    """Whether a turn was asked through an interaction. What follows on its answer in the channel,
    in the same conversation, is an ordinary message."""
    return turn.key.thread == f"{keys.ASK}{turn.question_id}"


def _revived(saved: SavedAsk, client: discord.Client) -> Interaction:
    """An interaction as far as it is needed for answering."""
    data: Any = {
        "id": str(saved.interaction),
        "application_id": str(saved.application),
        "type": discord.InteractionType.application_command.value,
        "token": saved.token,
        "version": 1,
        "attachment_size_limit": 10 * 1024 * 1024,
    }
    # discord.py makes interactions out of events only; this is how it makes them.
    interaction: Interaction = discord.Interaction(data=data, state=client._connection)
    interaction.channel = client.get_partial_messageable(saved.channel)  # type: ignore[assignment]
    return interaction
