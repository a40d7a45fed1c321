"""Private questions: `/parley ask`, and the shortcuts "Ask about this" and "Summarize thread"."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from slack_sdk.errors import SlackApiError

from bot.core.events import Author, MessageReceived, PastMessage, ThreadKey
from bot.core.ports import InboundHandler
from bot.core.texts import SUMMARIZE
from bot.platforms.shared.recent import RecentDict
from bot.platforms.slack import texts
from bot.platforms.slack.api import UNREACHABLE, error_name
from bot.platforms.slack.ephemeral import respond
from bot.platforms.slack.modals import Metadata, ask_modal
from bot.platforms.slack.mrkdwn import to_mrkdwn
from bot.platforms.slack.normalize import PLATFORM, Event, Normalizer, root_of
from bot.platforms.slack.private_replies import PendingQuestions
from bot.platforms.slack.teams import Team

logger = logging.getLogger(__name__)

MAX_MESSAGES = 1_000


class PrivateQuestions:
    """Asks the core for one person; `pending` delivers the answer to them."""

    def __init__(
        self, pending: PendingQuestions, normalizer: Normalizer, handle: InboundHandler
    ) -> None:
        self._pending = pending
        self._normalizer = normalizer
        self._handle = handle
        # Kept between shortcut and form: the app may not be in the message's channel.
        self._messages: RecentDict[tuple[str, str, str], Event] = RecentDict(MAX_MESSAGES)

    async def ask(
        self,
        team: Team,
        author: Author,
        key: ThreadKey,
        text: str,
        response_url: str,
        about: Sequence[PastMessage] = (),
    ) -> None:
        """Ask the core a question, about some messages; only `author` will see the answer."""
        private_key = self._pending.add(key, author.id, response_url)

        async def earlier() -> Sequence[PastMessage]:
            return about

        refusal = await self._handle(
            MessageReceived(
                key=private_key,
                id=private_key.thread,
                author=author,
                text=text,
                mentions_bot=True,
                earlier=earlier if about else None,
                asked_in=key,
            )
        )
        if refusal is not None and response_url:
            await respond(team.api.session, response_url, to_mrkdwn(refusal.text))

    async def open_ask_modal(self, team: Team, body: dict[str, Any]) -> None:
        """The shortcut "Ask about this": open the form for the question."""
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
        """The form was submitted: ask about its message, with its files."""
        message_key = (team.id, metadata.channel, metadata.message_ts)
        message = self._messages.get(message_key) or await self._fetch(team, metadata)
        past = None
        if message is not None:
            past = await self._normalizer.past(team, {"channel": metadata.channel, **message})
        if past is None:
            await respond(team.api.session, metadata.response_url, texts.MESSAGE_GONE)
            return
        key = ThreadKey(PLATFORM, team.id, metadata.channel)
        await self.ask(team, author, key, question, metadata.response_url, [past])

    async def summarize(self, team: Team, author: Author, body: dict[str, Any]) -> None:
        """The shortcut "Summarize thread"."""
        message, channel = body["message"], str(body["channel"]["id"])
        response_url = str(body.get("response_url") or "")
        try:
            past = await self._normalizer.thread(team, channel, root_of(message))
        except (SlackApiError, *UNREACHABLE) as error:
            logger.info("a thread to summarize can't be read: %s", error_name(error))
            await respond(team.api.session, response_url, texts.THREAD_UNREADABLE)
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
        except (SlackApiError, *UNREACHABLE) as error:
            logger.info("a message asked about can't be read: %s", error_name(error))
            return None
        messages = answer.get("messages") or []
        return next((m for m in messages if m.get("ts") == metadata.message_ts), None)
