"""The tables, as SQLAlchemy models. Their history is in migrations/."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from bot.core.records import TurnState
from bot.storage.types import RowId, SafeText, TokenIds, UtcDateTime

#: Every constraint has a name, so that a migration can drop it on any database.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def utcnow() -> datetime:
    """The current time, with a time zone."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """The base of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: SafeText,
        datetime: UtcDateTime,
        bytes: LargeBinary,
    }


def table_args(*constraints: Any) -> tuple[Any, ...]:
    """Table arguments under which row ids are never reused: the button of a deleted turn must not
    act on another turn. (PostgreSQL's sequences never reuse ids.)"""
    return (*constraints, {"sqlite_autoincrement": True})


class WorkspaceRow(Base):
    """A guild, a Slack workspace, or the one workspace of the playground or the terminal."""

    __tablename__ = "workspaces"
    __table_args__ = table_args(UniqueConstraint("platform", "external_id"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    platform: Mapped[str]
    external_id: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)


class ChannelRow(Base):
    """A channel or a direct message in which somebody talked to the bot."""

    __tablename__ = "channels"
    __table_args__ = table_args(UniqueConstraint("workspace_id", "external_id"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    external_id: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)

    workspace: Mapped[WorkspaceRow] = relationship()


class ConversationRow(Base):
    """A conversation in a thread; `thread` is "" in the channel itself."""

    __tablename__ = "conversations"
    __table_args__ = table_args(UniqueConstraint("channel_id", "thread"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id", ondelete="CASCADE"))
    thread: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)

    channel: Mapped[ChannelRow] = relationship()


class TurnRow(Base):
    """One user message, or a burst merged into one, and its reply."""

    __tablename__ = "turns"
    __table_args__ = table_args(
        CheckConstraint(
            "state IN ('accepted', 'answering', 'delivered', 'failed', 'cancelled')", name="state"
        ),
        CheckConstraint(
            "finish_reason IN ('stop', 'length', 'cancelled')",
            name="finish_reason",
        ),
        Index(None, "conversation_id", "id"),
        Index(None, "state"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(default=TurnState.ACCEPTED)
    reply_text: Mapped[str] = mapped_column(default="")
    reply_token_ids: Mapped[tuple[int, ...]] = mapped_column(TokenIds, default=())
    finish_reason: Mapped[str | None]
    posted: Mapped[list[str]] = mapped_column(JSON, default=list)
    ref: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    conversation: Mapped[ConversationRow] = relationship()
    messages: Mapped[list[MessageRow]] = relationship(order_by="MessageRow.id", viewonly=True)


class MessageRow(Base):
    """One message of a person."""

    __tablename__ = "messages"
    __table_args__ = table_args(Index(None, "turn_id"), Index(None, "platform_id"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    turn_id: Mapped[int] = mapped_column(ForeignKey("turns.id", ondelete="CASCADE"))
    platform_id: Mapped[str]
    author_id: Mapped[str]
    author_name: Mapped[str]
    text: Mapped[str]
    at: Mapped[datetime]

    attachments: Mapped[list[AttachmentRow]] = relationship(
        order_by="AttachmentRow.id", viewonly=True
    )


class ImageRow(Base):
    """A normalized picture, stored once per content while an attachment refers to it."""

    __tablename__ = "images"
    __table_args__ = (
        CheckConstraint("width > 0", name="width"),
        CheckConstraint("height > 0", name="height"),
    )

    digest: Mapped[str] = mapped_column(primary_key=True)  # SHA-256 of `data` in hex
    data: Mapped[bytes]
    width: Mapped[int]
    height: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)


class AttachmentRow(Base):
    """A file on a message: its picture or text, or why there is neither, or nothing while it is
    not read.

    `name`, `declared_type` and `size` (bytes) are what the sender claimed; `note` says what of the
    file is not kept.
    """

    __tablename__ = "attachments"
    __table_args__ = table_args(
        CheckConstraint("digest IS NULL OR problem IS NULL", name="digest_or_problem"),
        Index(None, "message_id"),
        Index(None, "digest"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    message_id: Mapped[int] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"))
    name: Mapped[str]
    declared_type: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str | None] = mapped_column(ForeignKey("images.digest"))
    problem: Mapped[str | None]
    text: Mapped[str | None]
    note: Mapped[str] = mapped_column(default="", server_default="")


class ClaimRow(Base):
    """A message that was accepted: a repeated delivery is recognized by it.

    It outlives the message, which may be deleted, and holds nothing of what was written.
    """

    __tablename__ = "claims"
    __table_args__ = (Index(None, "at"),)

    platform: Mapped[str] = mapped_column(primary_key=True)
    workspace: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=utcnow)


class ResetPointRow(Base):
    """See `bot.core.records.ResetPoint`; "" for `thread` and `channel` means all of them."""

    __tablename__ = "reset_points"
    __table_args__ = table_args(UniqueConstraint("workspace_id", "channel", "thread", "person"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    channel: Mapped[str]
    thread: Mapped[str]
    person: Mapped[str]
    at: Mapped[datetime]


class PersonaRow(Base):
    """A scope that has, or had, a persona: "" for `thread` and `channel` means all of them."""

    __tablename__ = "personas"
    __table_args__ = table_args(UniqueConstraint("workspace_id", "channel", "thread"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    channel: Mapped[str]
    thread: Mapped[str]


class PersonaVersionRow(Base):
    """A persona as set by somebody (`text` NULL: cleared). Rows are only added."""

    __tablename__ = "persona_versions"
    __table_args__ = table_args(Index(None, "persona_id", "id"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    persona_id: Mapped[int] = mapped_column(ForeignKey("personas.id", ondelete="CASCADE"))
    text: Mapped[str | None]
    sampling: Mapped[dict[str, int | float]] = mapped_column(JSON, default=dict)
    library_name: Mapped[str | None]
    set_by_id: Mapped[str]
    set_by_name: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=utcnow)


class UsageRow(Base):
    """The usage of one reply. It outlives its turn and holds no text."""

    __tablename__ = "usage"
    __table_args__ = table_args(
        CheckConstraint(
            "prompt_tokens >= 0 AND cached_tokens >= 0 AND generated_tokens >= 0", name="tokens"
        ),
        Index(None, "turn_id"),
        Index(None, "platform", "workspace", "user_id", "at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    turn_id: Mapped[int | None] = mapped_column(ForeignKey("turns.id", ondelete="SET NULL"))
    platform: Mapped[str]
    workspace: Mapped[str]
    user_id: Mapped[str]
    model: Mapped[str]
    prompt_tokens: Mapped[int]
    cached_tokens: Mapped[int]
    generated_tokens: Mapped[int]
    queue_s: Mapped[float]
    ttft_s: Mapped[float]
    total_s: Mapped[float]
    at: Mapped[datetime] = mapped_column(default=utcnow)
