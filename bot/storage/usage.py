"""Usage of replies, and feedback on them."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.events import ThreadKey
from bot.core.records import Rating, TurnUsage, UsageSummary
from bot.storage import rows
from bot.storage.models import (
    ChannelRow,
    ConversationRow,
    MessageRow,
    TurnRow,
    UsageRow,
    utcnow,
)
from bot.storage.settings_tables import FeedbackRow

_NO_SYNC = {"synchronize_session": False}
_TOKENS = UsageRow.prompt_tokens + UsageRow.generated_tokens


async def add(session: AsyncSession, usage: TurnUsage, *, turn_exists: bool) -> None:
    """Store a reply's usage, even if its turn was deleted."""
    session.add(
        UsageRow(
            turn_id=usage.turn_id if turn_exists else None,
            platform=usage.platform,
            workspace=usage.workspace,
            user_id=usage.user_id,
            model=usage.model,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            generated_tokens=usage.generated_tokens,
            queue_s=usage.queue_s,
            ttft_s=usage.ttft_s,
            total_s=usage.total_s,
        )
    )


async def rate(session: AsyncSession, turn_id: int, user_id: str, rating: Rating) -> bool:
    """Store a person's feedback, replacing their last; False if the turn was deleted."""
    there = await session.scalar(
        select(TurnRow.id).where(TurnRow.id == turn_id).with_for_update(key_share=True)
    )
    if there is None:
        return False
    insert = rows.upsert(session, FeedbackRow, turn_id=turn_id, user_id=user_id, rating=rating)
    await session.execute(
        insert.on_conflict_do_update(
            index_elements=[FeedbackRow.turn_id, FeedbackRow.user_id],
            set_={"rating": insert.excluded.rating, "at": insert.excluded.at},
        )
    )
    return True


async def summary(
    session: AsyncSession, workspace: ThreadKey, days: int, user_id: str | None = None
) -> UsageSummary:
    """The usage of the last days, everybody's or one person's."""
    conditions = [
        UsageRow.platform == workspace.platform,
        UsageRow.workspace == workspace.workspace,
        UsageRow.at >= utcnow() - timedelta(days=days),
    ]
    if user_id is not None:
        conditions.append(UsageRow.user_id == user_id)
    total = (
        await session.execute(
            select(
                func.count(),
                func.coalesce(func.sum(UsageRow.prompt_tokens), 0),
                func.coalesce(func.sum(UsageRow.cached_tokens), 0),
                func.coalesce(func.sum(UsageRow.generated_tokens), 0),
            ).where(*conditions)
        )
    ).one()
    by_user = await session.execute(
        select(UsageRow.user_id, func.count(), func.sum(_TOKENS))
        .where(*conditions)
        .group_by(UsageRow.user_id)
        .order_by(func.sum(_TOKENS).desc(), UsageRow.user_id)
    )
    users = [(user, int(count), int(tokens)) for user, count, tokens in by_user]
    ratings = await _ratings(session, workspace, days, user_id)
    return UsageSummary(
        days=days,
        replies=int(total[0]),
        prompt_tokens=int(total[1]),
        cached_tokens=int(total[2]),
        generated_tokens=int(total[3]),
        by_user=users,
        names=await _names(session, workspace, [user for user, _, _ in users]),
        good=ratings.get("good", 0),
        bad=ratings.get("bad", 0),
    )


async def _ratings(
    session: AsyncSession, workspace: ThreadKey, days: int, user_id: str | None
) -> dict[str, int]:
    statement = (
        select(FeedbackRow.rating, func.count())
        .join(TurnRow, FeedbackRow.turn_id == TurnRow.id)
        .join(TurnRow.conversation)
        .join(ConversationRow.channel)
        .join(ChannelRow.workspace)
        .where(*rows.in_workspace(workspace), FeedbackRow.at >= utcnow() - timedelta(days=days))
        .group_by(FeedbackRow.rating)
    )
    if user_id is not None:
        statement = statement.where(FeedbackRow.user_id == user_id)
    return {rating: int(count) for rating, count in await session.execute(statement)}


async def _names(session: AsyncSession, workspace: ThreadKey, users: list[str]) -> dict[str, str]:
    """The latest names of the heaviest users who have a stored message."""
    some = users[:100]
    if not some:
        return {}
    latest = (
        select(func.max(MessageRow.id))
        .join(TurnRow, MessageRow.turn_id == TurnRow.id)
        .join(TurnRow.conversation)
        .join(ConversationRow.channel)
        .join(ChannelRow.workspace)
        .where(*rows.in_workspace(workspace), MessageRow.author_id.in_(some))
        .group_by(MessageRow.author_id)
    )
    rows_by_author = await session.execute(
        select(MessageRow.author_id, MessageRow.author_name).where(MessageRow.id.in_(latest))
    )
    return {row.author_id: row.author_name for row in rows_by_author}


async def disown(session: AsyncSession, scope: ThreadKey, user_id: str) -> None:
    """Detach a person from their usage, and delete their feedback.

    Use is counted by workspace: below a narrower scope only the feedback goes.
    """
    if not scope.channel:
        await session.execute(
            update(UsageRow)
            .where(
                UsageRow.platform == scope.platform,
                UsageRow.workspace == scope.workspace,
                UsageRow.user_id == user_id,
            )
            .values(user_id=""),
            execution_options=_NO_SYNC,
        )
    await session.execute(
        delete(FeedbackRow).where(
            FeedbackRow.user_id == user_id, FeedbackRow.turn_id.in_(rows.turn_ids_below(scope))
        ),
        execution_options=_NO_SYNC,
    )
