"""Translates Slack's message events into the core's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from slack_sdk.errors import SlackApiError

from bot.core.events import (
    Author,
    Earlier,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    PastMessage,
    ThreadKey,
)
from bot.core.limits import MAX_EARLIER_MESSAGES
from bot.platforms.shared.mentions import MentionedText
from bot.platforms.shared.recent import RecentDict
from bot.platforms.slack import texts
from bot.platforms.slack.api import UNREACHABLE
from bot.platforms.slack.files import Files
from bot.platforms.slack.names import Names
from bot.platforms.slack.rich_text import parse_blocks
from bot.platforms.slack.teams import Team
from bot.platforms.slack.text import NameLookup, names_user, parse_mrkdwn, read_text, resolve

PLATFORM = "slack"
Event: TypeAlias = Mapping[str, Any]

#: Subtypes of messages that people and bots write; all others are notices.
WRITTEN_SUBTYPES = frozenset({None, "file_share", "thread_broadcast", "me_message", "bot_message"})
MAX_DM_ROOTS = 20_000
_MAX_FORWARDED = 5


class Normalizer:
    """Reads events of one app's workspaces."""

    def __init__(self, names: Names, files: Files) -> None:
        self._names = names
        self._files = files

    async def received(self, team: Team, event: Event) -> MessageReceived | None:
        """A message; None for a notice of Slack's."""
        if not event.get("ts") or not event.get("channel"):
            return None
        if event.get("subtype") not in WRITTEN_SUBTYPES:
            return None
        author = await self._author(team, event)
        if author is None:
            return None
        content = await self._content(team, event)
        key = conversation_key(team, event)
        return MessageReceived(
            key=key,
            id=str(event["ts"]),
            author=author,
            text=content.text,
            attachments=self._files.attachments(team, event),
            is_dm=is_dm(event),
            mentions_bot=content.calls_bot or _is_mention_elsewhere(team, event),
            mentions_everyone=content.calls_everyone,
            addresses_other=content.addresses_other,
            at=_at(str(event["ts"])),
            earlier=self._earlier(team, event) if _thread(event) and key.thread else None,
        )

    async def edited(self, team: Team, event: Event) -> MessageEdited | MessageDeleted | None:
        """An edit; a deletion, where only the empty root of a thread is left; None for a notice."""
        message, previous = event.get("message"), event.get("previous_message")
        if not isinstance(message, Mapping) or not message.get("ts"):
            return None
        context = {"channel": event.get("channel"), "channel_type": event.get("channel_type")}
        if message.get("subtype") == "tombstone":
            key = conversation_key(team, {**message, **context})
            return MessageDeleted(key, str(message["ts"]))
        received = await self.received(team, {**message, **context})
        if received is None or received.author.is_self:
            return None
        # Slack also sends these when it unfurls a link: that makes no message a question.
        is_rewritten = isinstance(previous, Mapping) and _text(previous) != _text(message)
        return MessageEdited(
            key=received.key,
            id=received.id,
            author=received.author,
            text=received.text,
            as_new=received if is_rewritten else None,
            at=_edited_at(message),
        )

    def deleted(self, team: Team, event: Event) -> MessageDeleted | None:
        """A deletion."""
        if not event.get("deleted_ts"):
            return None
        previous = event.get("previous_message")
        message = {
            **(previous if isinstance(previous, Mapping) else {}),
            "channel": event["channel"],
            "channel_type": event.get("channel_type"),
        }
        return MessageDeleted(conversation_key(team, message), str(event["deleted_ts"]))

    async def text(self, team: Team, message: Event) -> str:
        """What a message says, as Markdown, with the messages forwarded in it."""
        return (await self._content(team, message)).text

    async def thread(
        self, team: Team, channel: str, thread_ts: str, *, before_ts: str = ""
    ) -> list[PastMessage]:
        """The newest messages of a thread, oldest first; only those before `before_ts` if given.

        Raises:
            SlackApiError, aiohttp.ClientError, TimeoutError: Slack doesn't return them.
        """
        newest: list[Event] = []
        limits: dict[str, Any] = {"latest": before_ts, "inclusive": False} if before_ts else {}
        pages = team.api.pages(
            "conversations.replies", channel=channel, ts=thread_ts, limit=200, **limits
        )
        async for page in pages:  # the root comes first, the newest last
            newest = [*newest, *_messages(page.get("messages"))][-MAX_EARLIER_MESSAGES:]
        past = [
            await self.past(team, message)
            for message in newest
            if message.get("subtype") in WRITTEN_SUBTYPES and message.get("ts") != before_ts
        ]
        return [message for message in past if message is not None]

    async def past(self, team: Team, message: Event) -> PastMessage | None:
        """One message of a thread's history; None for one without an author."""
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

    def _earlier(self, team: Team, event: Event) -> Earlier:
        channel, thread_ts, ts = (str(event[name]) for name in ("channel", "thread_ts", "ts"))

        async def earlier() -> Sequence[PastMessage]:
            return await self.thread(team, channel, thread_ts, before_ts=ts)

        return earlier

    async def _content(self, team: Team, message: Event) -> MentionedText:
        names = self._names.lookup(team)
        markdown = parse_blocks(message.get("blocks"))
        if markdown is None:
            markdown = parse_mrkdwn(_text(message))
        content = await resolve(markdown, names, team.bot_user_id)
        forwarded = await self._forwarded(message, names)
        text = "\n\n".join(part for part in (content.text, *forwarded) if part)
        return replace(content, text=text)

    async def _author(self, team: Team, event: Event) -> Author | None:
        user, bot = event.get("user"), event.get("bot_id")
        if user == team.bot_user_id or (bot and bot == team.bot_id):
            return Author(team.bot_user_id, texts.APP_NAME, is_bot=True, is_self=True)
        if bot:
            profile = event.get("bot_profile")
            name = profile.get("name") if isinstance(profile, Mapping) else event.get("username")
            return Author(str(user or bot), str(name or texts.UNNAMED_BOT), is_bot=True)
        if not user:
            return None
        return await self._names.author(team, str(user))

    async def _forwarded(self, message: Event, names: NameLookup) -> list[str]:
        """The messages that were forwarded in this one, quoted."""
        attachments = message.get("attachments")
        if not isinstance(attachments, list):
            return []
        shares = [
            part
            for part in attachments
            if isinstance(part, Mapping) and (part.get("is_share") or part.get("is_msg_unfurl"))
        ]
        quotes = []
        for share in shares[:_MAX_FORWARDED]:
            text = await read_text(str(share.get("text") or share.get("fallback") or ""), names)
            if text:
                author = share.get("author_name") or share.get("author_subname")
                lines = [texts.forwarded(str(author or texts.SOMEBODY)), *text.split("\n")]
                quotes.append("\n".join(f"> {line}" for line in lines))
        return quotes


class DmRoots:
    """The thread roots of messages in DMs: the core keeps a DM as one conversation."""

    def __init__(self) -> None:
        self._roots: RecentDict[tuple[str, str, str], str] = RecentDict(MAX_DM_ROOTS)

    def remember(self, team: Team, message: MessageReceived, root: str) -> None:
        """A message was posted in the thread of `root`."""
        if message.is_dm and root != message.id:
            self._roots[(team.id, message.key.channel, message.id)] = root

    async def find(self, team: Team, channel: str, ts: str) -> str:
        """The root of a message's thread; the message itself if Slack doesn't answer."""
        root = self._roots.get((team.id, channel, ts))
        if root is not None:
            return root
        try:
            answer = await team.api.try_call(
                "conversations.replies", channel=channel, ts=ts, limit=1
            )
        except (SlackApiError, *UNREACHABLE):
            return ts
        messages = answer.get("messages") if answer is not None else None
        return str(messages[0].get("thread_ts") or ts) if messages else ts


def conversation_key(team: Team, event: Event) -> ThreadKey:
    """The conversation that a message belongs to.

    A person's DM is one conversation, although each of their messages has a thread of its own. A
    thread that the app opened (an assistant thread) is a conversation by itself.
    """
    key = ThreadKey(PLATFORM, team.id, str(event["channel"]))
    thread = _thread(event)
    parent = event.get("parent_user_id")
    if thread and is_dm(event) and parent and parent != team.bot_user_id:
        return key
    return key.in_thread(thread)


def is_dm(event: Event) -> bool:
    """Whether a message was written in a person's DM with the bot."""
    kind = event.get("channel_type")
    return kind == "im" if kind else is_dm_channel(str(event.get("channel", "")))


def is_dm_channel(channel_id: str) -> bool:
    """Whether a channel is a person's DM with the bot."""
    return channel_id.startswith("D")


def root_of(event: Event) -> str:
    """The timestamp that a reply to this message names as its thread."""
    return str(event.get("thread_ts") or event.get("ts") or "")


def _is_mention_elsewhere(team: Team, event: Event) -> bool:
    """Whether Slack says that the bot is mentioned, though not in the text (so in a bot's blocks).
    A mention in the text that calls nobody is in code or in a quote."""
    return event.get("type") == "app_mention" and not names_user(_text(event), team.bot_user_id)


def _thread(event: Event) -> str:
    """The thread that a message was posted in; "" for a root, whose thread_ts may be its ts."""
    thread = str(event.get("thread_ts") or "")
    return "" if thread == event.get("ts") else thread


def _text(event: Event) -> str:
    text = event.get("text")
    return text if isinstance(text, str) else ""


def _messages(messages: object) -> list[Event]:
    if not isinstance(messages, list):
        return []
    return [message for message in messages if isinstance(message, Mapping) and message.get("ts")]


def _edited_at(message: Event) -> datetime:
    edited = message.get("edited")
    return _at(str(edited.get("ts"))) if isinstance(edited, Mapping) else datetime.now(UTC)


def _at(ts: str) -> datetime:
    try:
        return datetime.fromtimestamp(float(ts), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.now(UTC)
