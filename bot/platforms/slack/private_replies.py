"""Questions asked in private (by command or shortcut): answered to the asker alone."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass

import aiohttp
from slack_sdk.errors import SlackApiError

from bot.core.events import ThreadKey
from bot.core.ports import FinishedReply
from bot.core.records import Turn
from bot.platforms.shared.recent import RecentDict
from bot.platforms.slack.api import DOWN, error_code
from bot.platforms.slack.blocks import Block, context, section
from bot.platforms.slack.marks import answer_mark
from bot.platforms.slack.posting import SHAPES, message_body
from bot.platforms.slack.teams import Team

logger = logging.getLogger(__name__)

PREFIX = "ask-"
URL_LIVES_S = 29 * 60.0  # Slack takes answers at a response_url for 30 minutes
URL_USES = 4  # of five: one stays for an error
MAX_PENDING = 5_000


@dataclass(frozen=True, slots=True)
class Ask:
    """Where a private question came from."""

    user: str
    channel: str
    response_url: str
    at: float


class Asks:
    """The private questions that wait for their answers. A restart forgets the `response_url`s:
    then the answer comes as an ephemeral message or a DM."""

    def __init__(self) -> None:
        self._pending: RecentDict[str, Ask] = RecentDict(MAX_PENDING)

    def open(self, key: ThreadKey, user: str, response_url: str) -> ThreadKey:
        """The key of a conversation of its own for a question asked at `key`."""
        name = f"{PREFIX}{secrets.token_hex(8)}"
        self._pending[name] = Ask(user, key.channel, response_url, time.monotonic())
        return key.in_thread(name)

    def reply(self, team: Team, turn: Turn) -> PrivateReply:
        """The sink of a private question's answer."""
        ask = self._pending.pop(turn.key.thread, None)
        return PrivateReply(team, ask or Ask(turn.asker, turn.key.channel, "", 0.0))


def is_private(key: ThreadKey) -> bool:
    """Whether a conversation is a private question's."""
    return key.thread.startswith(PREFIX)


class PrivateReply:
    """`bot.core.ports.ReplySink` that shows the answer once it is whole, to the asker alone."""

    def __init__(self, team: Team, ask: Ask) -> None:
        self._team = team
        self._ask = ask

    async def waiting(self, ahead: int) -> None:
        """The command has said already that it thinks."""

    async def write(self, delta: str) -> None:
        """Ephemeral messages can't grow."""

    async def restart(self) -> None:
        """Nothing is shown yet."""

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        """Show the answer. There is no message that could be found again."""
        shape = SHAPES[1]
        text, notes = message_body(reply)
        chunks = shape.chunks(text)
        for number, chunk in enumerate(chunks, 1):
            foot = context(notes) if number == len(chunks) else []
            rendered = shape.render(chunk)
            await self._show(rendered, [section(rendered), *foot], number)
        return ()

    async def withdraw(self) -> None:
        """Nothing is shown yet."""

    async def _show(self, text: str, blocks: list[Block], number: int) -> None:
        fresh = time.monotonic() - self._ask.at < URL_LIVES_S
        url = self._ask.response_url if fresh and number <= URL_USES else ""
        if url and await respond(self._team.api.session, url, text, blocks):
            return
        await tell(self._team, self._ask.channel, self._ask.user, text, blocks)


async def respond(
    session: aiohttp.ClientSession, url: str, text: str, blocks: list[Block] | None = None
) -> bool:
    """Answer at a `response_url`, to the asker alone; whether Slack took it."""
    body = {"response_type": "ephemeral", "replace_original": False, "text": text}
    try:
        async with session.post(url, json={**body, "blocks": blocks} if blocks else body) as answer:
            if answer.status == 200:
                return True
            logger.info("a response_url answered %d", answer.status)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        logger.info("a response_url failed: %s", type(error).__name__)
    return False


async def tell(
    team: Team,
    channel: str,
    user: str,
    text: str,
    blocks: list[Block] | None = None,
    thread_ts: str = "",
) -> bool:
    """Say something to one person where they are, or else in their DM; whether it arrived."""
    message = {"text": text, **({"blocks": blocks} if blocks else {})}
    thread = {"thread_ts": thread_ts} if thread_ts else {}
    try:
        if channel.startswith(("D", "U", "W")):
            mark = answer_mark()
            await team.api.call(
                "chat.postMessage", channel=channel, metadata=mark, **message, **thread
            )
        else:
            await team.api.call(
                "chat.postEphemeral", channel=channel, user=user, **message, **thread
            )
        return True
    except (SlackApiError, *DOWN) as error:
        logger.info("telling somebody: %s", error_code(error) or type(error).__name__)
    try:
        await team.api.call("chat.postMessage", channel=user, metadata=answer_mark(), **message)
    except (SlackApiError, *DOWN) as error:
        logger.warning("nobody could be told: %s", error_code(error) or type(error).__name__)
        return False
    return True
