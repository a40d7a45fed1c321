"""Reset points: what was said at a scope before then was forgotten and isn't read again."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.events import ThreadKey
from bot.core.records import ResetPoint
from bot.storage import rows
from bot.storage.models import ResetPointRow, WorkspaceRow


async def put(session: AsyncSession, point: ResetPoint) -> None:
    """Set a scope's reset point, unless it has a later one."""
    place = {
        "workspace_id": await rows.workspace_id(session, point.scope),
        "channel": point.scope.channel,
        "thread": point.scope.thread,
        "person": point.person,
    }
    insert = rows.upsert(session, ResetPointRow, **place, at=point.at)
    later = insert.excluded.at
    await session.execute(
        insert.on_conflict_do_update(
            index_elements=list(place), set_={"at": later}, where=ResetPointRow.at < later
        )
    )


async def find(
    session: AsyncSession, key: ThreadKey, message_ids: Sequence[str]
) -> list[ResetPoint]:
    """The reset points of a conversation's scopes, and of threads opened from these messages."""
    scopes = [
        and_(ResetPointRow.channel == scope.channel, ResetPointRow.thread == scope.thread)
        for scope in key.scopes()
    ]
    opened = and_(ResetPointRow.channel == key.channel, ResetPointRow.thread.in_(message_ids))
    points = await session.scalars(
        select(ResetPointRow)
        .join(WorkspaceRow, ResetPointRow.workspace_id == WorkspaceRow.id)
        .where(*rows.in_workspace(key), or_(*scopes, opened))
        .order_by(ResetPointRow.id)
    )
    return [
        ResetPoint(
            ThreadKey(key.platform, key.workspace, row.channel, row.thread), row.at, row.person
        )
        for row in points
    ]
