"""A workspace's own personas, by name."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.events import ThreadKey
from bot.core.records import Change, LibraryPersona
from bot.storage import audit, rows
from bot.storage.models import WorkspaceRow
from bot.storage.settings_tables import LibraryPersonaRow

_NO_SYNC = {"synchronize_session": False}


async def personas_of(session: AsyncSession, workspace: ThreadKey) -> list[LibraryPersona]:
    """A workspace's own personas, sorted by name."""
    personas = await session.scalars(
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
        for row in personas
    ]


async def save(
    session: AsyncSession, workspace: ThreadKey, persona: LibraryPersona, change: Change
) -> None:
    """Add a persona to a library, or replace the one with its name, whatever the case."""
    place = {
        "workspace_id": await rows.workspace_id(session, workspace),
        "plain_name": persona.name.casefold(),
    }
    values = {
        "name": persona.name,
        "text": persona.text,
        "sampling": rows.sampling_out(persona.sampling),
        "set_by_name": change.by.name,
    }
    insert = rows.upsert(session, LibraryPersonaRow, **place, **values)
    changed = {name: insert.excluded[name] for name in (*values, "at")}
    await session.execute(insert.on_conflict_do_update(index_elements=list(place), set_=changed))
    await audit.record(session, workspace, change)


async def remove(session: AsyncSession, workspace: ThreadKey, name: str, change: Change) -> bool:
    """Remove a persona from a library; False if it has none with this name."""
    removed_id = await session.scalar(
        delete(LibraryPersonaRow)
        .where(
            LibraryPersonaRow.workspace_id == await rows.workspace_id(session, workspace),
            LibraryPersonaRow.plain_name == name.casefold(),
        )
        .returning(LibraryPersonaRow.id),
        execution_options=_NO_SYNC,
    )
    if removed_id is None:
        return False
    await audit.record(session, workspace, change)
    return True
