"""Inserts earlier messages before a new conversation's first turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.events import PastMessage, ThreadKey
from bot.core.records import TurnState
from bot.storage import rows, turns
from bot.storage.models import MessageRow, TurnRow

_NO_SYNC = {"synchronize_session": False}


async def add(
    session: AsyncSession, key: ThreadKey, past: Sequence[PastMessage]
) -> tuple[tuple[int, ...], ...]:
    """Store them; returns each one's attachment ids. Stores nothing unless exactly one turn waits.

    Turns are in the order of their ids, so the one that waits gets a new id, behind these. Nobody
    knows the old one yet: it was not taken, and nothing was posted for it.
    """
    conversation = await rows.find_conversation(session, key)
    if conversation is None:
        return ()
    await rows.lock_conversation(session, conversation)
    there = (
        await session.execute(
            select(TurnRow.id, TurnRow.state, TurnRow.created_at).where(
                TurnRow.conversation_id == conversation
            )
        )
    ).all()
    if len(there) != 1 or there[0].state != TurnState.ACCEPTED:
        return ()
    stored: list[tuple[int, ...]] = []
    for messages in _turns(past):
        stored += await _add_turn(session, conversation, messages)
    waiting = TurnRow(conversation_id=conversation, created_at=there[0].created_at)
    session.add(waiting)
    await session.flush()
    await session.execute(
        update(MessageRow).where(MessageRow.turn_id == there[0].id).values(turn_id=waiting.id),
        execution_options=_NO_SYNC,
    )
    await session.execute(
        delete(TurnRow).where(TurnRow.id == there[0].id), execution_options=_NO_SYNC
    )
    return tuple(stored)


def _turns(past: Sequence[PastMessage]) -> Iterator[list[PastMessage]]:
    """Group messages into turns: people's messages and the bot's messages that follow them."""
    turn: list[PastMessage] = []
    for message in past:
        if turn and turn[-1].author.is_self and not message.author.is_self:
            yield turn
            turn = []
        turn.append(message)
    if turn:
        yield turn


async def _add_turn(
    session: AsyncSession, conversation: int, messages: Sequence[PastMessage]
) -> list[tuple[int, ...]]:
    own = [message for message in messages if message.author.is_self]
    turn = TurnRow(
        conversation_id=conversation,
        state=TurnState.DELIVERED,
        reply_text="\n\n".join(message.text for message in own),
        posted=[message.id for message in own],
        # The age of the messages, for the retention.
        created_at=messages[0].at,
        finished_at=messages[-1].at,
    )
    session.add(turn)
    await session.flush()
    stored: list[tuple[int, ...]] = []
    for message in messages:
        if message.author.is_self:
            stored.append(())  # replies have no pictures
            continue
        row = MessageRow(
            turn_id=turn.id,
            platform_id=message.id,
            author_id=message.author.id,
            author_name=message.author.name,
            text=message.text,
            at=message.at,
        )
        session.add(row)
        await session.flush()
        stored.append(await turns.add_files(session, row.id, message.attachments))
    return stored
