"""Personas: on each scope a list of versions that only grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.events import Author, ThreadKey
from bot.core.records import PersonaVersion, SamplingOverrides
from bot.storage import rows
from bot.storage.models import PersonaRow, PersonaVersionRow, WorkspaceRow, utcnow

_SAMPLING_FIELDS = frozenset(field.name for field in fields(SamplingOverrides))


async def latest(
    session: AsyncSession, scopes: Sequence[ThreadKey]
) -> dict[ThreadKey, PersonaVersion]:
    """The latest version on each of the scopes that has one."""
    if not scopes:
        return {}
    newest = select(func.max(PersonaVersionRow.id)).group_by(PersonaVersionRow.persona_id)
    found = await _load(session, scopes, newest_of=newest)
    return {version.scope: version for version in found}


async def history(session: AsyncSession, scope: ThreadKey) -> list[PersonaVersion]:
    """All versions on a scope, newest first."""
    return await _load(session, [scope])


async def add(
    session: AsyncSession,
    scope: ThreadKey,
    text: str | None,
    sampling: SamplingOverrides,
    by: Author,
    name: str | None,
) -> PersonaVersion:
    """Set (or with None clear) a scope's persona."""
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
        sampling={field: value for field, value in asdict(sampling).items() if value is not None},
        library_name=name,
        set_by_id=by.id,
        set_by_name=by.name,
        at=utcnow(),
    )
    session.add(row)
    await session.flush()
    await session.refresh(row)
    return _version(row, scope)


async def _load(
    session: AsyncSession, scopes: Sequence[ThreadKey], newest_of: Select[Any] | None = None
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
        .where(
            or_(
                *(
                    and_(
                        WorkspaceRow.platform == scope.platform,
                        WorkspaceRow.external_id == scope.workspace,
                        PersonaRow.channel == scope.channel,
                        PersonaRow.thread == scope.thread,
                    )
                    for scope in scopes
                )
            )
        )
        .order_by(PersonaVersionRow.id.desc())
    )
    if newest_of is not None:
        statement = statement.where(PersonaVersionRow.id.in_(newest_of))
    found = await session.execute(statement)
    return [_version(row, ThreadKey(*place)) for row, *place in found]


def _version(row: PersonaVersionRow, scope: ThreadKey) -> PersonaVersion:
    known = {key: value for key, value in row.sampling.items() if key in _SAMPLING_FIELDS}
    return PersonaVersion(
        id=row.id,
        scope=scope,
        text=row.text,
        sampling=SamplingOverrides(**known),  # type: ignore[arg-type]  # int or float, as stored
        name=row.library_name,
        set_by_id=row.set_by_id,
        set_by_name=row.set_by_name,
        at=row.at,
    )
