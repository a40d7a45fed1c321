"""The assistant's side: prompts to begin with, titles, and what somebody is looking at."""

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
from bot.platforms.slack.api import DOWN, error_code
from bot.platforms.slack.names import Names
from bot.platforms.slack.normalize import PLATFORM
from bot.platforms.slack.teams import PROMPTS, TITLE, Team

logger = logging.getLogger(__name__)

TITLE_AT_MOST = 80
_NOT_HERE = frozenset(
    {"unknown_method", "feature_not_enabled", "missing_scope", "method_deprecated"}
)
_MAX_ENTRIES = 10_000


class Assistant:
    """Prompts and titles in DMs, for the agent view and for the older assistant threads."""

    def __init__(self, queries: CoreQueries, names: Names) -> None:
        self._queries = queries
        self._names = names
        self._viewing: RecentDict[tuple[str, str], str] = RecentDict(_MAX_ENTRIES)
        self._entitled: RecentDict[tuple[str, str, str], None] = RecentDict(_MAX_ENTRIES)

    async def messages_opened(self, team: Team, event: Mapping[str, Any]) -> None:
        """Somebody opened the messages tab of the agent view."""
        user, channel = str(event.get("user", "")), str(event.get("channel", ""))
        viewing = _channel_in(event.get("context")) or self._viewing.get((team.id, user), "")
        if channel:
            await self._suggest(team, channel, "", viewing)

    async def context_changed(self, team: Team, event: Mapping[str, Any]) -> None:
        """Somebody looks at another channel beside the agent view."""
        user = str(event.get("user") or "")
        viewing = _channel_in(event.get("context"))
        if not user or not viewing:
            return
        self._viewing[(team.id, user)] = viewing
        channel = str(event.get("channel") or "")
        if channel:
            await self._suggest(team, channel, "", viewing)

    async def thread_started(self, team: Team, event: Mapping[str, Any]) -> None:
        """An assistant thread of the older kind was opened, or its context changed."""
        thread = event.get("assistant_thread")
        if not isinstance(thread, Mapping):
            return
        channel, ts = str(thread.get("channel_id", "")), str(thread.get("thread_ts", ""))
        if channel and ts:
            await self._suggest(team, channel, ts, _channel_in(thread.get("context")))

    async def entitle_once(self, team: Team, message: MessageReceived, root: str) -> None:
        """Name a DM's thread after the first message that is seen in it."""
        title = one_line(message.text, TITLE_AT_MOST)
        place = (team.id, message.key.channel, root)
        if not title or place in self._entitled:
            return
        self._entitled[place] = None
        await self._call(
            team,
            TITLE,
            "assistant.threads.setTitle",
            channel_id=message.key.channel,
            thread_ts=root,
            title=title,
        )

    async def _suggest(self, team: Team, channel: str, thread_ts: str, viewing: str) -> None:
        key = ThreadKey(PLATFORM, team.id, viewing or channel)
        persona = await self._queries.persona_at(key)
        name = await self._names.channel(team, viewing) if viewing else ""
        await self._call(
            team,
            PROMPTS,
            "assistant.threads.setSuggestedPrompts",
            channel_id=channel,
            prompts=prompts(persona, name),
            title="What can I do for you?",
            **({"thread_ts": thread_ts} if thread_ts else {}),
        )

    async def _call(self, team: Team, ability: str, method: str, **args: Any) -> None:
        if not team.can(ability):
            return
        try:
            await team.api.attempt(method, **args)
        except SlackApiError as error:
            code = error_code(error)
            if code in _NOT_HERE:
                team.lacks(ability, code)
            else:
                logger.debug("%s: %s", method, code)
        except DOWN as error:
            logger.info("%s: %s", method, type(error).__name__)


def prompts(persona: ResolvedPersona, channel: str) -> list[dict[str, str]]:
    """Up to four prompts that suit the persona; `channel` is the name of the one in view."""
    who = persona.source.name if persona.source and persona.source.name else ""
    made = [("Who are you?", "Who are you, and what can you help me with?")]
    if persona.source is not None:
        line = one_line(persona.text, 60)
        made.append((f"Speak as {who or 'your persona'}"[:75], f"Introduce yourself. ({line})"))
    else:
        made.append(("Explain something", "Explain what a qubit is in two sentences."))
    if channel:
        made.append((f"Help me write in #{channel}"[:75], f"Draft a short message for #{channel}."))
    made.append(("Give me ideas", "Give me three ideas for a good team lunch."))
    return [{"title": title, "message": message} for title, message in made[:4]]


def _channel_in(context: object) -> str:
    """The channel that an event's context names, in the agent view's form or the older one."""
    if not isinstance(context, Mapping):
        return ""
    if context.get("channel_id"):
        return str(context["channel_id"])
    entities = context.get("entities")
    for entity in entities if isinstance(entities, list) else ():
        if isinstance(entity, Mapping) and "channel" in str(entity.get("type", "")):
            return str(entity.get("value") or entity.get("id") or "")
    return ""
