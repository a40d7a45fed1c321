"""What `parley persona ...` and `parley forget` do. Each function returns the text to print."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bot.config import Settings
from bot.core import persona_library, personas
from bot.core.commands import texts
from bot.core.events import Author, ThreadKey
from bot.core.personas import PersonaError
from bot.core.records import Change, LibraryPersona, SamplingOverrides
from bot.core.safe_names import one_line
from bot.storage.database import Database
from bot.storage.models import WorkspaceRow
from bot.storage.rows import sampling_out
from bot.storage.store import SqlStore

OPERATOR = Author("operator", "the operator", is_admin=True)
FORMAT = 1
SHAPE = "platform/workspace[/channel[/thread]]"
_MAX_LINE = 100


def parse_scope(text: str) -> ThreadKey:
    """Parse a scope as the command line writes it. Raises PersonaError."""
    parts = text.strip().split("/", 3)
    if len(parts) < 2 or not all(parts):
        raise PersonaError(
            f"{text!r} is not a scope: use {SHAPE}, as `parley persona list` prints it"
        )
    return ThreadKey(*parts)


async def list_all(settings: Settings) -> str:
    """All personas by scope, and all libraries. Raises DatabaseError."""
    async with _opened(settings) as (database, store):
        lines: list[str] = []
        for workspace in await _workspaces(database):
            for version in await store.workspace_personas(workspace):
                summary = personas.described(version.text, version.sampling)
                lines.append(f"{version.scope}: {one_line(summary, _MAX_LINE)}")
            for persona in await store.library(workspace):
                summary = personas.described(persona.text, persona.sampling)
                lines.append(f"{workspace} library: {persona.name}: {one_line(summary, _MAX_LINE)}")
    return "\n".join(lines) or "no personas are set: PARLEY_SYSTEM_PROMPT applies everywhere"


async def show(settings: Settings, scope: str) -> str:
    """The persona in effect at a scope. Raises DatabaseError, PersonaError."""
    key = parse_scope(scope)
    async with _opened(settings) as (_, store):
        persona = await personas.resolve(store, key, settings.system_prompt)
    source, sampling = persona.source, personas.describe_sampling(persona.sampling)
    details = [str(source.scope) if source else "PARLEY_SYSTEM_PROMPT"]
    if sampling:
        details.append(sampling)
    if source:
        author = one_line(source.set_by_name, 80) or "somebody"
        details.append(f"set by {author} on {texts.moment(source.at)}")
    return persona.text + "\n" + " ".join(f"[{detail}]" for detail in details)


async def set_persona(
    settings: Settings, scope: str, text: str, sampling: SamplingOverrides
) -> str:
    """Set a scope's persona. Raises DatabaseError, PersonaError."""
    key = parse_scope(scope)
    async with _opened(settings) as (_, store):
        await personas.set_persona(store, key, text, sampling, OPERATOR)
    return f"persona set for {key}"


async def export(settings: Settings, target: Path | None) -> str:
    """All personas and libraries as JSON, written to a new file or returned.

    Raises:
        DatabaseError: the database can't be used.
        OSError: the file exists or can't be written.
    """
    async with _opened(settings) as (database, store):
        exported: dict[str, Any] = {"format": FORMAT, "personas": [], "library": []}
        for workspace in await _workspaces(database):
            exported["personas"] += [
                {
                    "scope": str(version.scope),
                    "text": version.text,
                    "name": version.name,
                    "sampling": sampling_out(version.sampling),
                }
                for version in await store.workspace_personas(workspace)
            ]
            exported["library"] += [
                {
                    "workspace": str(workspace),
                    "name": persona.name,
                    "text": persona.text,
                    "sampling": sampling_out(persona.sampling),
                }
                for persona in await store.library(workspace)
            ]
    content = json.dumps(exported, ensure_ascii=False, indent=2)
    if target is None:
        return content
    await asyncio.to_thread(_write_new, target, f"{content}\n")
    personas_count, library_count = len(exported["personas"]), len(exported["library"])
    return f"exported to {target}: personas {personas_count}, library personas {library_count}"


def _write_new(target: Path, text: str) -> None:
    with target.open("x", encoding="utf-8") as file:
        file.write(text)


async def import_file(settings: Settings, source: Path) -> str:
    """Set the personas in a file that `export` wrote. The whole file is checked first.

    Raises:
        DatabaseError, PersonaError: one line for the operator.
        OSError: the file can't be read.
    """
    content = await asyncio.to_thread(source.read_bytes)
    scoped_personas, library_personas = _parse_export(content, str(source))
    changed = 0
    async with _opened(settings) as (_, store):
        for scope, persona in scoped_personas:
            current = (await store.personas([scope])).get(scope)
            if current is None or (current.text, current.sampling) != (
                persona.text,
                persona.sampling,
            ):
                await personas.set_persona(
                    store,
                    scope,
                    persona.text,
                    persona.sampling,
                    OPERATOR,
                    name=persona.name or None,
                    action="persona import",
                )
                changed += 1
        for workspace, persona in library_personas:
            changed += await _put_in_library(store, workspace, persona)
    total = len(scoped_personas) + len(library_personas)
    return f"imported {total} personas: {changed} changed, {total - changed} unchanged"


async def _put_in_library(store: SqlStore, workspace: ThreadKey, persona: LibraryPersona) -> bool:
    library = {entry.name.casefold(): entry for entry in await store.library(workspace)}
    current = library.get(persona.name.casefold())
    if current is None:
        await persona_library.add(store, workspace, persona, OPERATOR)
    elif (current.text, current.sampling) != (persona.text, persona.sampling):
        await persona_library.edit(
            store, workspace, current.name, persona.text, persona.sampling, OPERATOR
        )
    else:
        return False
    return True


def _parse_export(
    content: bytes, source: str
) -> tuple[list[tuple[ThreadKey, LibraryPersona]], list[tuple[ThreadKey, LibraryPersona]]]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise PersonaError(
            f"{source} is not JSON: give a file that `parley persona export` wrote"
        ) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise PersonaError(
            f"{source} is not a file that `parley persona export` wrote (format {FORMAT})"
        )
    scoped_personas = [
        _entry(entry, "scope", source) for entry in _entries(document, "personas", source)
    ]
    library_personas = [
        _entry(entry, "workspace", source) for entry in _entries(document, "library", source)
    ]
    for workspace, persona in library_personas:
        persona_library.check(persona)
        if workspace.channel:
            raise PersonaError(
                f"{source}: a library belongs to a whole workspace, and {workspace} is not one"
            )
    return scoped_personas, library_personas


def _entries(document: dict[str, Any], name: str, source: str) -> list[Any]:
    entries = document.get(name, [])
    if not isinstance(entries, list):
        raise PersonaError(f"{source}: {name!r} must be a list")
    return entries


def _entry(entry: Any, scope_key: str, source: str) -> tuple[ThreadKey, LibraryPersona]:
    has_texts = isinstance(entry, dict) and all(
        isinstance(entry.get(key), str) for key in (scope_key, "text")
    )
    if not has_texts or not isinstance(entry.get("sampling", {}), dict):
        raise PersonaError(
            f"{source}: each entry needs {scope_key!r} and 'text', and may have 'sampling'"
        )
    name = entry.get("name") or ""
    try:
        sampling = personas.parse_sampling(
            {key: str(value) for key, value in entry.get("sampling", {}).items()}
        )
        persona = LibraryPersona(str(name), personas.checked_text(entry["text"]), sampling)
        return parse_scope(entry[scope_key]), persona
    except PersonaError as error:
        raise PersonaError(f"{source}: {entry[scope_key][:80]}: {error}") from None


async def forget(settings: Settings, scope: str, user: str | None) -> str:
    """Permanently delete everything below a scope, or what one person wrote there.

    Raises:
        DatabaseError, PersonaError: one line for the operator.
    """
    key = parse_scope(scope)
    change = Change(OPERATOR, "forget", "", f"deleted{' of one person' if user else ''}")
    async with _opened(settings) as (_, store):
        turns = await store.forget(key, user, change, at=datetime.now(UTC))
    author = f" by {user}" if user else ""
    return f"turns{author} deleted in {key}: {turns}"


async def _workspaces(database: Database) -> list[ThreadKey]:
    async with database.read() as session:
        rows = await session.execute(
            select(WorkspaceRow.platform, WorkspaceRow.external_id).order_by(
                WorkspaceRow.platform, WorkspaceRow.external_id
            )
        )
        return [ThreadKey(platform, workspace) for platform, workspace in rows]


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Database, SqlStore]]:
    database = Database(settings.effective_database_url)
    try:
        await database.require_current()
        yield database, SqlStore(database)
    finally:
        await database.close()
