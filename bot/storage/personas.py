"""Personas: each scope has a list of versions, which only grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.events import Author, ThreadKey
from bot.core.records import Change, PersonaVersion, SamplingOverrides
from bot.storage import audit, rows
from bot.storage.models import PersonaRow, PersonaVersionRow, WorkspaceRow, utcnow


async def latest(
    session: AsyncSession, scopes: Sequence[ThreadKey]
) -> dict[ThreadKey, PersonaVersion]:
    """The latest version on each of the scopes that has one."""
    if not scopes:
        return {}
    newest = select(func.max(PersonaVersionRow.id)).group_by(PersonaVersionRow.persona_id)
    versions = await _load(session, _at(scopes), newest_of=newest)
    return {version.scope: version for version in versions}


async def in_workspace(session: AsyncSession, workspace: ThreadKey) -> list[PersonaVersion]:
    """The latest version on each scope of a workspace that has a persona now."""
    newest = select(func.max(PersonaVersionRow.id)).group_by(PersonaVersionRow.persona_id)
    versions = await _load(session, and_(*rows.in_workspace(workspace)), newest_of=newest)
    return sorted((each for each in versions if each.text is not None), key=lambda each: each.scope)


async def history(session: AsyncSession, scope: ThreadKey) -> list[PersonaVersion]:
    """All versions on a scope, newest first."""
    return await _load(session, _at([scope]))


async def add(
    session: AsyncSession,
    scope: ThreadKey,
    text: str | None,
    sampling: SamplingOverrides,
    by: Author,
    name: str | None = None,
    change: Change | None = None,
) -> PersonaVersion:
    """Set (or with None clear) a scope's persona."""
    await audit.record(session, scope, change)
    persona = await rows.find_or_add(
        session,
        PersonaRow,
        workspace_id=await rows.workspace_id(session, scope),
        channel=scope.channel,
        thread=scope.thread,
    )
    row = PersonaVersionRow(
        persona_id=persona,
        text=text,
        sampling=rows.sampling_out(sampling),
        library_name=name,
        set_by_id=by.id,
        set_by_name=by.name,
        at=utcnow(),
    )
    session.add(row)
    await session.flush()
    await session.refresh(row)
    return _version(row, scope)


def _at(scopes: Sequence[ThreadKey]) -> ColumnElement[bool]:
    return or_(
        *(
            and_(
                *rows.in_workspace(scope),
                PersonaRow.channel == scope.channel,
                PersonaRow.thread == scope.thread,
            )
            for scope in scopes
        )
    )


async def _load(
    session: AsyncSession, where: ColumnElement[bool], newest_of: Select[Any] | None = None
) -> list[PersonaVersion]:
    statement = (
        select(
            PersonaVersionRow,
            WorkspaceRow.platform,
            WorkspaceRow.external_id,
            PersonaRow.channel,
            PersonaRow.thread,
        )
        .join(PersonaRow, PersonaVersionRow.persona_id == PersonaRow.id)
        .join(WorkspaceRow, PersonaRow.workspace_id == WorkspaceRow.id)
        .where(where)
        .order_by(PersonaVersionRow.id.desc())
    )
    if newest_of is not None:
        statement = statement.where(PersonaVersionRow.id.in_(newest_of))
    results = await session.execute(statement)
    return [_version(row, ThreadKey(*place)) for row, *place in results]


def _version(row: PersonaVersionRow, scope: ThreadKey) -> PersonaVersion:
    return PersonaVersion(
        id=row.id,
        scope=scope,
        text=row.text,
        sampling=rows.sampling_in(row.sampling),
        name=row.library_name,
        set_by_id=row.set_by_id,
        set_by_name=row.set_by_name,
        at=row.at,
    )
