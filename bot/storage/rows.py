"""Finding rows, making them where they are missing, and who waits for whom."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.events import ThreadKey
from bot.storage.models import Base, ChannelRow, ConversationRow, WorkspaceRow


def upsert(session: AsyncSession, model: type[Base], **values: Any) -> Any:
    """An INSERT of one row that can be given `on_conflict_do_nothing()` or `..._do_update()`:
    the same clause, which SQLAlchemy keeps once per dialect."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(model).values(**values)
    return sqlite.insert(model).values(**values)


async def find_or_add(session: AsyncSession, model: Any, **values: Any) -> int:
    """The id of the row with these unique values, made now if need be, whoever else makes it."""
    query = select(model.id).filter_by(**values)
    found: int | None = await session.scalar(query)
    if found is None:
        await session.execute(upsert(session, model, **values).on_conflict_do_nothing())
        found = (await session.scalars(query)).one()
    return found


async def workspace_id(session: AsyncSession, key: ThreadKey) -> int:
    """The id of the key's workspace, made now if need be."""
    return await find_or_add(
        session, WorkspaceRow, platform=key.platform, external_id=key.workspace
    )


async def conversation_id(session: AsyncSession, key: ThreadKey) -> int:
    """The id of the conversation at `key`, made now if need be."""
    channel = await find_or_add(
        session,
        ChannelRow,
        workspace_id=await workspace_id(session, key),
        external_id=key.channel,
    )
    return await find_or_add(session, ConversationRow, channel_id=channel, thread=key.thread)


async def find_conversation(session: AsyncSession, key: ThreadKey) -> int | None:
    """The id of the conversation at `key`, None if there is none."""
    found: int | None = await session.scalar(
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
    return found


async def lock_conversation(session: AsyncSession, conversation: int) -> None:
    """Wait until nobody else changes this conversation's turns; hold it until the commit.

    Every writer that looks at a conversation's turns takes this first, so none can deadlock
    with another. On SQLite a writer is alone anyway, and this only reads.
    """
    await session.execute(
        select(ConversationRow.id)
        .where(ConversationRow.id == conversation)
        .with_for_update(key_share=True)
    )
