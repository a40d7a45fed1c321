"""The core's store ports on a database: every method is one transaction around one function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from bot.storage import audit as audit_trail
from bot.storage import (
    conversations,
    earlier,
    forgetting,
    messages,
    persona_library,
    pictures,
    rows,
    settings,
    turns,
)
from bot.storage import personas as persona_versions
from bot.storage import reset_points as points
from bot.storage import usage as usages
from bot.storage.database import Database

P = ParamSpec("P")
T = TypeVar("T")


def _reads(
    query: Callable[Concatenate[AsyncSession, P], Awaitable[T]],
) -> Callable[Concatenate[SqlStore, P], Coroutine[Any, Any, T]]:
    """A method that runs `query` in a transaction that only reads."""

    async def method(self: SqlStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._database.read() as session:
            return await query(session, *args, **kwargs)

    return method


def _writes(
    statement: Callable[Concatenate[AsyncSession, P], Awaitable[T]],
) -> Callable[Concatenate[SqlStore, P], Coroutine[Any, Any, T]]:
    """A method that runs `statement` in a transaction that writes."""

    async def method(self: SqlStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._database.write() as session:
            return await statement(session, *args, **kwargs)

    return method


def _deletes(
    statement: Callable[Concatenate[AsyncSession, P], Awaitable[T]],
) -> Callable[Concatenate[SqlStore, P], Coroutine[Any, Any, T]]:
    """The same; if `statement` returns that it deleted something, the log is scrubbed of it."""

    async def method(self: SqlStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._database.write() as session:
            deleted = await statement(session, *args, **kwargs)
        if deleted:
            await self._database.scrub()
        return deleted

    return method


class SqlStore:
    """`bot.core.ports.Store` on SQLite or PostgreSQL; the ports say what each method does.

    It does not close the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # TurnStore
    accept = _writes(turns.accept)
    claim = _writes(turns.claim)
    add_earlier = _writes(earlier.add)
    set_attachment = _writes(pictures.attach)
    image = _reads(pictures.load)
    next_turn = _writes(turns.next_turn)
    reopen_turn = _writes(turns.reopen)
    release_turn = _writes(turns.release)
    save_reply = _writes(turns.save_reply)
    set_posted = _writes(turns.set_posted)
    rate = _writes(usages.rate)
    turn = _reads(turns.find)
    transcript = _reads(turns.transcript)
    unfinished = _reads(turns.unfinished)
    edit_message = _writes(messages.edit)
    delete_message = _deletes(messages.remove)
    has_conversation = _reads(rows.has_conversation)
    conversation_of = _reads(turns.conversation_of)
    active_conversations = _reads(conversations.active_since)

    # PersonaStore
    personas = _reads(persona_versions.latest)
    persona_history = _reads(persona_versions.history)
    add_persona_version = _writes(persona_versions.add)
    workspace_personas = _reads(persona_versions.in_workspace)
    library = _reads(persona_library.personas_of)
    save_library_persona = _writes(persona_library.save)
    remove_library_persona = _writes(persona_library.remove)

    # SettingsStore
    channel_settings = _reads(settings.at_scopes)
    set_channel_settings = _writes(settings.put)
    workspace_settings = _reads(settings.in_workspace)
    audit = _reads(audit_trail.latest)
    usage = _reads(usages.summary)

    # RetentionStore
    reset = _deletes(forgetting.reset)
    forget = _deletes(forgetting.forget)
    reset_points = _reads(points.find)
    shortest_retention = _reads(settings.shortest_retention)
    conversations_before = _reads(forgetting.conversations_before)
    delete_turns = _deletes(forgetting.turns_before)
    forget_claims = _writes(forgetting.claims)
