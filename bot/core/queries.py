"""What adapters read: personas, settings, libraries, and where the bot has been talking."""

from __future__ import annotations

from datetime import datetime

from bot.core import persona_library, personas
from bot.core.events import ThreadKey
from bot.core.limits import USAGE_DAYS
from bot.core.ports import Store
from bot.core.records import (
    LibraryPersona,
    ResolvedPersona,
    Turn,
    WorkspaceOverview,
)
from bot.core.service_settings import ServiceSettings

AUDIT_ENTRIES = 10


class StoreQueries:
    """`bot.core.ports.CoreQueries` on a store; changes nothing."""

    def __init__(self, store: Store, settings: ServiceSettings) -> None:
        self._store = store
        self._settings = settings

    async def persona_at(self, key: ThreadKey) -> ResolvedPersona:
        """See CoreQueries."""
        return await personas.resolve(self._store, key, self._settings.persona)

    async def library(self, key: ThreadKey) -> list[LibraryPersona]:
        """See CoreQueries."""
        return await persona_library.personas_of(self._store, key)

    async def overview(self, workspace: ThreadKey) -> WorkspaceOverview:
        """See CoreQueries."""
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
        """See CoreQueries."""
        return await self._store.active_conversations(platform, workspace, since)

    async def turn(self, turn_id: int) -> Turn | None:
        """See CoreQueries."""
        return await self._store.turn(turn_id)
