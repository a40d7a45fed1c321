"""Messages that one person sees: answers at a `response_url`, ephemeral messages, DMs."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import aiohttp
from slack_sdk.errors import SlackApiError

from bot.platforms.slack.api import UNREACHABLE, error_name
from bot.platforms.slack.blocks import Block
from bot.platforms.slack.marks import answer_mark
from bot.platforms.slack.normalize import is_dm_channel
from bot.platforms.slack.teams import Team

logger = logging.getLogger(__name__)


async def respond(
    session: aiohttp.ClientSession, url: str, text: str, blocks: list[Block] | None = None
) -> bool:
    """Answer at a `response_url`, for the asker only. Returns whether Slack took it."""
    body = {"response_type": "ephemeral", "replace_original": False, "text": text}
    try:
        async with session.post(url, json={**body, "blocks": blocks} if blocks else body) as answer:
            if answer.status == 200:
                return True
            logger.info("a response_url answered %d", answer.status)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        logger.info("a response_url failed: %s", type(error).__name__)
    return False


async def notify(
    team: Team,
    channel: str,
    user_id: str,
    text: str,
    blocks: list[Block] | None = None,
    thread_ts: str = "",
) -> bool:
    """Tell one person something in a channel, or else in their DM. Returns whether it arrived.

    `channel` may also be the person's id.
    """
    content = {"text": text, **({"blocks": blocks} if blocks else {})}
    thread = {"thread_ts": thread_ts} if thread_ts else {}
    try:
        if is_dm_channel(channel) or channel == user_id:
            await _post(team, channel, {**content, **thread})
        else:
            await team.api.call(
                "chat.postEphemeral", channel=channel, user=user_id, **content, **thread
            )
        return True
    except (SlackApiError, *UNREACHABLE) as error:
        logger.info("a private message failed, trying a DM: %s", error_name(error))
    try:
        await _post(team, user_id, content)
    except (SlackApiError, *UNREACHABLE) as error:
        logger.warning("a private message was not delivered: %s", error_name(error))
        return False
    return True


async def _post(team: Team, channel: str, content: Mapping[str, object]) -> None:
    await team.api.call("chat.postMessage", channel=channel, metadata=answer_mark(), **content)
