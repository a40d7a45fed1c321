"""Who people and what channels are: looked up once, kept for a while, never in the way."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from slack_sdk.errors import SlackApiError

from bot.core.events import Author
from bot.platforms.shared.recent import RecentDict
from bot.platforms.slack.api import DOWN, error_code
from bot.platforms.slack.teams import Team
from bot.platforms.slack.text import NameLookup

logger = logging.getLogger(__name__)

T = TypeVar("T")

BOT_NAME = "Parley"  # where Slack doesn't say what the bot is called
KEPT_S = 3600.0
MISSING_KEPT_S = 60.0
ADMIN_KEPT_S = 5.0  # rights are asked for again at every click and submission
MAX_CACHED = 20_000
PATIENCE_S = 1.0  # a message is not held up longer by a name
RIGHTS_PATIENCE_S = 2.0  # nor a click, which Slack wants acknowledged within three seconds


@dataclass(frozen=True, slots=True)
class Person:
    """A user as Slack knows them."""

    id: str
    name: str
    is_admin: bool = False
    is_bot: bool = False


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as Slack knows it. Where Slack doesn't say, nobody may know more than its id."""

    id: str
    name: str
    is_public: bool = False
    is_group_dm: bool = False

    @property
    def is_dm(self) -> bool:
        """Whether it is somebody's direct message with the app."""
        return self.id.startswith("D")

    @property
    def shown(self) -> str:
        """How people know it: "#general", "a group message (ana, bob)"."""
        if self.is_dm:
            return "a direct message"
        if self.is_group_dm:
            people = re.sub(r"-\d+$", "", self.name.removeprefix("mpdm-")).split("--")
            return f"a group message ({', '.join(people)})"
        return f"#{self.name}"


class Cache(Generic[T]):
    """Values with an age, the oldest dropped first; one look-up at a time for each key."""

    def __init__(self, look_up: Callable[[Team, str], Coroutine[Any, Any, T]]) -> None:
        self._look_up = look_up
        self._found: RecentDict[tuple[str, str], tuple[float, float, T]] = RecentDict(MAX_CACHED)
        self._pending: dict[tuple[str, str], asyncio.Task[T]] = {}

    async def get(self, team: Team, key: str, max_age_s: float = KEPT_S) -> T:
        """The value, looked up if it is not known or older than `max_age_s` seconds."""
        place = (team.id, key)
        found = self._found.get(place)
        now = time.monotonic()
        if found is not None and now - found[0] <= min(max_age_s, found[1]):
            return found[2]
        task = self._pending.get(place)
        if task is None:
            task = asyncio.create_task(self._look_up(team, key), name=f"slack look-up {key}")
            self._pending[place] = task
            task.add_done_callback(lambda done: self._ended(place, done))
        return await asyncio.shield(task)

    def put(self, team: Team, key: str, value: T, kept_s: float = KEPT_S) -> None:
        """Remember a value."""
        self._found[(team.id, key)] = (time.monotonic(), kept_s, value)

    def _ended(self, place: tuple[str, str], task: asyncio.Task[T]) -> None:
        self._pending.pop(place, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.info("a look-up failed: %s", type(error).__name__)  # also if nobody waited

    def close(self) -> None:
        """Cancel what is being looked up."""
        for task in self._pending.values():
            task.cancel()


class Names:
    """People and channels of all workspaces. `admins`: user ids that count as admins, too."""

    def __init__(self, admins: frozenset[str] = frozenset()) -> None:
        self._admins = admins
        self._people: Cache[Person] = Cache(self._person)
        self._channels: Cache[Channel] = Cache(self._channel)

    async def author(self, team: Team, user_id: str, *, fresh: bool = False) -> Author:
        """A user as the author of something. `fresh`: with their rights as of now.

        Where Slack can't be asked in time, the id stands for the name and nobody is an admin.
        """
        try:
            async with asyncio.timeout(RIGHTS_PATIENCE_S if fresh else PATIENCE_S):
                person = await self._people.get(team, user_id, ADMIN_KEPT_S if fresh else KEPT_S)
        except (*DOWN, SlackApiError):
            person = Person(user_id, user_id)
        return Author(
            id=user_id,
            name=person.name,
            is_admin=person.is_admin or user_id in self._admins,
            is_bot=person.is_bot,
            is_self=user_id == team.bot_user_id,
        )

    async def person(self, team: Team, user_id: str) -> str:
        """A user's display name; their id where Slack doesn't say in time."""
        return (await self.author(team, user_id)).name

    async def channel(self, team: Team, channel_id: str) -> str:
        """A channel's name; its id where Slack doesn't say in time."""
        return (await self.place(team, channel_id)).name

    async def place(self, team: Team, channel_id: str) -> Channel:
        """A channel; its id stands for its name where Slack doesn't say in time."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._channels.get(team, channel_id)
        except (*DOWN, SlackApiError):
            return Channel(channel_id, channel_id)

    def lookup(self, team: Team) -> NameLookup:
        """The names of a workspace, for `text.resolve`."""

        async def person(user_id: str) -> str:
            name = await self.person(team, user_id)
            return BOT_NAME if name == user_id == team.bot_user_id else name

        async def channel(channel_id: str) -> str:
            return await self.channel(team, channel_id)

        return NameLookup(person, channel)

    async def shared_with(self, team: Team, user_id: str) -> frozenset[str]:
        """The ids of what is not public and has both this person and the app in it; empty where
        Slack doesn't say."""
        found: set[str] = set()
        kinds = "private_channel,mpim,im"
        pages = team.api.pages("users.conversations", user=user_id, types=kinds, limit=200)
        try:
            async for page in pages:
                found |= {str(channel["id"]) for channel in page.get("channels") or ()}
        except (SlackApiError, *DOWN) as error:
            logger.info("users.conversations: %s", error_code(error) or type(error).__name__)
        return frozenset(found)

    def close(self) -> None:
        """Cancel what is being looked up."""
        self._people.close()
        self._channels.close()

    async def _person(self, team: Team, user_id: str) -> Person:
        person, kept_s = Person(user_id, user_id), KEPT_S
        try:
            answer = await team.api.call("users.info", user=user_id)
            person = _read_person(answer["user"])
        except SlackApiError as error:
            logger.debug("users.info: %s", error_code(error))
            kept_s = MISSING_KEPT_S
        self._people.put(team, user_id, person, kept_s)
        return person

    async def _channel(self, team: Team, channel_id: str) -> Channel:
        channel, kept_s = Channel(channel_id, channel_id), KEPT_S
        try:
            answer = await team.api.call("conversations.info", channel=channel_id)
            channel = _read_channel(channel_id, answer["channel"])
        except SlackApiError as error:
            logger.debug("conversations.info: %s", error_code(error))
            kept_s = MISSING_KEPT_S
        self._channels.put(team, channel_id, channel, kept_s)
        return channel


def _read_channel(channel_id: str, found: dict[str, object]) -> Channel:
    hidden = any(bool(found.get(kind)) for kind in ("is_private", "is_im", "is_mpim", "is_group"))
    return Channel(
        id=channel_id,
        name=str(found.get("name") or channel_id),
        is_public=bool(found.get("is_channel")) and not hidden,
        is_group_dm=bool(found.get("is_mpim")),
    )


def _read_person(user: dict[str, object]) -> Person:
    profile = user.get("profile")
    shown = profile if isinstance(profile, dict) else {}
    names = (shown.get("display_name"), shown.get("real_name"), user.get("real_name"), user["name"])
    return Person(
        id=str(user["id"]),
        name=next(str(name) for name in (*names, user["id"]) if name),
        is_admin=any(bool(user.get(k)) for k in ("is_admin", "is_owner", "is_primary_owner")),
        is_bot=bool(user.get("is_bot")),
    )
