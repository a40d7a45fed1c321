"""The line "Parley is thinking…" below a conversation, kept up until the reply begins."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from slack_sdk.errors import SlackApiError

from bot.platforms.slack.api import UNREACHABLE, error_code, error_name
from bot.platforms.slack.posting import Place
from bot.platforms.slack.teams import STATUS, Team

logger = logging.getLogger(__name__)

RENEW_S = 90.0  # Slack clears a status after two minutes

_UNAVAILABLE = frozenset(
    {"unknown_method", "method_deprecated", "feature_not_enabled", "missing_scope", "not_allowed"}
)


class Status:
    """The status of one thread. Owns the task that renews it: `clear` ends it."""

    def __init__(self, team: Team, place: Place, renew_s: float = RENEW_S) -> None:
        self._team = team
        self._place = place
        self._renew_s = renew_s
        self._text = ""
        self._renewal: asyncio.Task[None] | None = None

    @property
    def is_available(self) -> bool:
        """Whether a status can be shown here, as far as is known."""
        return bool(self._place.thread_ts) and self._team.can(STATUS)

    async def show(self, text: str) -> bool:
        """Show a status and keep it up; False if Slack doesn't show it."""
        if not self.is_available:
            return False
        if text == self._text:
            return True
        if not await self._set(text):
            return False
        self._text = text
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew(), name="slack status")
        return True

    async def clear(self, *, is_posted: bool) -> None:
        """Stop renewing it. A posted reply has cleared it already."""
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewal
        text, self._text = self._text, ""
        if text and not is_posted:
            await self._set("")

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._renew_s)
            await self._set(self._text)

    async def _set(self, text: str) -> bool:
        try:
            await self._team.api.try_call(
                "assistant.threads.setStatus",
                channel_id=self._place.channel,
                thread_ts=self._place.thread_ts,
                status=text,
            )
        except SlackApiError as error:
            code = error_code(error)
            if code in _UNAVAILABLE:
                self._team.lacks(STATUS, code)
            return False
        except UNREACHABLE as error:
            logger.info("assistant.threads.setStatus: %s", error_name(error))
            return False
        return True
