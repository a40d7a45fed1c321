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
from bot.platforms.slack.api import DOWN, error_code, is_unsaid
from bot.platforms.slack.blocks import Block, markdown, section
from bot.platforms.slack.markdown import to_markdown
from bot.platforms.slack.marks import answer_mark, file_name, reply_mark
from bot.platforms.slack.mrkdwn import to_mrkdwn
from bot.platforms.slack.teams import FEEDBACK, MARKDOWN, Team

logger = logging.getLogger(__name__)

TOO_LONG = frozenset(
    {"msg_too_long", "invalid_blocks", "msg_blocks_too_long", "markdown_text_too_long"}
)
#: The message is not there, or not to be changed: a new one takes its place.
LOST = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "is_inactive"})
STREAMING = frozenset({"streaming_state_conflict", "message_in_streaming_state"})
FILE_FROM = 20_000  # characters from which a reply comes as a file as well
SUMMARY_AT_MOST = 300  # characters of a message's `text` beside its blocks, for notifications


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reply is posted. `thread_ts` is "" in the channel itself."""

    channel: str
    thread_ts: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to put text in a message: what it becomes, and how much of that fits."""

    limit: int
    render: Callable[[str], str]
    as_block: Callable[[str], Block] | None

    def measure(self, text: str) -> int:
        """The length that counts; at least that of the text."""
        return max(len(self.render(text)), len(text))

    def chunks(self, text: str) -> list[str]:
        """The text in pieces that fit."""
        return split(text, self.limit, measure=self.measure)


SHAPES = (
    Shape(11_000, to_markdown, markdown),
    Shape(2_900, to_mrkdwn, section),
    Shape(1_400, to_mrkdwn, section),
    Shape(600, to_mrkdwn, None),
)

Foot = Callable[[bool], list[Block]]
"""The blocks under the last chunk; the argument is whether Slack knows feedback buttons."""


def no_foot(_feedback: bool) -> list[Block]:
    """Nothing under it."""
    return []


FindPosted = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
"""What stands of the reply on Slack, the messages that are known given."""


class Poster:
    """Posts and updates the messages of one reply, or of an answer that is no turn's.

    `find` looks for a message that was posted although Slack's answer to that was lost.
    """

    def __init__(
        self, team: Team, place: Place, turn_id: int | None = None, find: FindPosted | None = None
    ) -> None:
        self._team = team
        self._place = place
        self._turn_id = turn_id
        self._find = find

    @property
    def mark(self) -> dict[str, Any]:
        """The metadata of each of the messages."""
        return answer_mark() if self._turn_id is None else reply_mark(self._turn_id)

    async def deliver(
        self, text: str, foot: Foot, old: Sequence[str] = (), done: list[str] | None = None
    ) -> list[str]:
        """Show all of `text`; `old` messages are used again, those left over are deleted.

        Returns the messages' timestamps; they are put into `done` as they come, if given.

        Raises:
            SlackApiError, aiohttp.ClientError, TimeoutError: Slack takes it in no form.
        """
        done = [] if done is None else done
        places = deque(old)
        start = 0 if self._team.can(MARKDOWN) else 1
        queue = deque((chunk, start) for chunk in SHAPES[start].chunks(text))
        while queue:
            chunk, shape = queue.popleft()
            under = foot if not queue else no_foot
            try:
                ts = await self._put(chunk, SHAPES[shape], under, places, done)
            except SlackApiError as error:
                if error_code(error) not in TOO_LONG or shape + 1 >= len(SHAPES):
                    raise
                if shape == 0 and error_code(error) == "invalid_blocks":
                    self._team.lacks(MARKDOWN, "invalid_blocks")
                smaller = SHAPES[shape + 1].chunks(chunk)
                queue.extendleft((piece, shape + 1) for piece in reversed(smaller))
                continue
            done.append(ts)
        for ts in places:
            await self.delete(ts)
        return done

    async def attach(self, text: str) -> None:
        """Add the whole text as a file, where the app may upload; never fails."""
        try:
            await self._team.api.call(
                "files.upload_v2",
                channel=self._place.channel,
                content=text,
                filename="reply.md" if self._turn_id is None else file_name(self._turn_id),
                title="The whole reply",
                **self._in_thread(),
            )
        except (SlackApiError, *DOWN) as error:
            logger.info(
                "a long reply was not attached: %s", error_code(error) or type(error).__name__
            )

    async def delete(self, ts: str) -> None:
        """Delete one of the reply's messages; that it is gone already is fine. Never fails."""
        try:
            await self._team.api.call("chat.delete", channel=self._place.channel, ts=ts)
        except (SlackApiError, *DOWN) as error:
            if error_code(error) != "message_not_found":
                logger.info("chat.delete: %s", error_code(error) or type(error).__name__)

    async def post(self, content: dict[str, object]) -> str:
        """Post a new message; its timestamp.

        Raises:
            SlackApiError, aiohttp.ClientError, TimeoutError: Slack does not take it.
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
        self, chunk: str, shape: Shape, foot: Foot, places: deque[str], done: Sequence[str]
    ) -> str:
        """One message: where an old one stands, or a new one."""
        feedback = self._team.can(FEEDBACK)
        try:
            return await self._send(chunk, shape, foot(feedback), places, done)
        except SlackApiError as error:
            plain, rich = foot(False), foot(True)
            if not feedback or plain == rich or error_code(error) != "invalid_blocks":
                raise
        # Either the feedback buttons or the text is what Slack does not know.
        ts = await self._send(chunk, shape, plain, places, done)
        self._team.lacks(FEEDBACK, "invalid_blocks")
        return ts

    async def _send(
        self,
        chunk: str,
        shape: Shape,
        foot: list[Block],
        places: deque[str],
        done: Sequence[str],
    ) -> str:
        content = contents(chunk, shape, foot)
        while places:
            try:
                await self._update(places[0], content)
            except SlackApiError as error:
                if error_code(error) not in LOST:
                    raise
                await self.delete(places.popleft())
                continue
            return places.popleft()
        try:
            return await self.post(content)
        except (SlackApiError, *DOWN) as error:
            if self._find is None or not is_unsaid(error):
                raise
            logger.info("a post's answer was lost: %s", type(error).__name__)
        for ts in await self._find(done):
            if ts not in done:
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
            # A crash left it streaming: end that first.
            await self._team.api.call("chat.stopStream", channel=self._place.channel, ts=ts)
            await self._team.api.call("chat.update", channel=self._place.channel, ts=ts, **content)

    def _in_thread(self) -> dict[str, str]:
        return {"thread_ts": self._place.thread_ts} if self._place.thread_ts else {}


def contents(chunk: str, shape: Shape, foot: list[Block]) -> dict[str, object]:
    """The arguments of a message that shows `chunk` and `foot`."""
    rendered = shape.render(chunk)
    if shape.as_block is None and not foot:
        return {"text": rendered, "blocks": []}
    block = (shape.as_block or section)(rendered)
    return {"text": to_mrkdwn(chunk[:SUMMARY_AT_MOST]), "blocks": [block, *foot]}


def message_body(reply: FinishedReply) -> tuple[str, tuple[str, ...]]:
    """The text of an ended reply's message, never empty, and the notes for below it."""
    ending = reply_ending(reply)
    text = reply.text.lstrip("\n") if reply.text.strip() else ""
    body = "\n\n".join(part for part in (text, ending.marked_error) if part)
    return (body, ending.notes) if body else (f"_{ending.notes[0]}_", ending.notes[1:])
