"""Looks up people and channels, and caches them for a while; a slow Slack holds nothing up."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from slack_sdk.errors import SlackApiError

from bot.core.events import Author
from bot.platforms.shared.recent import RecentDict
from bot.platforms.slack import texts
from bot.platforms.slack.api import UNREACHABLE, error_code, error_name
from bot.platforms.slack.teams import Team
from bot.platforms.slack.text import NameLookup

logger = logging.getLogger(__name__)

T = TypeVar("T")

TTL_S = 3600.0
MISSING_TTL_S = 60.0
RIGHTS_TTL_S = 5.0  # rights are looked up again for every click and submission
MAX_CACHED = 20_000
NAME_TIMEOUT_S = 1.0  # a message isn't held up longer by a name
RIGHTS_TIMEOUT_S = 2.0  # nor a click, which Slack wants acknowledged within three seconds


@dataclass(frozen=True, slots=True)
class Person:
    """A user as Slack knows them."""

    id: str
    name: str
    is_admin: bool = False
    is_bot: bool = False


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as Slack knows it; private unless Slack says that it is public."""

    id: str
    name: str
    is_public: bool = False
    is_group_dm: bool = False

    @property
    def is_dm(self) -> bool:
        """Whether it is somebody's direct message with the app."""
        return self.id.startswith("D")

    @property
    def display_name(self) -> str:
        """As people know it: "#general", "a group message (ana, bob)"."""
        if self.is_dm:
            return texts.DM
        if self.is_group_dm:
            people = re.sub(r"-\d+$", "", self.name.removeprefix("mpdm-")).split("--")
            return texts.group_dm(people)
        return f"#{self.name}"


class LookupCache(Generic[T]):
    """Values with an age; concurrent look-ups of one key share a call."""

    def __init__(self, look_up: Callable[[Team, str], Coroutine[Any, Any, T]]) -> None:
        self._look_up = look_up
        self._entries: RecentDict[tuple[str, str], tuple[float, float, T]] = RecentDict(MAX_CACHED)
        self._pending: dict[tuple[str, str], asyncio.Task[T]] = {}

    async def get(self, team: Team, key: str, max_age_s: float = TTL_S) -> T:
        """The value, looked up unless it is cached and no older than `max_age_s` seconds."""
        cache_key = (team.id, key)
        entry = self._entries.get(cache_key)
        if entry is not None:
            stored_at, ttl_s, value = entry
            if time.monotonic() - stored_at <= min(max_age_s, ttl_s):
                return value
        task = self._pending.get(cache_key)
        if task is None:
            task = asyncio.create_task(self._look_up(team, key), name=f"slack look-up {key}")
            self._pending[cache_key] = task
            task.add_done_callback(lambda done: self._done(cache_key, done))
        return await asyncio.shield(task)

    def put(self, team: Team, key: str, value: T, ttl_s: float = TTL_S) -> None:
        self._entries[(team.id, key)] = (time.monotonic(), ttl_s, value)

    def _done(self, cache_key: tuple[str, str], task: asyncio.Task[T]) -> None:
        self._pending.pop(cache_key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.info("a look-up failed: %s", type(error).__name__)  # maybe nobody waited for it

    def close(self) -> None:
        """Cancel the look-ups in progress."""
        for task in self._pending.values():
            task.cancel()


class Names:
    """People and channels of all workspaces. `admins`: ids of users who count as admins, too."""

    def __init__(self, admins: frozenset[str] = frozenset()) -> None:
        self._admins = admins
        self._people: LookupCache[Person] = LookupCache(self._look_up_person)
        self._channels: LookupCache[Channel] = LookupCache(self._look_up_channel)

    async def author(self, team: Team, user_id: str, *, fresh: bool = False) -> Author:
        """A user as an author. `fresh`: with their rights as of now.

        If Slack doesn't answer in time, the id stands for the name, and the user is no admin
        unless `admins` has them.
        """
        try:
            async with asyncio.timeout(RIGHTS_TIMEOUT_S if fresh else NAME_TIMEOUT_S):
                person = await self._people.get(team, user_id, RIGHTS_TTL_S if fresh else TTL_S)
        except (*UNREACHABLE, SlackApiError):
            person = Person(user_id, user_id)
        return Author(
            id=user_id,
            name=person.name,
            is_admin=person.is_admin or user_id in self._admins,
            is_bot=person.is_bot,
            is_self=user_id == team.bot_user_id,
        )

    async def channel(self, team: Team, channel_id: str) -> Channel:
        """A channel; its id stands for its name if Slack doesn't answer in time."""
        try:
            async with asyncio.timeout(NAME_TIMEOUT_S):
                return await self._channels.get(team, channel_id)
        except (*UNREACHABLE, SlackApiError):
            return Channel(channel_id, channel_id)

    def lookup(self, team: Team) -> NameLookup:
        """The names of a workspace, for `text.resolve`."""

        async def person_name(user_id: str) -> str:
            name = (await self.author(team, user_id)).name
            return texts.APP_NAME if name == user_id == team.bot_user_id else name

        async def channel_name(channel_id: str) -> str:
            return (await self.channel(team, channel_id)).name

        return NameLookup(person_name, channel_name)

    async def private_channels(self, team: Team, user_id: str) -> frozenset[str]:
        """The ids of the non-public channels, group DMs and DMs that have both this person and the
        app in them; empty if Slack doesn't answer."""
        channel_ids: set[str] = set()
        kinds = "private_channel,mpim,im"
        pages = team.api.pages("users.conversations", user=user_id, types=kinds, limit=200)
        try:
            async for page in pages:
                channel_ids |= {str(channel["id"]) for channel in page.get("channels") or ()}
        except (SlackApiError, *UNREACHABLE) as error:
            logger.info("users.conversations: %s", error_name(error))
        return frozenset(channel_ids)

    def close(self) -> None:
        """Cancel the look-ups in progress."""
        self._people.close()
        self._channels.close()

    async def _look_up_person(self, team: Team, user_id: str) -> Person:
        person, ttl_s = Person(user_id, user_id), TTL_S
        try:
            answer = await team.api.call("users.info", user=user_id)
            person = _parse_person(answer["user"])
        except SlackApiError as error:
            logger.debug("users.info: %s", error_code(error))
            ttl_s = MISSING_TTL_S
        self._people.put(team, user_id, person, ttl_s)
        return person

    async def _look_up_channel(self, team: Team, channel_id: str) -> Channel:
        channel, ttl_s = Channel(channel_id, channel_id), TTL_S
        try:
            answer = await team.api.call("conversations.info", channel=channel_id)
            channel = _parse_channel(channel_id, answer["channel"])
        except SlackApiError as error:
            logger.debug("conversations.info: %s", error_code(error))
            ttl_s = MISSING_TTL_S
        self._channels.put(team, channel_id, channel, ttl_s)
        return channel


def _parse_channel(channel_id: str, channel: Mapping[str, object]) -> Channel:
    private = any(channel.get(kind) for kind in ("is_private", "is_im", "is_mpim", "is_group"))
    return Channel(
        id=channel_id,
        name=str(channel.get("name") or channel_id),
        is_public=bool(channel.get("is_channel")) and not private,
        is_group_dm=bool(channel.get("is_mpim")),
    )


def _parse_person(user: Mapping[str, object]) -> Person:
    profile = user.get("profile")
    fields = profile if isinstance(profile, Mapping) else {}
    names = (fields.get("display_name"), fields.get("real_name"), user.get("real_name"))
    return Person(
        id=str(user["id"]),
        name=next(str(name) for name in (*names, user["name"], user["id"]) if name),
        is_admin=any(bool(user.get(k)) for k in ("is_admin", "is_owner", "is_primary_owner")),
        is_bot=bool(user.get("is_bot")),
    )
