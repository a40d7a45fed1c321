"""The playground's own tables; the core knows nothing of them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bot.storage.models import Base, utcnow
from bot.storage.types import RowId

# Ids are what the core claims and threads are named by: one that was deleted never comes back.
_NO_REUSE = {"sqlite_autoincrement": True}


class PlaygroundChannelRow(Base):
    """A channel, or one person's direct messages with Parley (`name` is their id then)."""

    __tablename__ = "playground_channels"
    __table_args__ = (
        CheckConstraint("kind IN ('channel', 'dm')", name="kind"),
        UniqueConstraint("kind", "name"),
        _NO_REUSE,
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)


class PlaygroundPostRow(Base):
    """A message of a person or of Parley. The `reply_*` columns are set on Parley's replies."""

    __tablename__ = "playground_posts"
    __table_args__ = (
        CheckConstraint(
            "reply_state IN ('running', 'done', 'stopped', 'failed')",
            name="reply_state",
        ),
        Index(None, "channel_id", "thread_id", "id"),
        Index(None, "thread_id"),
        UniqueConstraint("turn_id"),
        _NO_REUSE,
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    channel_id: Mapped[int] = mapped_column(
        ForeignKey("playground_channels.id", ondelete="CASCADE")
    )
    thread_id: Mapped[int | None] = mapped_column(
        ForeignKey("playground_posts.id", ondelete="CASCADE")
    )
    author: Mapped[str]
    text: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=utcnow)
    edited: Mapped[bool] = mapped_column(default=False)
    removed: Mapped[bool] = mapped_column(default=False)
    # Not a foreign key: a turn is deleted by the core, which then withdraws its reply.
    turn_id: Mapped[int | None] = mapped_column(RowId)
    asker: Mapped[str | None]
    reply_state: Mapped[str | None]
    notes: Mapped[list[str]] = mapped_column(JSON, default=list)
    error: Mapped[str | None]

    uploads: Mapped[list[PlaygroundUploadRow]] = relationship(
        order_by="PlaygroundUploadRow.id", viewonly=True
    )


class PlaygroundUploadRow(Base):
    """A normalized picture or a document; without a post while its message isn't sent."""

    __tablename__ = "playground_uploads"
    __table_args__ = (Index(None, "post_id"), _NO_REUSE)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    post_id: Mapped[int | None] = mapped_column(
        ForeignKey("playground_posts.id", ondelete="CASCADE")
    )
    owner: Mapped[str]
    name: Mapped[str]
    content_type: Mapped[str]
    size: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    data: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
