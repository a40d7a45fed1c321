"""What admins set: settings by scope, a workspace's library, and the audit trail of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.events import ThreadKey
from bot.core.records import AuditEntry, Change, ChannelSettings, LibraryPersona, Mode
from bot.storage import rows
from bot.storage.models import WorkspaceRow
from bot.storage.settings_tables import AuditRow, ChannelSettingsRow, LibraryPersonaRow

_NO_SYNC = {"synchronize_session": False}


async def record(session: AsyncSession, scope: ThreadKey, change: Change | None) -> None:
    """Write a change into the audit trail, in the transaction of the change."""
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


async def audit(session: AsyncSession, workspace: ThreadKey, limit: int) -> list[AuditEntry]:
    """The last changes in a workspace, newest first."""
    found = await session.scalars(
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
        for row in found
    ]


# Settings


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


async def put(session: AsyncSession, scope: ThreadKey, settings: ChannelSettings) -> None:
    """Replace a scope's settings; with nothing set its row goes."""
    workspace = await rows.workspace_id(session, scope)
    if settings == ChannelSettings():
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
    values = asdict(settings)
    insert = rows.upsert(session, ChannelSettingsRow, **place, **values)
    await session.execute(insert.on_conflict_do_update(index_elements=list(place), set_=values))


async def shortest_retention(session: AsyncSession) -> int | None:
    """The smallest retention that is set anywhere, in days, 0 aside."""
    found: int | None = await session.scalar(
        select(ChannelSettingsRow.retention_days)
        .where(ChannelSettingsRow.retention_days > 0)
        .order_by(ChannelSettingsRow.retention_days)
        .limit(1)
    )
    return found


async def _load(session: AsyncSession, condition: Any) -> dict[ThreadKey, ChannelSettings]:
    found = await session.execute(
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
        for row, platform, workspace in found
    }


# The library


async def library(session: AsyncSession, workspace: ThreadKey) -> list[LibraryPersona]:
    """A workspace's own personas, by name."""
    found = await session.scalars(
        select(LibraryPersonaRow)
        .join(WorkspaceRow, LibraryPersonaRow.workspace_id == WorkspaceRow.id)
        .where(*rows.in_workspace(workspace))
        .order_by(LibraryPersonaRow.plain_name)
    )
    return [
        LibraryPersona(
            name=row.name,
            text=row.text,
            sampling=rows.sampling_in(row.sampling),
            set_by_name=row.set_by_name,
            at=row.at,
        )
        for row in found
    ]


async def save_persona(
    session: AsyncSession, workspace: ThreadKey, persona: LibraryPersona, by_name: str
) -> None:
    """Add a persona to a library, or replace the one of this name."""
    place = {
        "workspace_id": await rows.workspace_id(session, workspace),
        "plain_name": persona.name.casefold(),
    }
    values = {
        "name": persona.name,
        "text": persona.text,
        "sampling": rows.sampling_out(persona.sampling),
        "set_by_name": by_name,
    }
    insert = rows.upsert(session, LibraryPersonaRow, **place, **values)
    changed = {name: insert.excluded[name] for name in (*values, "at")}
    await session.execute(insert.on_conflict_do_update(index_elements=list(place), set_=changed))


async def remove_persona(session: AsyncSession, workspace: ThreadKey, name: str) -> bool:
    """Remove a persona from a library; False if it has none of this name."""
    gone = await session.scalar(
        delete(LibraryPersonaRow)
        .where(
            LibraryPersonaRow.workspace_id == await rows.workspace_id(session, workspace),
            LibraryPersonaRow.plain_name == name.casefold(),
        )
        .returning(LibraryPersonaRow.id),
        execution_options=_NO_SYNC,
    )
    return gone is not None
