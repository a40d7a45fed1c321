"""Turns: accepts messages as work, hands the work out, stores the outcome."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload, selectinload

from bot.core.events import Attachment, MessageReceived, ThreadKey
from bot.core.records import (
    Accepted,
    StoredAttachment,
    Turn,
    TurnState,
    TurnUsage,
    UserMessage,
)
from bot.storage import rows
from bot.storage import usage as usages
from bot.storage.models import (
    AttachmentRow,
    ChannelRow,
    ClaimRow,
    ConversationRow,
    MessageRow,
    TurnRow,
    WorkspaceRow,
    utcnow,
)

#: States of a turn that is done.
FINISHED = (TurnState.DELIVERED, TurnState.FAILED, TurnState.CANCELLED)
#: States of a turn whose author still waits.
OWED = (TurnState.ACCEPTED, TurnState.ANSWERING)
#: Turns from before the bot joined: delivered, though nothing was generated.
_FROM_BEFORE = and_(TurnRow.state == TurnState.DELIVERED, TurnRow.finish_reason.is_(None))


async def accept(session: AsyncSession, key: ThreadKey, event: MessageReceived) -> Accepted | None:
    """Claim a message and store it as work; None if it was claimed before."""
    if not await claim(session, key, event.id):
        return None
    conversation = await rows.conversation_id(session, key)
    await rows.lock_conversation(session, conversation)
    waiting = await session.scalar(
        select(TurnRow.id)
        .where(TurnRow.conversation_id == conversation, TurnRow.state == TurnState.ACCEPTED)
        .order_by(TurnRow.id.desc())
        .limit(1)
    )
    if waiting is None:
        turn = TurnRow(conversation_id=conversation)
        session.add(turn)
        await session.flush()
    turn_id = turn.id if waiting is None else waiting
    message = MessageRow(
        turn_id=turn_id,
        platform_id=event.id,
        author_id=event.author.id,
        author_name=event.author.name,
        text=event.text,
        at=event.at,
    )
    session.add(message)
    await session.flush()
    files = await add_files(session, message.id, event.attachments)
    return Accepted(turn_id, message.id, files, waiting is not None)


async def add_files(
    session: AsyncSession, message: int, attachments: Sequence[Attachment]
) -> tuple[int, ...]:
    """Add a message's files, which are not read yet; returns their ids."""
    files = [
        AttachmentRow(
            message_id=message,
            name=attachment.name,
            declared_type=attachment.content_type,
            size=attachment.size,
        )
        for attachment in attachments
    ]
    session.add_all(files)
    await session.flush()
    return tuple(file.id for file in files)


async def claim(session: AsyncSession, key: ThreadKey, message_id: str) -> bool:
    """Claim a message; False if it was claimed before. Of two concurrent claims the second waits
    for the first one's commit and is refused."""
    statement = (
        rows.upsert(
            session,
            ClaimRow,
            platform=key.platform,
            workspace=key.workspace,
            channel=key.channel,
            message_id=message_id,
        )
        .on_conflict_do_nothing()
        .returning(ClaimRow.message_id)
    )
    return (await session.scalar(statement)) is not None


async def next_turn(session: AsyncSession, key: ThreadKey) -> Turn | None:
    """Take the conversation's oldest accepted turn; its state is `answering` then."""
    conversation = await rows.find_conversation(session, key)
    if conversation is None:
        return None
    await rows.lock_conversation(session, conversation)
    oldest = await session.scalar(
        select(TurnRow.id)
        .where(TurnRow.conversation_id == conversation, TurnRow.state == TurnState.ACCEPTED)
        .order_by(TurnRow.id)
        .limit(1)
    )
    if oldest is None:
        return None
    await change(session, oldest, state=TurnState.ANSWERING, started_at=utcnow())
    return await find(session, oldest)


async def reopen(session: AsyncSession, turn_id: int) -> Turn | None:
    """Make a turn `answering` again and empty its reply, which stays where it is posted."""
    await change(
        session,
        turn_id,
        state=TurnState.ANSWERING,
        reply_text="",
        reply_token_ids=(),
        finish_reason=None,
        ref=None,
        started_at=utcnow(),
        finished_at=None,
    )
    return await find(session, turn_id)


async def save_reply(
    session: AsyncSession,
    turn_id: int,
    state: TurnState,
    *,
    text: str = "",
    token_ids: Sequence[int] = (),
    finish_reason: str | None = None,
    posted: Sequence[str] = (),
    ref: str | None = None,
    usage: TurnUsage | None = None,
) -> None:
    """End a turn. An empty `posted` leaves what `set_posted` noted."""
    values = {"posted": list(posted)} if posted else {}
    exists = await change(
        session,
        turn_id,
        state=state,
        reply_text=text,
        reply_token_ids=tuple(token_ids),
        finish_reason=finish_reason,
        ref=ref,
        finished_at=utcnow(),
        **values,
    )
    if usage is not None:
        await usages.add(session, usage, turn_exists=exists)


async def set_posted(session: AsyncSession, turn_id: int, posted: Sequence[str]) -> None:
    """Store where a reply is posted on its platform."""
    await change(session, turn_id, posted=list(posted))


async def change(session: AsyncSession, turn_id: int, **values: Any) -> bool:
    """Set columns of a turn; returns whether it exists."""
    result = await session.execute(
        update(TurnRow).where(TurnRow.id == turn_id).values(**values).returning(TurnRow.id),
        execution_options={"synchronize_session": False},
    )
    return result.scalar() is not None


async def release(session: AsyncSession, turn_id: int) -> None:
    """Return an `answering` turn to `accepted`."""
    await session.execute(
        update(TurnRow)
        .where(TurnRow.id == turn_id, TurnRow.state == TurnState.ANSWERING)
        .values(state=TurnState.ACCEPTED, started_at=None),
        execution_options={"synchronize_session": False},
    )


async def find(session: AsyncSession, turn_id: int) -> Turn | None:
    """One turn, or None."""
    turns = await _load(session, TurnRow.id == turn_id)
    return turns[0] if turns else None


async def transcript(
    session: AsyncSession, key: ThreadKey, before_turn: int | None = None
) -> list[Turn]:
    """The conversation's finished turns that have a reply text or are from before the bot joined,
    oldest first."""
    conversation = await rows.find_conversation(session, key)
    if conversation is None:
        return []
    conditions: list[ColumnElement[bool]] = [
        TurnRow.conversation_id == conversation,
        TurnRow.state.in_(FINISHED),
        or_(TurnRow.reply_text != "", _FROM_BEFORE),
    ]
    if before_turn is not None:
        conditions.append(TurnRow.id < before_turn)
    return await _load(session, *conditions)


async def unfinished(session: AsyncSession) -> list[Turn]:
    """Turns still owed, oldest first."""
    return await _load(session, TurnRow.state.in_(OWED))


async def conversation_of(
    session: AsyncSession, channel: ThreadKey, posted: str
) -> ThreadKey | None:
    """The conversation in a channel, or below it, whose reply is posted in the message `posted`."""
    thread = await session.scalar(
        select(ConversationRow.thread)
        .join(TurnRow, TurnRow.conversation_id == ConversationRow.id)
        .join(ConversationRow.channel)
        .join(ChannelRow.workspace)
        .where(
            *rows.below(channel.channel_key),
            # A list of strings, whose text is the same on every database.
            cast(TurnRow.posted, Text).contains(json.dumps(posted), autoescape=True),
        )
        .order_by(TurnRow.id.desc())
        .limit(1)
    )
    return None if thread is None else channel.in_thread(thread)


async def _load(session: AsyncSession, *conditions: ColumnElement[bool]) -> list[Turn]:
    turn_rows: Sequence[TurnRow] = (
        await session.scalars(
            select(TurnRow)
            .where(*conditions)
            .order_by(TurnRow.id)
            .options(
                selectinload(TurnRow.messages).selectinload(MessageRow.attachments),
                joinedload(TurnRow.conversation)
                .joinedload(ConversationRow.channel)
                .joinedload(ChannelRow.workspace),
            )
            .execution_options(populate_existing=True)
        )
    ).all()
    return [_turn(row) for row in turn_rows]


def _turn(row: TurnRow) -> Turn:
    return Turn(
        id=row.id,
        conversation_id=row.conversation_id,
        key=_key(row.conversation),
        state=TurnState(row.state),
        messages=tuple(_message(message) for message in row.messages),
        reply_text=row.reply_text,
        reply_token_ids=row.reply_token_ids,
        finish_reason=row.finish_reason,
        posted=tuple(row.posted),
        ref=row.ref,
    )


def _key(conversation: ConversationRow) -> ThreadKey:
    channel = conversation.channel
    workspace: WorkspaceRow = channel.workspace
    return ThreadKey(
        workspace.platform, workspace.external_id, channel.external_id, conversation.thread
    )


def _message(row: MessageRow) -> UserMessage:
    return UserMessage(
        id=row.id,
        platform_id=row.platform_id,
        author_id=row.author_id,
        author_name=row.author_name,
        text=row.text,
        attachments=tuple(
            StoredAttachment(file.id, file.name, file.digest, file.problem, file.text, file.note)
            for file in row.attachments
        ),
        at=row.at,
    )
