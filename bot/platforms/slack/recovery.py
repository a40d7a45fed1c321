"""Finds what stands of a reply already: what a crash, or a lost answer of Slack's, left unnoted.

Slack gives a new message its timestamp only in the answer to the call. Between the call and the
note of it in the database a process may die; the next one then looks for the message where it has
to be, so that no second reply comes beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from slack_sdk.errors import SlackApiError

from bot.core.records import Turn
from bot.platforms.slack.api import DOWN, error_code
from bot.platforms.slack.marks import is_file, is_marked, turn_of
from bot.platforms.slack.posting import Place
from bot.platforms.slack.teams import Team

logger = logging.getLogger(__name__)

CLOCKS_APART_S = 10.0  # Slack's clock, which messages are named by, and ours
Message = Mapping[str, Any]


def may_be_begun(turn: Turn, since: float) -> bool:
    """Whether an earlier process may have begun to answer this turn. `since`: when this one
    started, in seconds of the epoch. (That a message was delivered to this one proves nothing:
    Slack repeats itself.)"""
    return any(_seconds(m.platform_id) < since + CLOCKS_APART_S for m in turn.messages)


async def find_posted(
    team: Team, place: Place, turn: Turn, known: Sequence[str] = ()
) -> tuple[str, ...]:
    """The messages that carry a turn's reply so far, those `known` among them, oldest first.

    Where Slack doesn't say, what is known has to do.
    """
    found = set(known)
    try:
        said = [message for message in await _said(team, place, turn) if _is_own(team, message)]
    except (SlackApiError, *DOWN) as error:
        code = error_code(error) or type(error).__name__
        logger.warning("turn %d: what stands of it can't be looked up: %s", turn.id, code)
        return tuple(known)
    mine = [m for m in said if turn_of(m) == turn.id]
    if not found and place.thread_ts:
        # A stream that runs bears no mark. A thread's turns are answered one after another, so
        # that there is one of these at most: the last.
        mine += [m for m in said if not is_marked(m) and not is_file(m)][-1:]
    await _delete(team, place, [str(m["ts"]) for m in mine if is_file(m)])
    found |= {str(m["ts"]) for m in mine if not is_file(m)}
    if found != set(known):
        logger.info("turn %d: %d of its messages stand there already", turn.id, len(found))
    return tuple(sorted(found, key=_seconds))


async def _said(team: Team, place: Place, turn: Turn) -> list[Message]:
    """What was said in the reply's place since its question."""
    since = min((m.platform_id for m in turn.messages), key=_seconds, default="")
    api, channel, thread = team.api, place.channel, place.thread_ts
    wanted: dict[str, Any] = {"oldest": since or "0", "limit": 200, "include_all_metadata": True}
    if thread:
        pages = api.pages("conversations.replies", channel=channel, ts=thread, **wanted)
    else:
        pages = api.pages("conversations.history", channel=channel, **wanted)
    found: list[Message] = []
    async for page in pages:
        found += [m for m in page.get("messages") or () if isinstance(m, Mapping) and m.get("ts")]
    return [m for m in found if _seconds(str(m["ts"])) > _seconds(since)]


async def _delete(team: Team, place: Place, files: Sequence[str]) -> None:
    """The whole text comes as a file again."""
    for ts in files:
        try:
            await team.api.call("chat.delete", channel=place.channel, ts=ts)
        except (SlackApiError, *DOWN) as error:
            logger.info("chat.delete: %s", error_code(error) or type(error).__name__)


def _is_own(team: Team, message: Message) -> bool:
    return message.get("user") == team.bot_user_id or (
        bool(team.bot_id) and message.get("bot_id") == team.bot_id
    )


def _seconds(ts: str) -> float:
    try:
        return float(ts)
    except ValueError:
        return 0.0
