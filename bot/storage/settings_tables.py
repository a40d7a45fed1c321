"""Tables of settings, libraries, the audit trail and feedback."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from bot.storage.models import Base, table_args, utcnow
from bot.storage.types import RowId


class ChannelSettingsRow(Base):
    """What is set on a scope; NULL inherits. "" for `thread` and `channel` means all of them."""

    __tablename__ = "channel_settings"
    __table_args__ = table_args(
        CheckConstraint("mode IN ('mention', 'always', 'strict', 'never')", name="mode"),
        CheckConstraint("retention_days >= 0 AND max_images >= 0", name="numbers"),
        UniqueConstraint("workspace_id", "channel", "thread"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    channel: Mapped[str]
    thread: Mapped[str]
    mode: Mapped[str | None]
    inline: Mapped[bool | None]
    answer_bots: Mapped[bool | None]
    retention_days: Mapped[int | None]
    max_images: Mapped[int | None]


class LibraryPersonaRow(Base):
    """A persona of a workspace's own library. `plain_name` is its name, folded to one case."""

    __tablename__ = "library_personas"
    __table_args__ = table_args(UniqueConstraint("workspace_id", "plain_name"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    plain_name: Mapped[str]
    name: Mapped[str]
    text: Mapped[str]
    sampling: Mapped[dict[str, int | float]] = mapped_column(JSON, default=dict)
    set_by_name: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=utcnow)


class AuditRow(Base):
    """Who changed what and when. Rows are only added."""

    __tablename__ = "audit_entries"
    __table_args__ = table_args(Index(None, "workspace_id", "id"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    channel: Mapped[str]
    thread: Mapped[str]
    by_id: Mapped[str]
    by_name: Mapped[str]
    action: Mapped[str]
    before: Mapped[str]
    after: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=utcnow)


class FeedbackRow(Base):
    """A person's feedback on a reply; the latest one counts."""

    __tablename__ = "feedback"
    __table_args__ = (
        CheckConstraint("rating IN ('good', 'bad')", name="rating"),
        Index(None, "user_id"),
    )

    turn_id: Mapped[int] = mapped_column(
        ForeignKey("turns.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(primary_key=True)
    rating: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=utcnow)
