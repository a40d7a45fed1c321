"""Finds the messages of a reply that aren't noted: after a crash, or a lost answer of Slack's.

Slack returns a new message's timestamp in the answer to the call. If the process dies between the
call and the note in the database, the next one looks for the message where it must be, so that
the reply isn't posted twice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from slack_sdk.errors import SlackApiError

from bot.core.records import Turn
from bot.platforms.slack.api import UNREACHABLE, error_name
from bot.platforms.slack.marks import is_file, is_marked, turn_of
from bot.platforms.slack.posting import Place
from bot.platforms.slack.teams import Team

logger = logging.getLogger(__name__)

MAX_CLOCK_SKEW_S = 10.0  # between Slack's clock, which timestamps messages, and ours
Message = Mapping[str, Any]


def may_have_started(turn: Turn, process_started_at: float) -> bool:
    """Whether an earlier process may have begun to answer this turn.

    `process_started_at` is when this one started, in seconds of the epoch. (Slack delivers events
    again, so that a message came to this process proves nothing.)
    """
    latest = process_started_at + MAX_CLOCK_SKEW_S
    return any(_seconds(message.platform_id) < latest for message in turn.messages)


async def find_posted(
    team: Team, place: Place, turn: Turn, noted: Sequence[str] = ()
) -> tuple[str, ...]:
    """The timestamps of the messages with a turn's reply, the `noted` ones included, oldest first.

    If Slack doesn't answer, only the noted ones.
    """
    try:
        messages = await _own_messages(team, place, turn)
    except (SlackApiError, *UNREACHABLE) as error:
        logger.warning("turn %d: can't look up its messages: %s", turn.id, error_name(error))
        return tuple(noted)
    of_turn = [message for message in messages if turn_of(message) == turn.id]
    if not noted and place.thread_ts:
        # A running stream has no mark. A thread's turns are answered one after another, so there
        # is one such message at most: the last.
        unmarked = [m for m in messages if not is_marked(m) and not is_file(m)]
        of_turn += unmarked[-1:]
    # The file with the whole text is attached again at the end.
    await _delete(team, place, [str(m["ts"]) for m in of_turn if is_file(m)])
    timestamps = {*noted, *(str(m["ts"]) for m in of_turn if not is_file(m))}
    if timestamps != set(noted):
        logger.info("turn %d: %d of its messages are already there", turn.id, len(timestamps))
    return tuple(sorted(timestamps, key=_seconds))


async def _own_messages(team: Team, place: Place, turn: Turn) -> list[Message]:
    """The bot's messages in the reply's place since the question."""
    asked_ts = min((m.platform_id for m in turn.messages), key=_seconds, default="")
    args: dict[str, Any] = {"oldest": asked_ts or "0", "limit": 200, "include_all_metadata": True}
    api, channel, thread = team.api, place.channel, place.thread_ts
    if thread:
        pages = api.pages("conversations.replies", channel=channel, ts=thread, **args)
    else:
        pages = api.pages("conversations.history", channel=channel, **args)
    messages: list[Message] = []
    async for page in pages:
        messages += [
            message
            for message in page.get("messages") or ()
            if isinstance(message, Mapping)
            and _is_own(team, message)
            and _seconds(str(message.get("ts"))) > _seconds(asked_ts)
        ]
    return messages


async def _delete(team: Team, place: Place, timestamps: Sequence[str]) -> None:
    for ts in timestamps:
        try:
            await team.api.call("chat.delete", channel=place.channel, ts=ts)
        except (SlackApiError, *UNREACHABLE) as error:
            logger.info("chat.delete: %s", error_name(error))


def _is_own(team: Team, message: Message) -> bool:
    return message.get("user") == team.bot_user_id or (
        bool(team.bot_id) and message.get("bot_id") == team.bot_id
    )


def _seconds(ts: str) -> float:
    try:
        return float(ts)
    except ValueError:
        return 0.0
