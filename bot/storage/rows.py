"""Finds, creates and locks rows; conversions that several modules share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.events import ThreadKey
from bot.core.records import SamplingOverrides
from bot.storage.models import Base, ChannelRow, ConversationRow, TurnRow, WorkspaceRow

_SAMPLING_FIELDS = frozenset(field.name for field in fields(SamplingOverrides))


def upsert(session: AsyncSession, model: type[Base], **values: Any) -> Any:
    """An INSERT of one row with `on_conflict_do_nothing()` and `..._do_update()`, which SQLAlchemy
    has once per dialect."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(model).values(**values)
    return sqlite.insert(model).values(**values)


async def find_or_add(session: AsyncSession, model: Any, **values: Any) -> int:
    """The id of the row with these unique values, created if missing, even concurrently."""
    query = select(model.id).filter_by(**values)
    row_id: int | None = await session.scalar(query)
    if row_id is None:
        await session.execute(upsert(session, model, **values).on_conflict_do_nothing())
        row_id = (await session.scalars(query)).one()
    return row_id


async def workspace_id(session: AsyncSession, key: ThreadKey) -> int:
    """The id of the key's workspace, created if missing."""
    return await find_or_add(
        session, WorkspaceRow, platform=key.platform, external_id=key.workspace
    )


async def conversation_id(session: AsyncSession, key: ThreadKey) -> int:
    """The id of the conversation at `key`, created if missing."""
    channel = await find_or_add(
        session,
        ChannelRow,
        workspace_id=await workspace_id(session, key),
        external_id=key.channel,
    )
    return await find_or_add(session, ConversationRow, channel_id=channel, thread=key.thread)


async def find_conversation(session: AsyncSession, key: ThreadKey) -> int | None:
    """The id of the conversation at `key`, None if there is none."""
    row_id: int | None = await session.scalar(
        select(ConversationRow.id)
        .join(ConversationRow.channel)
        .join(ChannelRow.workspace)
        .where(
            WorkspaceRow.platform == key.platform,
            WorkspaceRow.external_id == key.workspace,
            ChannelRow.external_id == key.channel,
            ConversationRow.thread == key.thread,
        )
    )
    return row_id


async def has_conversation(session: AsyncSession, key: ThreadKey) -> bool:
    """Whether the bot is in this thread."""
    return await find_conversation(session, key) is not None


async def lock_conversation(session: AsyncSession, conversation: int) -> None:
    """Lock a conversation's turns until the commit.

    Every writer that looks at a conversation's turns takes this first, so none can deadlock
    with another. On SQLite a writer is alone anyway, and this only reads.
    """
    await session.execute(
        select(ConversationRow.id)
        .where(ConversationRow.id == conversation)
        .with_for_update(key_share=True)
    )


def in_workspace(key: ThreadKey) -> tuple[ColumnElement[bool], ...]:
    """Conditions: a joined WorkspaceRow is the key's."""
    return (WorkspaceRow.platform == key.platform, WorkspaceRow.external_id == key.workspace)


def below(scope: ThreadKey) -> list[ColumnElement[bool]]:
    """Conditions: a joined conversation is at the scope or below it."""
    conditions = [*in_workspace(scope)]
    if scope.channel:
        conditions.append(ChannelRow.external_id == scope.channel)
    if scope.thread:
        conditions.append(ConversationRow.thread == scope.thread)
    return conditions


def conversation_ids_below(scope: ThreadKey) -> Select[int]:
    """The ids of the conversations at a scope or below it."""
    return (
        select(ConversationRow.id)
        .join(ConversationRow.channel)
        .join(ChannelRow.workspace)
        .where(*below(scope))
    )


def turn_ids_below(scope: ThreadKey) -> Select[int]:
    """The ids of the turns of those conversations."""
    return select(TurnRow.id).where(TurnRow.conversation_id.in_(conversation_ids_below(scope)))


def sampling_out(sampling: SamplingOverrides) -> dict[str, int | float]:
    """Sampling settings as stored: only those that are set."""
    return {name: value for name, value in asdict(sampling).items() if value is not None}


def sampling_in(stored: Mapping[str, int | float]) -> SamplingOverrides:
    """Stored sampling settings, without those this version does not know."""
    values: dict[str, Any] = {name: stored[name] for name in stored if name in _SAMPLING_FIELDS}
    return SamplingOverrides(**values)
