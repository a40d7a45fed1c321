"""A reply on Slack: a status while it waits, a native stream or paced edits, buttons at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from slack_sdk.errors import SlackApiError

from bot.core.ports import FinishedReply
from bot.core.records import Turn, TurnState
from bot.platforms.slack import texts
from bot.platforms.slack.api import UNREACHABLE, error_code, may_have_succeeded
from bot.platforms.slack.blocks import Block, context, end_controls, stop_controls
from bot.platforms.slack.posting import (
    FILE_FROM,
    FORMATS,
    MRKDWN_FORMAT,
    STREAMING,
    FindPosted,
    Footer,
    Place,
    Poster,
    message_body,
    message_content,
)
from bot.platforms.slack.status import Status
from bot.platforms.slack.stream import NativeStream, Recipient, StreamEnded
from bot.platforms.slack.teams import FEEDBACK, MARKDOWN, STREAM, Team

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """How often a reply in progress is updated, in seconds and characters."""

    append_s: float = 0.7  # between two appends to a stream
    edit_s: float = 2.0  # between two edits of a message
    eager_chars: int = 1_500  # this much new text is shown at once
    stop_after_s: float = 4.0  # a longer stream gets a message with a Stop button


@dataclass(slots=True)
class _PostedMessages:
    """The timestamps of the reply's messages on Slack."""

    reply: list[str] = field(default_factory=list)
    stop: str = ""  # a message that only has a Stop button


class SlackReply:
    """`bot.core.ports.ReplySink` and `KnowsPosted` for one turn.

    `old`: the timestamps of messages that the reply replaces (regenerate, recovery).
    `find_posted` looks for messages that were posted although Slack's answer was lost.
    """

    def __init__(
        self,
        team: Team,
        place: Place,
        turn: Turn,
        recipient: Recipient,
        *,
        old: tuple[str, ...] = (),
        find_posted: FindPosted | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._team = team
        self._place = place
        self._turn = turn
        self._timing = timing or Timing()
        self._find_posted = find_posted
        self._is_post_uncertain = False  # a message may be there that Slack didn't confirm
        self._poster = Poster(team, place, turn.id, find_posted)
        self._status = Status(team, place)
        self._messages = _PostedMessages(list(old))
        self._stream: NativeStream | None = None
        if not old and place.thread_ts and recipient.user_id and team.can(STREAM):
            self._stream = NativeStream(team, place, recipient, self._poster.mark)
        self._text = ""
        self._unshown_chars = 0
        self._shown_at = 0.0
        self._stop_offered_at = time.monotonic()

    @property
    def posted(self) -> tuple[str, ...]:
        return tuple(filter(None, (*self._messages.reply, self._messages.stop)))

    # The core's calls

    async def waiting(self, ahead: int) -> None:
        status = texts.status_ahead(ahead) if ahead else texts.STATUS_THINKING
        if await self._status.show(status) or self._messages.reply:
            return
        if ahead and not self._status.is_available:
            self._stream = None  # the reply will be edited into the message posted here
            await self._edit(texts.ahead(ahead))

    async def write(self, delta: str) -> None:
        self._text = self._text + delta if self._text else delta.lstrip("\n")
        self._unshown_chars += len(delta)
        interval_s = self._timing.append_s if self._stream else self._timing.edit_s
        is_early = time.monotonic() - self._shown_at < interval_s
        if not self._text.strip() or (is_early and self._unshown_chars < self._timing.eager_chars):
            return
        await self._show()

    async def restart(self) -> None:
        self._text, self._unshown_chars = "", 0
        await self._abandon_stream()  # streams only append: edits take over
        if self._messages.reply:
            await self._edit(texts.EMPTY_REPLY)

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        text, notes = message_body(reply)
        footer = self._footer(reply, notes)
        await self._delete_stop_message()
        if not await self._end_stream(text, footer):
            await self._find_unconfirmed()
            posted: list[str] = []
            old, self._messages.reply = self._messages.reply, posted
            try:
                await self._poster.deliver(text, footer, old, posted)
            except BaseException:
                self._messages.reply = list(dict.fromkeys([*posted, *old]))
                raise
        await self._status.clear(is_posted=True)
        if len(reply.text) > FILE_FROM and reply.state is TurnState.DELIVERED:
            await self._poster.attach(reply.text)
        return self.posted

    async def withdraw(self) -> None:
        await self._abandon_stream()
        await self._find_unconfirmed()
        for ts in self.posted:
            await self._poster.delete(ts)
        await self._status.clear(is_posted=False)
        self._messages = _PostedMessages()

    async def close(self) -> None:
        """End the task that renews the status."""
        await self._status.clear(is_posted=True)

    # While the reply grows

    async def _show(self) -> None:
        if self._stream is not None:
            try:
                await self._stream.append(self._text)
            except StreamEnded as end:
                logger.info("turn %d continues without its stream: %s", self._turn.id, end)
                await self._abandon_stream()
            if self._stream is not None:
                self._record_stream(self._stream)
        if self._stream is None:
            await self._edit(self._text)
        elif self._messages.reply:
            await self._offer_stop()
        if self._messages.reply:
            await self._status.clear(is_posted=True)
        self._shown_at, self._unshown_chars = time.monotonic(), 0

    async def _edit(self, text: str) -> None:
        """Show the start of `text` with a Stop button, if the rate limit has room."""
        text_format = FORMATS[0] if self._team.can(MARKDOWN) else MRKDWN_FORMAT
        chunk = (text_format.chunks(text) or [texts.EMPTY_REPLY])[0]
        content = message_content(chunk, text_format, stop_controls(self._turn))
        await self._find_unconfirmed()
        try:
            await self._update_or_post(content)
        except SlackApiError as error:
            self._is_post_uncertain = self._is_post_uncertain and may_have_succeeded(error)
            code = error_code(error)
            if code == "invalid_blocks" and text_format is FORMATS[0]:
                self._team.lacks(MARKDOWN, code)
                await self._edit(text)
                return
            if code in STREAMING:
                await self._team.api.call(
                    "chat.stopStream", channel=self._place.channel, ts=self._messages.reply[0]
                )
            elif not self._messages.reply:
                raise
            logger.info("turn %d: an interim edit was refused: %s", self._turn.id, code)

    async def _update_or_post(self, content: dict[str, object]) -> None:
        if self._messages.reply:
            await self._team.api.try_call(
                "chat.update",
                channel=self._place.channel,
                ts=self._messages.reply[0],
                metadata=self._poster.mark,
                **content,
            )
            return
        self._is_post_uncertain = True  # until Slack answers, whatever else ends the call
        self._messages.reply.append(await self._poster.post(content))
        self._is_post_uncertain = False

    async def _offer_stop(self) -> None:
        """Post a Stop button below a stream, which can't have buttons itself."""
        if self._messages.stop:
            return
        if time.monotonic() - self._stop_offered_at < self._timing.stop_after_s:
            return
        self._stop_offered_at = time.monotonic()  # if Slack refuses it, not again at once
        try:
            answer = await self._team.api.try_call(
                "chat.postMessage",
                channel=self._place.channel,
                thread_ts=self._place.thread_ts,
                text=texts.WRITING,
                blocks=stop_controls(self._turn),
                metadata=self._poster.mark,
            )
        except SlackApiError as error:
            logger.info("turn %d: no Stop button: %s", self._turn.id, error_code(error))
            return
        if answer is not None:
            self._messages.stop = str(answer["ts"])

    async def _delete_stop_message(self) -> None:
        stop, self._messages.stop = self._messages.stop, ""
        if stop:
            await self._poster.delete(stop)

    # At the end

    async def _end_stream(self, text: str, footer: Footer) -> bool:
        """Whether the stream shows the whole reply."""
        stream, self._stream = self._stream, None
        if stream is None:
            return False
        try:
            await self._end_with_footer(stream, text, footer)
        except (StreamEnded, *UNREACHABLE) as end:
            logger.info("turn %d: its stream could not end: %s", self._turn.id, end)
            self._record_stream(stream)
            await stream.abandon()
            return False
        self._record_stream(stream)
        return True

    async def _end_with_footer(self, stream: NativeStream, text: str, footer: Footer) -> None:
        has_feedback = self._team.can(FEEDBACK)
        try:
            await stream.end(text, footer(has_feedback))
        except StreamEnded as end:
            if str(end) != "invalid_blocks" or not stream.ts or not has_feedback:
                raise
            # Slack refused the whole call: the stream still runs.
            await stream.end(text, footer(False))
            self._team.lacks(FEEDBACK, "invalid_blocks")

    async def _abandon_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._record_stream(stream)
            await stream.abandon()

    def _record_stream(self, stream: NativeStream) -> None:
        self._is_post_uncertain = self._is_post_uncertain or stream.is_start_uncertain
        if stream.ts and stream.ts not in self._messages.reply:
            self._messages.reply.append(stream.ts)

    async def _find_unconfirmed(self) -> None:
        """If Slack's answer to a post was lost, see whether the message is there."""
        if self._is_post_uncertain and self._find_posted is not None and not self._messages.reply:
            self._messages.reply = list(await self._find_posted(()))
        self._is_post_uncertain = False

    def _footer(self, reply: FinishedReply, notes: Sequence[str]) -> Footer:
        def footer(has_feedback: bool) -> list[Block]:
            controls = end_controls(self._turn, reply.state, has_feedback=has_feedback)
            return [*context(notes), *controls]

        return footer
