"""Keeps Discord's pending interactions across a restart."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime

from sqlalchemy import BigInteger, Index, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from bot.records.discord import SavedInteraction
from bot.storage import rows
from bot.storage.database import Database
from bot.storage.models import Base

_FIELDS = [field.name for field in fields(SavedInteraction)]


class DiscordInteractionRow(Base):
    """See SavedInteraction. A token expires after fifteen minutes."""

    __tablename__ = "discord_asks"
    __table_args__ = (Index(None, "at"),)

    question_id: Mapped[str] = mapped_column("asking", primary_key=True)
    interaction: Mapped[int] = mapped_column(BigInteger)
    application: Mapped[int] = mapped_column(BigInteger)
    channel: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    private: Mapped[bool]
    pressed: Mapped[int | None] = mapped_column(BigInteger)
    token: Mapped[str]


class DiscordInteractions:
    """`bot.platforms.discord.ports.InteractionStore` on SQLAlchemy."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, interaction: SavedInteraction, *, delete_before: datetime) -> None:
        values = asdict(interaction)
        newer = {name: value for name, value in values.items() if name != "question_id"}
        row = DiscordInteractionRow
        async with self._database.write() as session:
            await session.execute(delete(row).where(row.at < delete_before))
            await session.execute(
                rows.upsert(session, row, **values).on_conflict_do_update(
                    index_elements=[row.question_id], set_=newer
                )
            )

    async def saved_since(self, since: datetime) -> list[SavedInteraction]:
        row = DiscordInteractionRow
        query = select(row).where(row.at >= since).order_by(row.at)
        async with self._database.read() as session:
            return [
                SavedInteraction(**{name: getattr(saved, name) for name in _FIELDS})
                for saved in await session.scalars(query)
            ]
