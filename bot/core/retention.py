"""Deletes turns that are past their scope's retention, and old claims."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from bot.core import scoped_settings
from bot.core.ports import RetentionStore, SettingsStore
from bot.core.service_settings import ServiceSettings

logger = logging.getLogger(__name__)


class Retention:
    """Deletes periodically."""

    def __init__(
        self, store: RetentionStore, scoped: SettingsStore, settings: ServiceSettings
    ) -> None:
        self._store = store
        self._scoped = scoped
        self._settings = settings

    async def run(self) -> None:
        """Delete now and then every `retention_interval_s`, until cancelled."""
        while True:
            try:
                await self.once(datetime.now(UTC))
            except Exception:
                logger.exception("deleting what is too old failed; it is tried again later")
            await asyncio.sleep(self._settings.retention_interval_s)

    async def once(self, now: datetime) -> int:
        """Delete what is past its retention at `now`; returns how many turns."""
        await self._store.forget_claims(now - timedelta(days=self._settings.claim_days))
        shortest = await self._shortest()
        if shortest is None:
            return 0
        deleted = 0
        for key in await self._store.conversations_before(now - timedelta(days=shortest)):
            place = await scoped_settings.resolve(self._scoped, key, self._settings)
            if place.retention_days:
                cutoff = now - timedelta(days=place.retention_days)
                deleted += await self._store.delete_turns(key, cutoff)
        if deleted:
            logger.info("%d turns were older than they may be and are deleted", deleted)
        return deleted

    async def _shortest(self) -> int | None:
        """The smallest retention anywhere, in days: nothing younger is looked at."""
        days = [await self._store.shortest_retention(), self._settings.retention_days or None]
        return min((each for each in days if each is not None), default=None)
