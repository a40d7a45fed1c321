"""What `parley persona ...` and `parley forget` do; each returns the text to print."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
    """A scope as the command line writes it.

    Raises:
        PersonaError: it is none.
    """
    parts = text.strip().split("/", 3)
    if len(parts) < 2 or not all(parts):
        raise PersonaError(f"{text!r} is no scope: write {SHAPE}, as `parley persona list` does")
    return ThreadKey(*parts)


async def list_all(settings: Settings) -> str:
    """Every persona that is set anywhere, and every library. Raises DatabaseError."""
    async with _opened(settings) as (database, store):
        lines: list[str] = []
        for workspace in await _workspaces(database):
            for version in await store.workspace_personas(workspace):
                said = personas.described(version.text, version.sampling)
                lines.append(f"{version.scope}: {one_line(said, _MAX_LINE)}")
            for persona in await store.library(workspace):
                said = personas.described(persona.text, persona.sampling)
                lines.append(f"{workspace} library: {persona.name}: {one_line(said, _MAX_LINE)}")
    return "\n".join(lines) or "no persona is set anywhere: PARLEY_SYSTEM_PROMPT counts"


async def show(settings: Settings, scope: str) -> str:
    """The persona that counts at a scope. Raises DatabaseError, PersonaError."""
    key = parse_scope(scope)
    async with _opened(settings) as (_, store):
        found = await personas.resolve(store, key, settings.system_prompt)
    whose = str(found.source.scope) if found.source else "PARLEY_SYSTEM_PROMPT"
    drawn = personas.describe_sampling(found.sampling)
    about = f"[{whose}]" + (f" [{drawn}]" if drawn else "")
    if found.source:
        by = one_line(found.source.set_by_name, 80) or "somebody"
        about += f" [set by {by} on {texts.moment(found.source.at)}]"
    return f"{found.text}\n{about}"


async def set_persona(
    settings: Settings, scope: str, text: str, sampling: SamplingOverrides
) -> str:
    """Set a scope's persona; a running Parley follows with the next message.

    Raises:
        DatabaseError, PersonaError: one line for the operator.
    """
    key = parse_scope(scope)
    async with _opened(settings) as (_, store):
        await personas.set_persona(store, key, text, sampling, OPERATOR)
    return f"the persona of {key} is set"


async def export(settings: Settings, target: Path | None) -> str:
    """All personas and libraries as JSON: into a new file, or as what is returned.

    Raises:
        DatabaseError: the database can't be used.
        OSError: the file exists already or can't be written.
    """
    async with _opened(settings) as (database, store):
        found: dict[str, Any] = {"format": FORMAT, "personas": [], "library": []}
        for workspace in await _workspaces(database):
            found["personas"] += [
                {
                    "scope": str(version.scope),
                    "text": version.text,
                    "name": version.name,
                    "sampling": sampling_out(version.sampling),
                }
                for version in await store.workspace_personas(workspace)
            ]
            found["library"] += [
                {
                    "workspace": str(workspace),
                    "name": persona.name,
                    "text": persona.text,
                    "sampling": sampling_out(persona.sampling),
                }
                for persona in await store.library(workspace)
            ]
    written = json.dumps(found, ensure_ascii=False, indent=2)
    if target is None:
        return written
    await asyncio.to_thread(_write_new, target, f"{written}\n")
    return f"{len(found['personas'])} personas and {len(found['library'])} of libraries written"


def _write_new(target: Path, text: str) -> None:
    with target.open("x", encoding="utf-8") as file:
        file.write(text)


async def import_file(settings: Settings, source: Path) -> str:
    """Set what a file of `export` holds, all of it checked first; what is so already stays.

    Raises:
        DatabaseError, PersonaError: one line for the operator.
        OSError: the file can't be read.
    """
    content = await asyncio.to_thread(source.read_bytes)
    wanted, libraries = _read(content, str(source))
    changed = 0
    async with _opened(settings) as (_, store):
        for scope, persona in wanted:
            now = (await store.personas([scope])).get(scope)
            if now is None or (now.text, now.sampling) != (persona.text, persona.sampling):
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
        for workspace, persona in libraries:
            changed += await _put_in_library(store, workspace, persona)
    total = len(wanted) + len(libraries)
    return f"{changed} of {total} personas set; the others were so already"


async def _put_in_library(store: SqlStore, workspace: ThreadKey, persona: LibraryPersona) -> bool:
    own = {each.name.casefold(): each for each in await store.library(workspace)}
    old = own.get(persona.name.casefold())
    if old is None:
        await persona_library.add(store, workspace, persona, OPERATOR)
    elif (old.text, old.sampling) != (persona.text, persona.sampling):
        await persona_library.edit(
            store, workspace, old.name, persona.text, persona.sampling, OPERATOR
        )
    else:
        return False
    return True


def _read(
    content: bytes, source: str
) -> tuple[list[tuple[ThreadKey, LibraryPersona]], list[tuple[ThreadKey, LibraryPersona]]]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise PersonaError(f"{source} is no JSON file of `parley persona export`") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise PersonaError(f"{source} is no file of `parley persona export` (format {FORMAT})")
    wanted = [_entry(each, "scope", source) for each in _entries(found, "personas", source)]
    own = [_entry(each, "workspace", source) for each in _entries(found, "library", source)]
    for workspace, persona in own:
        persona_library.check(persona)
        if workspace.channel:
            raise PersonaError(f"{source}: a library is a whole workspace's, not {workspace}'s")
    return wanted, own


def _entries(found: dict[str, Any], name: str, source: str) -> list[Any]:
    entries = found.get(name, [])
    if not isinstance(entries, list):
        raise PersonaError(f"{source}: {name!r} must be a list")
    return entries


def _entry(entry: Any, place: str, source: str) -> tuple[ThreadKey, LibraryPersona]:
    texts_there = isinstance(entry, dict) and all(
        isinstance(entry.get(key), str) for key in (place, "text")
    )
    if not texts_there or not isinstance(entry.get("sampling", {}), dict):
        raise PersonaError(f"{source}: an entry needs {place!r}, 'text' and maybe 'sampling'")
    name = entry.get("name") or ""
    try:
        sampling = personas.parse_sampling(
            {key: str(value) for key, value in entry.get("sampling", {}).items()}
        )
        persona = LibraryPersona(str(name), personas.checked_text(entry["text"]), sampling)
        return parse_scope(entry[place]), persona
    except PersonaError as error:
        raise PersonaError(f"{source}: {entry[place][:80]}: {error}") from None


async def forget(settings: Settings, scope: str, user: str | None) -> str:
    """Really delete what is remembered below a scope, or what one person wrote there.

    Raises:
        DatabaseError, PersonaError: one line for the operator.
    """
    key = parse_scope(scope)
    change = Change(OPERATOR, "forget", "", f"deleted{' of one person' if user else ''}")
    async with _opened(settings) as (_, store):
        turns = await store.forget(key, user, change)
    whose = f" of {user}" if user else ""
    return f"turns deleted{whose} in {key}: {turns}"


async def _workspaces(database: Database) -> list[ThreadKey]:
    async with database.read() as session:
        found = await session.execute(
            select(WorkspaceRow.platform, WorkspaceRow.external_id).order_by(
                WorkspaceRow.platform, WorkspaceRow.external_id
            )
        )
        return [ThreadKey(*place) for place in found]


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Database, SqlStore]]:
    database = Database(settings.effective_database_url)
    try:
        await database.require_current()
        yield database, SqlStore(database)
    finally:
        await database.close()
