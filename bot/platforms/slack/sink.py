"""A reply on Slack: status while it waits, a native stream or paced edits, an end with buttons."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from slack_sdk.errors import SlackApiError

from bot.core.ports import FinishedReply
from bot.core.records import Turn, TurnState
from bot.platforms.slack.api import DOWN, error_code, is_unsaid
from bot.platforms.slack.blocks import Block, context, end_controls, stop_controls
from bot.platforms.slack.posting import (
    FILE_FROM,
    SHAPES,
    STREAMING,
    FindPosted,
    Foot,
    Place,
    Poster,
    contents,
    message_body,
)
from bot.platforms.slack.status import Status, waiting_text
from bot.platforms.slack.stream import NativeStream, Recipient, StreamEnded
from bot.platforms.slack.teams import FEEDBACK, MARKDOWN, STREAM, Team

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """How often a reply in progress is shown; seconds and characters."""

    append_s: float = 0.7  # between two appends to a stream
    edit_s: float = 2.0  # between two edits of a message
    eager_chars: int = 1_500  # a piece this long is shown at once
    stop_after_s: float = 4.0  # a stream that takes longer gets a message with a Stop button


@dataclass(slots=True)
class _Shown:
    """What stands on Slack."""

    messages: list[str] = field(default_factory=list)  # of the reply itself
    stop: str = ""  # a message that only holds a Stop button


class SlackReply:
    """`bot.core.ports.ReplySink` for one turn.

    `old`: the timestamps of the messages whose place the reply takes (regenerate, recovery).
    `find` looks for what was posted although Slack's answer to that was lost.
    """

    def __init__(
        self,
        team: Team,
        place: Place,
        turn: Turn,
        recipient: Recipient,
        *,
        old: tuple[str, ...] = (),
        find: FindPosted | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._team = team
        self._place = place
        self._turn = turn
        self._timing = timing or Timing()
        self._find = find
        self._unsure = False  # whether a message stands there that nobody told of
        self._poster = Poster(team, place, turn.id, find)
        self._status = Status(team, place)
        self._shown = _Shown(list(old))
        self._stream: NativeStream | None = None
        if not old and place.thread_ts and recipient.user_id and team.can(STREAM):
            self._stream = NativeStream(team, place, recipient, self._poster.mark)
        self._text = ""
        self._pending = 0
        self._begun = time.monotonic()
        self._shown_at = 0.0

    @property
    def posted(self) -> tuple[str, ...]:
        """Where the reply stands: its messages, the Stop button's last."""
        return tuple(filter(None, (*self._shown.messages, self._shown.stop)))

    # --- the core's calls

    async def waiting(self, ahead: int) -> None:
        """Say that the reply is coming, and how many are served first."""
        if await self._status.show(waiting_text(ahead)) or self._shown.messages:
            return
        if ahead and not self._status.works:
            self._stream = None  # the reply goes where the waiting stands
            await self._edit(f"_I am busy: {ahead} ahead of you._")

    async def write(self, delta: str) -> None:
        """Let the reply grow."""
        self._text = self._text + delta if self._text else delta.lstrip("\n")
        self._pending += len(delta)
        every = self._timing.append_s if self._stream else self._timing.edit_s
        soon = time.monotonic() - self._shown_at < every
        if not self._text.strip() or (soon and self._pending < self._timing.eager_chars):
            return
        await self._show()

    async def restart(self) -> None:
        """Void what was written: streams only append, so edits take over."""
        self._text, self._pending = "", 0
        await self._leave_stream()
        if self._shown.messages:
            await self._edit("…")

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        """Show the whole reply, its notes and its buttons."""
        text, notes = message_body(reply)
        foot = self._foot(reply, notes)
        await self._take_stop_away()
        if not await self._end_stream(text, foot):
            await self._look()
            done: list[str] = []
            old, self._shown.messages = self._shown.messages, done
            try:
                await self._poster.deliver(text, foot, old, done)
            except BaseException:
                self._shown.messages = list(dict.fromkeys([*done, *old]))
                raise
        await self._status.clear(posted=True)
        if len(reply.text) > FILE_FROM and reply.state is TurnState.DELIVERED:
            await self._poster.attach(reply.text)
        return self.posted

    async def withdraw(self) -> None:
        """Delete what was posted."""
        await self._leave_stream()
        await self._look()
        for ts in self.posted:
            await self._poster.delete(ts)
        await self._status.clear(posted=False)
        self._shown = _Shown()

    async def close(self) -> None:
        """Let go of what would go on by itself."""
        await self._status.clear(posted=True)

    # --- showing what is there so far

    async def _show(self) -> None:
        if self._stream is not None:
            try:
                await self._stream.grow(self._text)
            except StreamEnded as end:
                logger.info("turn %d goes on without its stream: %s", self._turn.id, end)
                await self._leave_stream()
            self._note_stream()
        if self._stream is None:
            await self._edit(self._text)
        elif self._shown.messages:
            await self._offer_stop()
        if self._shown.messages:
            await self._status.clear(posted=True)
        self._shown_at, self._pending = time.monotonic(), 0

    async def _edit(self, text: str) -> None:
        """Show the beginning of `text` with a Stop button, if there is room for the call."""
        shape = SHAPES[0] if self._team.can(MARKDOWN) else SHAPES[1]
        chunk = (shape.chunks(text) or ["…"])[0]
        content = contents(chunk, shape, stop_controls(self._turn))
        api, channel = self._team.api, self._place.channel
        await self._look()
        try:
            if self._shown.messages:
                ts, mark = self._shown.messages[0], self._poster.mark
                await api.attempt("chat.update", channel=channel, ts=ts, metadata=mark, **content)
                return
            self._unsure = True  # until Slack answers; whatever else ends the call
            self._shown.messages.append(await self._poster.post(content))
            self._unsure = False
        except SlackApiError as error:
            self._unsure = self._unsure and is_unsaid(error)
            code = error_code(error)
            if code == "invalid_blocks" and shape is SHAPES[0]:
                self._team.lacks(MARKDOWN, code)
                await self._edit(text)
                return
            if code in STREAMING:
                await api.call("chat.stopStream", channel=channel, ts=self._shown.messages[0])
            elif not self._shown.messages:
                raise
            logger.info("turn %d: an interim edit was refused: %s", self._turn.id, code)

    async def _offer_stop(self) -> None:
        """A stream can't hold buttons while it runs: a message below it does."""
        if self._shown.stop or time.monotonic() - self._begun < self._timing.stop_after_s:
            return
        self._begun = time.monotonic()  # where it is refused: not again at once
        try:
            answer = await self._team.api.attempt(
                "chat.postMessage",
                channel=self._place.channel,
                thread_ts=self._place.thread_ts,
                text="Writing…",
                blocks=stop_controls(self._turn),
                metadata=self._poster.mark,
            )
        except SlackApiError as error:
            logger.info("turn %d: no Stop button: %s", self._turn.id, error_code(error))
            return
        if answer is not None:
            self._shown.stop = str(answer["ts"])

    async def _take_stop_away(self) -> None:
        if self._shown.stop:
            stop, self._shown.stop = self._shown.stop, ""
            await self._poster.delete(stop)

    # --- ending

    async def _end_stream(self, text: str, foot: Foot) -> bool:
        """Whether the reply is shown whole by its stream."""
        stream, self._stream = self._stream, None
        if stream is None:
            return False
        try:
            await self._stop_stream(stream, text, foot)
        except (StreamEnded, *DOWN) as end:
            logger.info("turn %d: its stream could not end: %s", self._turn.id, end)
            self._note(stream)
            await stream.break_off()
            return False
        self._note(stream)
        return True

    async def _stop_stream(self, stream: NativeStream, text: str, foot: Foot) -> None:
        feedback = self._team.can(FEEDBACK)
        try:
            await stream.end(text, foot(feedback))
        except StreamEnded as end:
            if str(end) != "invalid_blocks" or not stream.ts or not feedback:
                raise
            # Stopping was refused as a whole: the stream still runs.
            await stream.end(text, foot(False))
            self._team.lacks(FEEDBACK, "invalid_blocks")

    async def _leave_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._note(stream)
            await stream.break_off()

    def _note_stream(self) -> None:
        if self._stream is not None:
            self._note(self._stream)

    async def _look(self) -> None:
        """Where Slack's answer was lost, see whether a message stands there all the same."""
        if self._unsure and self._find is not None and not self._shown.messages:
            self._shown.messages = list(await self._find(()))
        self._unsure = False

    def _note(self, stream: NativeStream) -> None:
        self._unsure = self._unsure or stream.lost
        if stream.ts and stream.ts not in self._shown.messages:
            self._shown.messages.append(stream.ts)

    def _foot(self, reply: FinishedReply, notes: Sequence[str]) -> Foot:
        def foot(feedback: bool) -> list[Block]:
            controls = end_controls(self._turn, reply.state, feedback=feedback)
            return [*context(notes), *controls]

        return foot
