"""The audit trail: who changed which setting, persona or library, and when."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.events import ThreadKey
from bot.core.records import AuditEntry, Change
from bot.storage import rows
from bot.storage.models import WorkspaceRow
from bot.storage.settings_tables import AuditRow


async def record(session: AsyncSession, scope: ThreadKey, change: Change | None) -> None:
    """Add a change to the audit trail, in the transaction that makes it. None adds nothing."""
    if change is None:
        return
    session.add(
        AuditRow(
            workspace_id=await rows.workspace_id(session, scope),
            channel=scope.channel,
            thread=scope.thread,
            by_id=change.by.id,
            by_name=change.by.name,
            action=change.action,
            before=change.before,
            after=change.after,
        )
    )


async def latest(session: AsyncSession, workspace: ThreadKey, limit: int) -> list[AuditEntry]:
    """The latest changes in a workspace, newest first; at most `limit`."""
    entries = await session.scalars(
        select(AuditRow)
        .join(WorkspaceRow, AuditRow.workspace_id == WorkspaceRow.id)
        .where(*rows.in_workspace(workspace))
        .order_by(AuditRow.id.desc())
        .limit(limit)
    )
    return [
        AuditEntry(
            id=row.id,
            at=row.at,
            scope=ThreadKey(workspace.platform, workspace.workspace, row.channel, row.thread),
            by_id=row.by_id,
            by_name=row.by_name,
            action=row.action,
            before=row.before,
            after=row.after,
        )
        for row in entries
    ]
