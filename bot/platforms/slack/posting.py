"""Delivers a whole text as Slack messages: over old ones, in chunks that Slack accepts."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from slack_sdk.errors import SlackApiError

from bot.core.ports import FinishedReply
from bot.platforms.shared.message_splitter import split
from bot.platforms.shared.reply_ending import reply_ending
from bot.platforms.slack import texts
from bot.platforms.slack.api import UNREACHABLE, error_code, error_name, may_have_succeeded
from bot.platforms.slack.blocks import Block, markdown, section
from bot.platforms.slack.markdown import to_markdown
from bot.platforms.slack.marks import answer_mark, file_name, reply_mark
from bot.platforms.slack.mrkdwn import to_mrkdwn
from bot.platforms.slack.teams import FEEDBACK, MARKDOWN, Team

logger = logging.getLogger(__name__)

TOO_LONG = frozenset(
    {"msg_too_long", "invalid_blocks", "msg_blocks_too_long", "markdown_text_too_long"}
)
#: The message is gone or can't be edited: a new one takes its place.
NOT_EDITABLE = frozenset(
    {"message_not_found", "cant_update_message", "edit_window_closed", "is_inactive"}
)
STREAMING = frozenset({"streaming_state_conflict", "message_in_streaming_state"})
FILE_FROM = 20_000  # characters from which on a reply is also attached as a file
MAX_SUMMARY = 300  # characters of a message's `text` beside its blocks, for notifications


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reply is posted. `thread_ts` is "" for the channel itself."""

    channel: str
    thread_ts: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """One way to put text into a message: its dialect, and how many characters fit."""

    limit: int
    render: Callable[[str], str]
    as_block: Callable[[str], Block] | None

    def measure(self, text: str) -> int:
        """The length that counts, at least that of the text."""
        return max(len(self.render(text)), len(text))

    def chunks(self, text: str) -> list[str]:
        """The text in pieces that fit."""
        return split(text, self.limit, measure=self.measure)


#: In the order in which they are tried.
FORMATS = (
    Format(11_000, to_markdown, markdown),
    Format(2_900, to_mrkdwn, section),
    Format(1_400, to_mrkdwn, section),
    Format(600, to_mrkdwn, None),
)
#: What response URLs, ephemeral messages and workspaces without markdown blocks take.
MRKDWN_FORMAT = FORMATS[1]

Footer = Callable[[bool], list[Block]]
"""The blocks below the last chunk; the argument is whether Slack has feedback buttons."""

FindPosted = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
"""Finds the messages of a reply on Slack, given the timestamps of those that are known."""


def no_footer(_has_feedback: bool) -> list[Block]:
    return []


class Poster:
    """Posts and updates the messages of one reply, or of an answer without a turn.

    `find_posted` looks for a message that was posted although Slack's answer was lost.
    """

    def __init__(
        self,
        team: Team,
        place: Place,
        turn_id: int | None = None,
        find_posted: FindPosted | None = None,
    ) -> None:
        self._team = team
        self._place = place
        self._turn_id = turn_id
        self._find_posted = find_posted

    @property
    def mark(self) -> dict[str, Any]:
        """The metadata of each message."""
        return answer_mark() if self._turn_id is None else reply_mark(self._turn_id)

    async def deliver(
        self, text: str, footer: Footer, old: Sequence[str] = (), posted: list[str] | None = None
    ) -> list[str]:
        """Show all of `text`. The `old` messages are edited; those left over are deleted.

        Returns the timestamps of the messages, which `posted` gets one by one.

        Raises:
            SlackApiError, aiohttp.ClientError, TimeoutError: Slack doesn't take it.
        """
        posted = [] if posted is None else posted
        reusable = deque(old)
        first = 0 if self._team.can(MARKDOWN) else 1
        queue = deque((chunk, first) for chunk in FORMATS[first].chunks(text))
        while queue:
            chunk, number = queue.popleft()
            chunk_footer = footer if not queue else no_footer
            try:
                ts = await self._put(chunk, FORMATS[number], chunk_footer, reusable, posted)
            except SlackApiError as error:
                if error_code(error) not in TOO_LONG or number + 1 >= len(FORMATS):
                    raise
                if number == 0 and error_code(error) == "invalid_blocks":
                    self._team.lacks(MARKDOWN, "invalid_blocks")
                smaller = FORMATS[number + 1].chunks(chunk)
                queue.extendleft((piece, number + 1) for piece in reversed(smaller))
                continue
            posted.append(ts)
        for ts in reusable:
            await self.delete(ts)
        return posted

    async def attach(self, text: str) -> None:
        """Add the whole text as a file, if the app may upload. Never fails."""
        try:
            await self._team.api.call(
                "files.upload_v2",
                channel=self._place.channel,
                content=text,
                filename="reply.md" if self._turn_id is None else file_name(self._turn_id),
                title=texts.FULL_REPLY,
                **self._in_thread(),
            )
        except (SlackApiError, *UNREACHABLE) as error:
            logger.info("a long reply was not attached: %s", error_name(error))

    async def delete(self, ts: str) -> None:
        """Delete one of the messages, if it is there. Never fails."""
        try:
            await self._team.api.call("chat.delete", channel=self._place.channel, ts=ts)
        except (SlackApiError, *UNREACHABLE) as error:
            if error_code(error) != "message_not_found":
                logger.info("chat.delete: %s", error_name(error))

    async def post(self, content: dict[str, object]) -> str:
        """Post a new message; returns its timestamp.

        Raises:
            SlackApiError, aiohttp.ClientError, TimeoutError: Slack doesn't take it.
        """
        answer = await self._team.api.call(
            "chat.postMessage",
            channel=self._place.channel,
            unfurl_links=False,
            unfurl_media=False,
            metadata=self.mark,
            **content,
            **self._in_thread(),
        )
        return str(answer["ts"])

    async def _put(
        self,
        chunk: str,
        text_format: Format,
        footer: Footer,
        reusable: deque[str],
        posted: Sequence[str],
    ) -> str:
        """One message: in place of an old one, or a new one."""
        has_feedback = self._team.can(FEEDBACK)
        plain, rich = footer(False), footer(True)
        try:
            blocks = rich if has_feedback else plain
            return await self._send(chunk, text_format, blocks, reusable, posted)
        except SlackApiError as error:
            if not has_feedback or plain == rich or error_code(error) != "invalid_blocks":
                raise
        # Slack doesn't know either the feedback buttons or the markdown block.
        ts = await self._send(chunk, text_format, plain, reusable, posted)
        self._team.lacks(FEEDBACK, "invalid_blocks")
        return ts

    async def _send(
        self,
        chunk: str,
        text_format: Format,
        footer: list[Block],
        reusable: deque[str],
        posted: Sequence[str],
    ) -> str:
        content = message_content(chunk, text_format, footer)
        while reusable:
            try:
                await self._update(reusable[0], content)
            except SlackApiError as error:
                if error_code(error) not in NOT_EDITABLE:
                    raise
                await self.delete(reusable.popleft())
                continue
            return reusable.popleft()
        try:
            return await self.post(content)
        except (SlackApiError, *UNREACHABLE) as error:
            if self._find_posted is None or not may_have_succeeded(error):
                raise
            logger.info("the answer to a post was lost: %s", error_name(error))
        for ts in await self._find_posted(posted):
            if ts not in posted:
                await self._update(ts, content)
                return ts
        return await self.post(content)

    async def _update(self, ts: str, content: dict[str, object]) -> None:
        content = {**content, "metadata": self.mark}
        try:
            await self._team.api.call("chat.update", channel=self._place.channel, ts=ts, **content)
        except SlackApiError as error:
            if error_code(error) not in STREAMING:
                raise
            # A crash left it streaming.
            await self._team.api.call("chat.stopStream", channel=self._place.channel, ts=ts)
            await self._team.api.call("chat.update", channel=self._place.channel, ts=ts, **content)

    def _in_thread(self) -> dict[str, str]:
        return {"thread_ts": self._place.thread_ts} if self._place.thread_ts else {}


def message_content(chunk: str, text_format: Format, footer: list[Block]) -> dict[str, object]:
    """The arguments of a message that shows `chunk` and `footer`."""
    rendered = text_format.render(chunk)
    if text_format.as_block is None and not footer:
        return {"text": rendered, "blocks": []}
    block = (text_format.as_block or section)(rendered)
    return {"text": to_mrkdwn(chunk[:MAX_SUMMARY]), "blocks": [block, *footer]}


def message_body(reply: FinishedReply) -> tuple[str, tuple[str, ...]]:
    """The text of an ended reply's message, never empty, and the notes for below it."""
    ending = reply_ending(reply)
    text = reply.text.lstrip("\n") if reply.text.strip() else ""
    body = "\n\n".join(part for part in (text, ending.marked_error) if part)
    return (body, ending.notes) if body else (f"_{ending.notes[0]}_", ending.notes[1:])
