"""Delivers the answers to private questions, which only their asker sees."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass

from bot.core.events import ThreadKey
from bot.core.ports import FinishedReply
from bot.core.records import Turn
from bot.platforms.shared.recent import RecentDict
from bot.platforms.slack.blocks import Block, context, section
from bot.platforms.slack.ephemeral import notify, respond
from bot.platforms.slack.posting import MRKDWN_FORMAT, message_body
from bot.platforms.slack.teams import Team

logger = logging.getLogger(__name__)

PREFIX = "ask-"
URL_LIFETIME_S = 29 * 60.0  # Slack takes answers at a response_url for 30 minutes
URL_USES = 4  # of five: one stays for an error
MAX_PENDING = 5_000


@dataclass(frozen=True, slots=True)
class PrivateQuestion:
    """Where a private question was asked."""

    user_id: str
    channel: str
    response_url: str
    asked_at: float


class PendingQuestions:
    """Private questions that wait for their answers.

    A restart loses the `response_url`s: the answer then comes as an ephemeral message or a DM.
    """

    def __init__(self) -> None:
        self._questions: RecentDict[str, PrivateQuestion] = RecentDict(MAX_PENDING)

    def add(self, key: ThreadKey, user_id: str, response_url: str) -> ThreadKey:
        """Add a question asked at `key`; returns the key of a conversation of its own."""
        thread = f"{PREFIX}{secrets.token_hex(8)}"
        question = PrivateQuestion(user_id, key.channel, response_url, time.monotonic())
        self._questions[thread] = question
        return key.in_thread(thread)

    def open_reply(self, team: Team, turn: Turn) -> PrivateReply:
        """Begin the answer to the private question of a turn."""
        question = self._questions.pop(turn.key.thread, None)
        return PrivateReply(
            team, question or PrivateQuestion(turn.asker, turn.key.channel, "", 0.0)
        )


def is_private(key: ThreadKey) -> bool:
    """Whether a conversation is a private question's."""
    return key.thread.startswith(PREFIX)


class PrivateReply:
    """`bot.core.ports.ReplySink` that shows the answer once it is complete: an ephemeral message
    can't be updated."""

    def __init__(self, team: Team, question: PrivateQuestion) -> None:
        self._team = team
        self._question = question

    async def waiting(self, ahead: int) -> None:
        pass

    async def write(self, delta: str) -> None:
        pass

    async def restart(self) -> None:
        pass

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        text, notes = message_body(reply)
        chunks = MRKDWN_FORMAT.chunks(text)
        for number, chunk in enumerate(chunks, 1):
            footer = context(notes) if number == len(chunks) else []
            rendered = MRKDWN_FORMAT.render(chunk)
            await self._send(rendered, [section(rendered), *footer], number)
        return ()  # these messages can't be found again

    async def withdraw(self) -> None:
        pass

    async def _send(self, text: str, blocks: list[Block], number: int) -> None:
        question = self._question
        is_url_alive = time.monotonic() - question.asked_at < URL_LIFETIME_S
        url = question.response_url if is_url_alive and number <= URL_USES else ""
        if url and await respond(self._team.api.session, url, text, blocks):
            return
        await notify(self._team, question.channel, question.user_id, text, blocks)
