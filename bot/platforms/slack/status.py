"""The line "Parley is thinking..." under a conversation, kept up until the reply begins."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from slack_sdk.errors import SlackApiError

from bot.platforms.slack.api import DOWN, error_code
from bot.platforms.slack.posting import Place
from bot.platforms.slack.teams import STATUS, Team

logger = logging.getLogger(__name__)

RENEW_S = 90.0  # Slack clears a status by itself after two minutes
THINKING = "is thinking…"

_NEVER_HERE = frozenset(
    {"unknown_method", "method_deprecated", "feature_not_enabled", "missing_scope", "not_allowed"}
)


def waiting_text(ahead: int) -> str:
    """The status of a reply that waits for `ahead` others."""
    return f"is busy: {ahead} ahead of you" if ahead else THINKING


class Status:
    """The status of one thread. Owns the task that renews it: `clear` ends it."""

    def __init__(self, team: Team, place: Place, renew_s: float = RENEW_S) -> None:
        self._team = team
        self._place = place
        self._renew_s = renew_s
        self._shown = ""
        self._renewing: asyncio.Task[None] | None = None

    @property
    def works(self) -> bool:
        """Whether a status can be shown here, as far as is known."""
        return bool(self._place.thread_ts) and self._team.can(STATUS)

    async def show(self, text: str) -> bool:
        """Show a status and keep it up. False where Slack shows none here."""
        if not self.works:
            return False
        if text == self._shown:
            return True
        if not await self._set(text):
            return False
        self._shown = text
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew(), name="slack status")
        return True

    async def clear(self, *, posted: bool) -> None:
        """Stop renewing it; a posted reply takes it away by itself."""
        renewing, self._renewing = self._renewing, None
        if renewing is not None:
            renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewing
        shown, self._shown = self._shown, ""
        if shown and not posted:
            await self._set("")

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._renew_s)
            await self._set(self._shown)

    async def _set(self, text: str) -> bool:
        try:
            await self._team.api.attempt(
                "assistant.threads.setStatus",
                channel_id=self._place.channel,
                thread_ts=self._place.thread_ts,
                status=text,
            )
        except SlackApiError as error:
            code = error_code(error)
            if code in _NEVER_HERE:
                self._team.lacks(STATUS, code)
            return False
        except DOWN as error:
            logger.info("assistant.threads.setStatus: %s", type(error).__name__)
            return False
        return True
