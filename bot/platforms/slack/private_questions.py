"""Questions for the asker alone: `/parley ask`, "Ask about this" and "Summarise thread"."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from slack_sdk.errors import SlackApiError

from bot.core.events import Author, MessageReceived, PastMessage, ThreadKey
from bot.core.ports import InboundHandler
from bot.core.texts import SUMMARIZE
from bot.platforms.shared.recent import RecentDict
from bot.platforms.slack.api import DOWN, error_code
from bot.platforms.slack.modals import Metadata, ask_modal
from bot.platforms.slack.mrkdwn import to_mrkdwn
from bot.platforms.slack.normalize import PLATFORM, Event, Normalizer, root_of
from bot.platforms.slack.private_replies import Asks, respond
from bot.platforms.slack.teams import Team

logger = logging.getLogger(__name__)

CANT_READ = "I can't read that thread: invite me to the channel first."
GONE = "I can't see that message any more; please try again."
_MAX_MESSAGES = 1_000


class Private:
    """Asks the core on behalf of one person; `asks` brings the answer to them."""

    def __init__(self, asks: Asks, normalizer: Normalizer, handle: InboundHandler) -> None:
        self._asks = asks
        self._normalizer = normalizer
        self._handle = handle
        # Messages asked about: they may be in channels that the app is not in.
        self._messages: RecentDict[tuple[str, str, str], Event] = RecentDict(_MAX_MESSAGES)

    async def ask(
        self,
        team: Team,
        author: Author,
        key: ThreadKey,
        text: str,
        response_url: str,
        about: Sequence[PastMessage] = (),
    ) -> None:
        """Ask the core something whose answer is for `author` alone."""
        where = self._asks.open(key, author.id, response_url)

        async def earlier() -> Sequence[PastMessage]:
            return about

        answer = await self._handle(
            MessageReceived(
                key=where,
                id=where.thread,
                author=author,
                text=text,
                mentions_bot=True,
                earlier=earlier if about else None,
                asked_in=key,
            )
        )
        if answer is not None and response_url:
            await respond(team.api.session, response_url, to_mrkdwn(answer.text))

    async def open_modal(self, team: Team, body: dict[str, Any]) -> None:
        """The shortcut "Ask about this": ask for the question."""
        message, channel = body["message"], str(body["channel"]["id"])
        ts = str(message["ts"])
        self._messages[(team.id, channel, ts)] = message
        metadata = Metadata(
            channel=channel,
            thread=str(message.get("thread_ts") or ""),
            response_url=str(body.get("response_url") or ""),
            message_ts=ts,
        )
        excerpt = await self._normalizer.text(team, message)
        await team.api.call(
            "views.open", trigger_id=body["trigger_id"], view=ask_modal(excerpt, metadata)
        )

    async def ask_about(
        self, team: Team, author: Author, metadata: Metadata, question: str
    ) -> None:
        """The modal came back: ask about its message, pictures and all."""
        place = (team.id, metadata.channel, metadata.message_ts)
        message = self._messages.get(place) or await self._fetch(team, metadata)
        past = None
        if message is not None:
            whole = {"channel": metadata.channel, **message}
            past = await self._normalizer.past(team, whole)
        if past is None:
            await respond(team.api.session, metadata.response_url, GONE)
            return
        key = ThreadKey(PLATFORM, team.id, metadata.channel)
        await self.ask(team, author, key, question, metadata.response_url, [past])

    async def summarise(self, team: Team, author: Author, body: dict[str, Any]) -> None:
        """The shortcut "Summarise thread"."""
        message, channel = body["message"], str(body["channel"]["id"])
        response_url = str(body.get("response_url") or "")
        try:
            past = await self._normalizer.thread(team, channel, root_of(message))
        except (SlackApiError, *DOWN) as error:
            logger.info("a thread to summarise: %s", error_code(error) or type(error).__name__)
            await respond(team.api.session, response_url, CANT_READ)
            return
        key = ThreadKey(PLATFORM, team.id, channel)
        await self.ask(team, author, key, SUMMARIZE, response_url, past)

    async def _fetch(self, team: Team, metadata: Metadata) -> Event | None:
        try:
            answer = await team.api.call(
                "conversations.replies",
                channel=metadata.channel,
                ts=metadata.thread or metadata.message_ts,
                oldest=metadata.message_ts,
                latest=metadata.message_ts,
                inclusive=True,
                limit=2,
            )
        except (SlackApiError, *DOWN) as error:
            logger.info("a message asked about: %s", error_code(error) or type(error).__name__)
            return None
        found = answer.get("messages") or []
        return next((m for m in found if m.get("ts") == metadata.message_ts), None)
