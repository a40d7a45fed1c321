"""Slack's assistant: suggested prompts, thread titles, the channel that somebody is viewing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from slack_sdk.errors import SlackApiError

from bot.core.events import MessageReceived, ThreadKey
from bot.core.ports import CoreQueries
from bot.core.records import ResolvedPersona
from bot.core.safe_names import one_line
from bot.platforms.shared.recent import RecentDict
from bot.platforms.slack import texts
from bot.platforms.slack.api import UNREACHABLE, error_code, error_name
from bot.platforms.slack.names import Names
from bot.platforms.slack.normalize import PLATFORM
from bot.platforms.slack.teams import PROMPTS, TITLE, Team

logger = logging.getLogger(__name__)

MAX_TITLE = 80
MAX_PROMPTS = 4
MAX_PROMPT_TITLE = 75
_UNAVAILABLE = frozenset(
    {"unknown_method", "feature_not_enabled", "missing_scope", "method_deprecated"}
)
_MAX_ENTRIES = 10_000


class Assistant:
    """Prompts and titles in DMs, for the agent view and for the older assistant threads."""

    def __init__(self, queries: CoreQueries, names: Names) -> None:
        self._queries = queries
        self._names = names
        self._viewed_channels: RecentDict[tuple[str, str], str] = RecentDict(_MAX_ENTRIES)
        self._titled_threads: RecentDict[tuple[str, str, str], None] = RecentDict(_MAX_ENTRIES)

    async def messages_opened(self, team: Team, event: Mapping[str, Any]) -> None:
        """Somebody opened the messages tab of the agent view."""
        user, channel = str(event.get("user", "")), str(event.get("channel", ""))
        viewed = _channel_in(event.get("context")) or self._viewed_channels.get((team.id, user), "")
        if channel:
            await self._suggest(team, channel, "", viewed)

    async def context_changed(self, team: Team, event: Mapping[str, Any]) -> None:
        """Somebody opened another channel next to the agent view."""
        user = str(event.get("user") or "")
        viewed = _channel_in(event.get("context"))
        if not user or not viewed:
            return
        self._viewed_channels[(team.id, user)] = viewed
        channel = str(event.get("channel") or "")
        if channel:
            await self._suggest(team, channel, "", viewed)

    async def thread_started(self, team: Team, event: Mapping[str, Any]) -> None:
        """An assistant thread of the older kind was opened, or its context changed."""
        thread = event.get("assistant_thread")
        if not isinstance(thread, Mapping):
            return
        channel, ts = str(thread.get("channel_id", "")), str(thread.get("thread_ts", ""))
        if channel and ts:
            await self._suggest(team, channel, ts, _channel_in(thread.get("context")))

    async def set_title_once(self, team: Team, message: MessageReceived, root: str) -> None:
        """Title a DM's thread after the first message that this process sees in it."""
        title = one_line(message.text, MAX_TITLE)
        thread = (team.id, message.key.channel, root)
        if not title or thread in self._titled_threads:
            return
        self._titled_threads[thread] = None
        await self._call(
            team,
            TITLE,
            "assistant.threads.setTitle",
            channel_id=message.key.channel,
            thread_ts=root,
            title=title,
        )

    async def _suggest(self, team: Team, channel: str, thread_ts: str, viewed: str) -> None:
        key = ThreadKey(PLATFORM, team.id, viewed or channel)
        persona = await self._queries.persona_at(key)
        name = (await self._names.channel(team, viewed)).name if viewed else ""
        await self._call(
            team,
            PROMPTS,
            "assistant.threads.setSuggestedPrompts",
            channel_id=channel,
            prompts=prompts(persona, name),
            title=texts.PROMPTS_TITLE,
            **({"thread_ts": thread_ts} if thread_ts else {}),
        )

    async def _call(self, team: Team, ability: str, method: str, **args: Any) -> None:
        if not team.can(ability):
            return
        try:
            await team.api.try_call(method, **args)
        except SlackApiError as error:
            code = error_code(error)
            if code in _UNAVAILABLE:
                team.lacks(ability, code)
            else:
                logger.debug("%s: %s", method, code)
        except UNREACHABLE as error:
            logger.info("%s: %s", method, error_name(error))


def prompts(persona: ResolvedPersona, channel: str) -> list[dict[str, str]]:
    """Up to four prompts that suit the persona. `channel`: the name of the one in view, if any."""
    suggestions = [texts.WHO_PROMPT]
    if persona.source is not None:
        excerpt = one_line(persona.text, 60)
        suggestions.append(texts.persona_prompt(persona.source.name or "", excerpt))
    else:
        suggestions.append(texts.EXPLAIN_PROMPT)
    if channel:
        suggestions.append(texts.draft_prompt(channel))
    suggestions.append(texts.IDEAS_PROMPT)
    return [
        {"title": title[:MAX_PROMPT_TITLE], "message": message}
        for title, message in suggestions[:MAX_PROMPTS]
    ]


def _channel_in(context: object) -> str:
    """The channel in an event's context, as the agent view sends it or the older assistant."""
    if not isinstance(context, Mapping):
        return ""
    if context.get("channel_id"):
        return str(context["channel_id"])
    entities = context.get("entities")
    for entity in entities if isinstance(entities, list) else ():
        if isinstance(entity, Mapping) and "channel" in str(entity.get("type", "")):
            return str(entity.get("value") or entity.get("id") or "")
    return ""
