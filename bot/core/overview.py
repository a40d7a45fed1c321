"""The read side of the service: what modals, autocomplete, App Home and recovery ask for."""

from __future__ import annotations

from datetime import datetime

from bot.core import persona_library, personas, scoped_settings
from bot.core.events import ThreadKey
from bot.core.ports import Store
from bot.core.records import ChannelSettings, LibraryPersona, Turn, WorkspaceOverview
from bot.core.service_settings import ServiceSettings

USAGE_DAYS = 30
AUDIT_ENTRIES = 10


class Overview:
    """Answers questions about what is set and stored; changes nothing."""

    def __init__(self, store: Store, settings: ServiceSettings) -> None:
        self._store = store
        self._settings = settings

    async def persona_at(self, key: ThreadKey) -> personas.Resolved:
        """The persona that counts at a place."""
        return await personas.resolve(self._store, key, self._settings.persona)

    async def library(self, key: ThreadKey) -> list[LibraryPersona]:
        """The personas that can be taken in a workspace: the built-in ones, then its own."""
        return await persona_library.personas_of(self._store, key)

    async def channel_settings(self, key: ThreadKey) -> ChannelSettings:
        """The settings that count at a place; none is None."""
        return (await scoped_settings.resolve(self._store, key, self._settings)).settings

    async def overview(self, workspace: ThreadKey) -> WorkspaceOverview:
        """A workspace at a glance, for its admins."""
        workspace = workspace.workspace_key
        return WorkspaceOverview(
            personas=await self._store.workspace_personas(workspace),
            settings=await self._store.workspace_settings(workspace),
            usage=await self._store.usage(workspace, USAGE_DAYS),
            audit=await self._store.audit(workspace, AUDIT_ENTRIES),
        )

    async def active_conversations(
        self, platform: str, workspace: str, since: datetime
    ) -> list[tuple[ThreadKey, str]]:
        """The conversations with a message since then, and the platform's id of their last: to
        read what was missed. (A message that was accepted before is ignored when it comes
        again.)"""
        return await self._store.active_conversations(platform, workspace, since)

    async def turn(self, turn_id: int) -> Turn | None:
        """One turn, None if it is gone."""
        return await self._store.turn(turn_id)
