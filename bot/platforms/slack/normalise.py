"""Translates Slack's message events into the core's: what was said, by whom, to whom, where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from slack_sdk.errors import SlackApiError

from bot.core.events import (
    Author,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    PastMessage,
    ThreadKey,
)
from bot.core.limits import MAX_EARLIER_MESSAGES
from bot.platforms.slack.api import DOWN
from bot.platforms.slack.files import Files
from bot.platforms.slack.names import Names
from bot.platforms.slack.richtext import read_blocks
from bot.platforms.slack.teams import Team
from bot.platforms.slack.text import Readers, addresses, mentions, mentions_everyone, read

PLATFORM = "slack"
Event: TypeAlias = Mapping[str, Any]

#: Subtypes of what people (and bots) say; all others are notices.
SPOKEN = frozenset({None, "file_share", "thread_broadcast", "me_message", "bot_message"})
_FORWARDED_AT_MOST = 5


class Normaliser:
    """Reads events of one app's workspaces."""

    def __init__(self, names: Names, files: Files) -> None:
        self._names = names
        self._files = files

    async def received(self, team: Team, event: Event) -> MessageReceived | None:
        """A message; None for what nobody said."""
        if event.get("subtype") not in SPOKEN or not event.get("ts") or not event.get("channel"):
            return None
        author = await self._author(team, event)
        if author is None:
            return None
        raw = _text(event)
        key = conversation_key(team, event)
        in_thread = _thread(event)
        return MessageReceived(
            key=key,
            id=str(event["ts"]),
            author=author,
            text=await self.text(team, event),
            attachments=self._files.attachments(team, event),
            is_dm=is_dm(event),
            mentions_bot=event.get("type") == "app_mention" or team.bot_user_id in mentions(raw),
            mentions_everyone=mentions_everyone(raw),
            addresses_other=addresses(raw) not in (None, team.bot_user_id),
            at=_at(str(event["ts"])),
            earlier=self._earlier(team, event) if in_thread and key.thread else None,
        )

    async def edited(self, team: Team, event: Event) -> MessageEdited | MessageDeleted | None:
        """An edit (or what Slack makes of a deleted thread's root); None for what is neither."""
        message = event.get("message")
        if not isinstance(message, Mapping) or not message.get("ts"):
            return None
        whole = {
            **message,
            "channel": event.get("channel"),
            "channel_type": event.get("channel_type"),
        }
        key = conversation_key(team, whole)
        if message.get("subtype") == "tombstone":
            return MessageDeleted(key, str(message["ts"]))
        if message.get("subtype") not in SPOKEN:
            return None
        author = await self._author(team, whole)
        if author is None or author.is_self:
            return None
        text = await self.text(team, whole)
        as_new = await self.received(team, whole)
        return MessageEdited(key, str(message["ts"]), author, text, as_new, _edited_at(message))

    def deleted(self, team: Team, event: Event) -> MessageDeleted | None:
        """A deletion."""
        if not event.get("deleted_ts"):
            return None
        previous = event.get("previous_message")
        whole = {**(previous if isinstance(previous, Mapping) else {}), "channel": event["channel"]}
        key = conversation_key(team, {**whole, "channel_type": event.get("channel_type")})
        return MessageDeleted(key, str(event["deleted_ts"]))

    async def text(self, team: Team, message: Event) -> str:
        """What a message says, as Markdown, with what was forwarded in it."""
        readers = self._readers(team)
        text = await read_blocks(message.get("blocks"), readers, team.bot_user_id)
        if text is None:
            text = await read(_text(message), readers, team.bot_user_id)
        forwarded = await self._forwarded(message, readers)
        return "\n\n".join(part for part in (text, *forwarded) if part)

    async def thread(
        self, team: Team, channel: str, thread_ts: str, *, before: str = ""
    ) -> list[PastMessage]:
        """The newest messages of a thread, oldest first; those before `before` where given.

        Raises:
            SlackApiError, aiohttp.ClientError, TimeoutError: Slack does not hand them out.
        """
        found: list[Event] = []
        earlier: dict[str, Any] = {"latest": before, "inclusive": False} if before else {}
        pages = team.api.pages(
            "conversations.replies", channel=channel, ts=thread_ts, limit=200, **earlier
        )
        async for page in pages:  # the root comes first, the newest last
            found = _newest(found, page.get("messages"))
        past = [
            await self._past(team, message)
            for message in found
            if message.get("subtype") in SPOKEN and message.get("ts") != before
        ]
        return [message for message in past if message is not None]

    async def past(self, team: Team, message: Event) -> PastMessage | None:
        """One message as something said before."""
        return await self._past(team, message)

    def _earlier(self, team: Team, event: Event) -> Any:
        channel, thread_ts, before = (
            str(event["channel"]),
            str(event["thread_ts"]),
            str(event["ts"]),
        )

        async def earlier() -> Sequence[PastMessage]:
            return await self.thread(team, channel, thread_ts, before=before)

        return earlier

    async def _past(self, team: Team, message: Event) -> PastMessage | None:
        author = await self._author(team, message)
        if author is None:
            return None
        return PastMessage(
            id=str(message["ts"]),
            author=author,
            text=await self.text(team, message),
            attachments=self._files.attachments(team, message),
            at=_at(str(message["ts"])),
        )

    async def _author(self, team: Team, event: Event) -> Author | None:
        user, bot = event.get("user"), event.get("bot_id")
        if user == team.bot_user_id or (bot and bot == team.bot_id):
            return Author(team.bot_user_id, team.name or "Parley", is_bot=True, is_self=True)
        if bot:
            profile = event.get("bot_profile")
            name = profile.get("name") if isinstance(profile, Mapping) else event.get("username")
            return Author(str(user or bot), str(name or "a bot"), is_bot=True)
        if not user:
            return None
        return await self._names.author(team, str(user))

    async def _forwarded(self, message: Event, readers: Readers) -> list[str]:
        found = message.get("attachments")
        if not isinstance(found, list):
            return []
        shared = [
            part
            for part in found
            if isinstance(part, Mapping) and (part.get("is_share") or part.get("is_msg_unfurl"))
        ]
        quotes = []
        for part in shared[:_FORWARDED_AT_MOST]:
            text = await read(str(part.get("text") or part.get("fallback") or ""), readers)
            if text:
                who = str(part.get("author_name") or part.get("author_subname") or "Somebody")
                lines = [f"{who} wrote:", *text.split("\n")]
                quotes.append("\n".join(f"> {line}" for line in lines))
        return quotes

    def _readers(self, team: Team) -> Readers:
        async def person(user_id: str) -> str:
            return await self._names.person(team, user_id)

        async def channel(channel_id: str) -> str:
            return await self._names.channel(team, channel_id)

        return Readers(person, channel)


def conversation_key(team: Team, event: Event) -> ThreadKey:
    """Where a message's conversation is.

    In a DM every message that a person writes is the root of a thread of its own; they are one
    conversation all the same. A thread that the app opened (an assistant thread) is one by itself.
    """
    key = ThreadKey(PLATFORM, team.id, str(event["channel"]))
    thread = _thread(event)
    parent = event.get("parent_user_id")
    if thread and is_dm(event) and parent and parent != team.bot_user_id:
        return key
    return key.in_thread(thread)


def is_dm(event: Event) -> bool:
    """Whether it was said to the bot alone."""
    kind = event.get("channel_type")
    return kind == "im" if kind else str(event.get("channel", "")).startswith("D")


def root_of(event: Event) -> str:
    """The timestamp that a reply to this message names as its thread."""
    return str(event.get("thread_ts") or event.get("ts") or "")


async def find_root(team: Team, channel: str, ts: str) -> str:
    """The root of the thread that a message is in; the message itself where nobody knows."""
    try:
        answer = await team.api.attempt("conversations.replies", channel=channel, ts=ts, limit=1)
    except (SlackApiError, *DOWN):
        return ts
    messages = answer.get("messages") if answer is not None else None
    return str(messages[0].get("thread_ts") or ts) if messages else ts


def _thread(event: Event) -> str:
    """The thread that a message was posted in; "" for a root, which may bear its own ts."""
    thread = str(event.get("thread_ts") or "")
    return "" if thread == event.get("ts") else thread


def _text(event: Event) -> str:
    text = event.get("text")
    return text if isinstance(text, str) else ""


def _newest(found: list[Event], more: object) -> list[Event]:
    new = (
        [m for m in more if isinstance(m, Mapping) and m.get("ts")]
        if isinstance(more, list)
        else []
    )
    return [*found, *new][-MAX_EARLIER_MESSAGES:]


def _edited_at(message: Event) -> datetime:
    edited = message.get("edited")
    return _at(str(edited.get("ts"))) if isinstance(edited, Mapping) else datetime.now(UTC)


def _at(ts: str) -> datetime:
    try:
        return datetime.fromtimestamp(float(ts), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.now(UTC)
