"""Edits and deletions of stored messages."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.events import ThreadKey
from bot.core.records import Turn
from bot.storage import pictures, rows, turns
from bot.storage.models import (
    AttachmentRow,
    ChannelRow,
    ConversationRow,
    MessageRow,
    TurnRow,
    WorkspaceRow,
)

_NO_SYNC = {"synchronize_session": False}


class _Place(NamedTuple):
    message: int
    turn: int
    conversation: int


async def edit(session: AsyncSession, key: ThreadKey, platform_id: str, text: str) -> Turn | None:
    """Change a message's text; returns its turn, None if there is no such message."""
    place = await _find(session, key, platform_id)
    if place is None:
        return None
    await session.execute(
        update(MessageRow).where(MessageRow.id == place.message).values(text=text),
        execution_options=_NO_SYNC,
    )
    return await turns.find(session, place.turn)


async def remove(session: AsyncSession, key: ThreadKey, platform_id: str) -> Turn | None:
    """Delete a message, its turn if that is empty then, and pictures that nothing else uses.

    Returns the turn as it was before, or None if there is no such message.
    """
    place = await _find(session, key, platform_id)
    if place is None:
        return None
    await rows.lock_conversation(session, place.conversation)
    if await _find(session, key, platform_id) is None:  # deleted meanwhile
        return None
    turn = await turns.find(session, place.turn)
    digests = await digests_of(session, MessageRow.id == place.message)
    await session.execute(
        delete(MessageRow).where(MessageRow.id == place.message), execution_options=_NO_SYNC
    )
    await session.execute(
        delete(TurnRow).where(
            TurnRow.id == place.turn, ~exists().where(MessageRow.turn_id == TurnRow.id)
        ),
        execution_options=_NO_SYNC,
    )
    await pictures.drop_unused(session, digests)
    return turn


async def delete_turns(session: AsyncSession, which: ColumnElement[bool]) -> int:
    """Delete turns with their messages and pictures; returns how many. The caller has locked
    their conversations."""
    count = await session.scalar(select(func.count()).select_from(TurnRow).where(which))
    digests = await digests_of(session, which)
    await session.execute(delete(TurnRow).where(which), execution_options=_NO_SYNC)
    await pictures.drop_unused(session, digests)
    return count or 0


async def _find(session: AsyncSession, key: ThreadKey, platform_id: str) -> _Place | None:
    """Where a message is, in any thread of the key's channel."""
    row = (
        await session.execute(
            select(MessageRow.id, TurnRow.id, TurnRow.conversation_id)
            .join(TurnRow, MessageRow.turn_id == TurnRow.id)
            .join(TurnRow.conversation)
            .join(ConversationRow.channel)
            .join(ChannelRow.workspace)
            .where(
                MessageRow.platform_id == platform_id,
                ChannelRow.external_id == key.channel,
                WorkspaceRow.external_id == key.workspace,
                WorkspaceRow.platform == key.platform,
            )
        )
    ).first()
    return _Place(*row) if row is not None else None


async def digests_of(session: AsyncSession, which: ColumnElement[bool]) -> set[str]:
    """The pictures of some messages or turns."""
    digests = await session.scalars(
        select(AttachmentRow.digest)
        .join(MessageRow, AttachmentRow.message_id == MessageRow.id)
        .join(TurnRow, MessageRow.turn_id == TurnRow.id)
        .where(which, AttachmentRow.digest.is_not(None))
    )
    return {digest for digest in digests if digest is not None}
