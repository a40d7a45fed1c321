"""Settings by scope: what admins set on a workspace, a channel or a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.events import ThreadKey
from bot.core.records import Change, ChannelSettings, Mode
from bot.storage import audit, rows
from bot.storage.models import WorkspaceRow
from bot.storage.settings_tables import ChannelSettingsRow

_NO_SYNC = {"synchronize_session": False}


async def at_scopes(
    session: AsyncSession, scopes: Sequence[ThreadKey]
) -> dict[ThreadKey, ChannelSettings]:
    """What is set on each of the scopes that has something set."""
    if not scopes:
        return {}
    conditions = [
        and_(
            *rows.in_workspace(scope),
            ChannelSettingsRow.channel == scope.channel,
            ChannelSettingsRow.thread == scope.thread,
        )
        for scope in scopes
    ]
    return await _load(session, or_(*conditions))


async def in_workspace(
    session: AsyncSession, workspace: ThreadKey
) -> dict[ThreadKey, ChannelSettings]:
    """What is set anywhere in a workspace."""
    return await _load(session, and_(*rows.in_workspace(workspace)))


async def put(
    session: AsyncSession, scope: ThreadKey, changed: ChannelSettings, change: Change
) -> None:
    """Replace a scope's settings; with nothing set its row is deleted."""
    await audit.record(session, scope, change)
    workspace = await rows.workspace_id(session, scope)
    if changed == ChannelSettings():
        await session.execute(
            delete(ChannelSettingsRow).where(
                ChannelSettingsRow.workspace_id == workspace,
                ChannelSettingsRow.channel == scope.channel,
                ChannelSettingsRow.thread == scope.thread,
            ),
            execution_options=_NO_SYNC,
        )
        return
    place = {"workspace_id": workspace, "channel": scope.channel, "thread": scope.thread}
    values = asdict(changed)
    insert = rows.upsert(session, ChannelSettingsRow, **place, **values)
    await session.execute(insert.on_conflict_do_update(index_elements=list(place), set_=values))


async def shortest_retention(session: AsyncSession) -> int | None:
    """The smallest retention set anywhere, in days, ignoring 0."""
    days: int | None = await session.scalar(
        select(ChannelSettingsRow.retention_days)
        .where(ChannelSettingsRow.retention_days > 0)
        .order_by(ChannelSettingsRow.retention_days)
        .limit(1)
    )
    return days


async def _load(session: AsyncSession, condition: Any) -> dict[ThreadKey, ChannelSettings]:
    results = await session.execute(
        select(ChannelSettingsRow, WorkspaceRow.platform, WorkspaceRow.external_id)
        .join(WorkspaceRow, ChannelSettingsRow.workspace_id == WorkspaceRow.id)
        .where(condition)
        .order_by(ChannelSettingsRow.id)
    )
    return {
        ThreadKey(platform, workspace, row.channel, row.thread): ChannelSettings(
            mode=Mode(row.mode) if row.mode is not None else None,
            inline=row.inline,
            answer_bots=row.answer_bots,
            retention_days=row.retention_days,
            max_images=row.max_images,
        )
        for row, platform, workspace in results
    }
