"""Permanent deletion: a scope, a person, and what is past its retention."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.events import ThreadKey
from bot.core.records import Change, ResetPoint, person_hash
from bot.storage import audit, messages, pictures, reset_points, rows, turns, usage
from bot.storage.models import (
    ChannelRow,
    ClaimRow,
    ConversationRow,
    MessageRow,
    TurnRow,
    WorkspaceRow,
)

_NO_SYNC = {"synchronize_session": False}


async def reset(session: AsyncSession, key: ThreadKey, at: datetime) -> int:
    """Delete a conversation's turns, messages and pictures; returns how many turns.

    The conversation row stays: the bot is still in the thread.
    """
    conversation = await rows.find_conversation(session, key)
    if conversation is None:
        return 0
    await rows.lock_conversation(session, conversation)
    await reset_points.put(session, ResetPoint(key, at))
    return await messages.delete_turns(session, TurnRow.conversation_id == conversation)


async def forget(
    session: AsyncSession,
    scope: ThreadKey,
    user_id: str | None = None,
    change: Change | None = None,
    *,
    at: datetime,
) -> int:
    """Delete all turns below a scope, or what one person wrote there; returns how many turns."""
    person = ""
    if user_id is None:
        turns_deleted = await _everybody(session, scope)
    else:
        turns_deleted = await _person(session, scope, user_id)
        person = person_hash(scope, user_id)
    # After the conversations are locked, as in `reset`, so that the two can't deadlock.
    await reset_points.put(session, ResetPoint(scope, at, person))
    await audit.record(session, scope, change)
    return turns_deleted


async def _everybody(session: AsyncSession, scope: ThreadKey) -> int:
    """Delete all turns below a scope. The conversation rows stay: the bot is still in the
    threads, and does not read them again."""
    return sum(
        [
            await messages.delete_turns(session, TurnRow.conversation_id == conversation)
            for conversation in await _lock_all(session, scope)
        ]
    )


async def _person(session: AsyncSession, scope: ThreadKey, user_id: str) -> int:
    """Delete what one person wrote below a scope; returns how many turns changed.

    A turn that others wrote in as well keeps their messages but not its reply, which also
    answered this person.
    """
    await _lock_all(session, scope)
    concerned = (
        await session.scalars(
            select(MessageRow.turn_id)
            .where(
                MessageRow.author_id == user_id,
                MessageRow.turn_id.in_(rows.turn_ids_below(scope)),
            )
            .distinct()
        )
    ).all()
    for turn in concerned:
        theirs = (MessageRow.turn_id == turn) & (MessageRow.author_id == user_id)
        digests = await messages.digests_of(session, theirs)
        await session.execute(delete(MessageRow).where(theirs), execution_options=_NO_SYNC)
        await session.execute(
            delete(TurnRow).where(
                TurnRow.id == turn, ~exists().where(MessageRow.turn_id == TurnRow.id)
            ),
            execution_options=_NO_SYNC,
        )
        await session.execute(
            update(TurnRow).where(TurnRow.id == turn).values(reply_text="", reply_token_ids=()),
            execution_options=_NO_SYNC,
        )
        await pictures.drop_unused(session, digests)
    await usage.disown(session, scope, user_id)
    return len(concerned)


async def _lock_all(session: AsyncSession, scope: ThreadKey) -> list[int]:
    """The conversations below a scope, locked in the order of their ids."""
    ids = await session.scalars(rows.conversation_ids_below(scope).order_by(ConversationRow.id))
    conversations: list[int] = list(ids)
    for conversation in conversations:
        await rows.lock_conversation(session, conversation)
    return conversations


async def conversations_before(session: AsyncSession, before: datetime) -> list[ThreadKey]:
    """Conversations with finished turns older than `before`."""
    places = await session.execute(
        select(
            WorkspaceRow.platform,
            WorkspaceRow.external_id,
            ChannelRow.external_id,
            ConversationRow.thread,
        )
        .join(ChannelRow, ChannelRow.workspace_id == WorkspaceRow.id)
        .join(ConversationRow, ConversationRow.channel_id == ChannelRow.id)
        .where(
            exists().where(
                TurnRow.conversation_id == ConversationRow.id,
                TurnRow.state.in_(turns.FINISHED),
                TurnRow.created_at < before,
            )
        )
        .order_by(ConversationRow.id)
    )
    return [ThreadKey(*place) for place in places]


async def turns_before(session: AsyncSession, key: ThreadKey, before: datetime) -> int:
    """Delete a conversation's finished turns older than `before`; returns how many."""
    conversation = await rows.find_conversation(session, key)
    if conversation is None:
        return 0
    await rows.lock_conversation(session, conversation)
    old = (
        (TurnRow.conversation_id == conversation)
        & TurnRow.state.in_(turns.FINISHED)
        & (TurnRow.created_at < before)
    )
    return await messages.delete_turns(session, old)


async def claims(session: AsyncSession, before: datetime) -> int:
    """Delete claims older than `before`; returns how many."""
    deleted = await session.scalars(
        delete(ClaimRow).where(ClaimRow.at < before).returning(ClaimRow.message_id),
        execution_options=_NO_SYNC,
    )
    return len(deleted.all())
