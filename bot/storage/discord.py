"""Discord's interactions that wait for an answer, kept so that a restart does not lose them."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime

from sqlalchemy import BigInteger, Index, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from bot.records.discord import SavedAsk
from bot.storage import rows
from bot.storage.database import Database
from bot.storage.models import Base

_NAMES = [field.name for field in fields(SavedAsk)]


class DiscordAskRow(Base):
    """See SavedAsk. A token is worth nothing after fifteen minutes."""

    __tablename__ = "discord_asks"
    __table_args__ = (Index(None, "at"),)

    asking: Mapped[str] = mapped_column(primary_key=True)
    interaction: Mapped[int] = mapped_column(BigInteger)
    application: Mapped[int] = mapped_column(BigInteger)
    channel: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    private: Mapped[bool]
    pressed: Mapped[int | None] = mapped_column(BigInteger)
    token: Mapped[str]


class DiscordAsks:
    """`bot.platforms.discord.ports.AskStore` on SQLAlchemy."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, ask: SavedAsk, *, forget_before: datetime) -> None:
        """Keep an interaction, instead of the question's last one; delete those of before then."""
        values = asdict(ask)
        newer = {name: value for name, value in values.items() if name != "asking"}
        async with self._database.write() as session:
            await session.execute(delete(DiscordAskRow).where(DiscordAskRow.at < forget_before))
            await session.execute(
                rows.upsert(session, DiscordAskRow, **values).on_conflict_do_update(
                    index_elements=[DiscordAskRow.asking], set_=newer
                )
            )

    async def saved(self, since: datetime) -> list[SavedAsk]:
        """Those since then, oldest first."""
        query = select(DiscordAskRow).where(DiscordAskRow.at >= since).order_by(DiscordAskRow.at)
        async with self._database.read() as session:
            found = await session.scalars(query)
            return [SavedAsk(**{name: getattr(row, name) for name in _NAMES}) for row in found]
