"""Slack's native stream of one message: append-only and buffered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slack_sdk.errors import SlackApiError

from bot.platforms.slack.api import UNREACHABLE, error_code, error_name, may_have_succeeded
from bot.platforms.slack.blocks import Block
from bot.platforms.slack.markdown import MarkdownStream, to_markdown
from bot.platforms.slack.posting import Place
from bot.platforms.slack.teams import STREAM, Team

MAX_APPEND = 11_500  # characters of one call; Slack takes 12,000
_UNAVAILABLE = frozenset(
    {
        "unknown_method",
        "method_deprecated",
        "feature_not_enabled",
        "missing_scope",
        "not_allowed_token_type",
    }
)


class StreamEnded(Exception):
    """The stream can't go on; its message, if there is one, is at `NativeStream.ts`."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who a reply is for; Slack asks for it in channels."""

    team_id: str
    user_id: str


class NativeStream:
    """A message that grows.

    `ts` is the message, once there is one. `is_start_uncertain`: there may be one, since the
    answer to the start was lost. The message gets its `mark` (metadata) when the stream ends.
    """

    def __init__(
        self, team: Team, place: Place, recipient: Recipient, mark: dict[str, Any]
    ) -> None:
        self._team = team
        self._place = place
        self._recipient = recipient
        self._mark = mark
        self._markdown = MarkdownStream()
        self._sent = ""
        self.ts = ""
        self.is_start_uncertain = False

    async def append(self, text: str) -> None:
        """Show as much of `text`, the whole reply so far, as is final.

        Nothing happens when the rate limit has no room: the next call catches up.

        Raises:
            StreamEnded: show the reply by other means.
        """
        unsent = self._unsent(self._markdown.render(text))
        if not unsent:
            return
        piece = unsent[:MAX_APPEND]
        if await self._send(piece, required=False):
            self._sent += piece

    async def end(self, text: str, blocks: list[Block]) -> None:
        """Show all of `text`, end the stream, and put `blocks` below it.

        Raises:
            StreamEnded: not all of it is shown.
            aiohttp.ClientError, TimeoutError: Slack can't be reached.
        """
        unsent = self._unsent(to_markdown(text))
        while len(unsent) > MAX_APPEND or (unsent and not self.ts):
            piece, unsent = unsent[:MAX_APPEND], unsent[MAX_APPEND:]
            await self._send(piece, required=True)
            self._sent += piece
        await self._stop(unsent, blocks)

    async def abandon(self) -> None:
        """End the stream as it is, so that the message can be updated. Never fails."""
        if self.ts:
            try:
                await self._team.api.call(
                    "chat.stopStream",
                    channel=self._place.channel,
                    ts=self.ts,
                    metadata=self._mark,
                )
            except (SlackApiError, *UNREACHABLE):
                return  # it has ended already, or the update will fail and say why

    def _unsent(self, rendered: str) -> str:
        if not rendered.startswith(self._sent):
            raise StreamEnded("what was sent is no longer the start of the reply")
        return rendered[len(self._sent) :]

    async def _send(self, piece: str, *, required: bool) -> bool:
        """False if the rate limit had no room."""
        if not self.ts:
            return await self._start(piece, required=required)
        call = self._team.api.call if required else self._team.api.try_call
        try:
            answer = await call(
                "chat.appendStream", channel=self._place.channel, ts=self.ts, markdown_text=piece
            )
        except (SlackApiError, *UNREACHABLE) as error:
            # Without an answer the piece may be there: sent again, it could be there twice.
            raise StreamEnded(error_name(error)) from error
        return answer is not None

    async def _start(self, piece: str, *, required: bool) -> bool:
        """False if the rate limit had no room."""
        if self.is_start_uncertain:
            raise StreamEnded("it may have started")
        call = self._team.api.call if required else self._team.api.try_call
        self.is_start_uncertain = True  # until Slack answers, whatever else ends the call
        try:
            answer = await call(
                "chat.startStream",
                channel=self._place.channel,
                thread_ts=self._place.thread_ts,
                recipient_team_id=self._recipient.team_id,
                recipient_user_id=self._recipient.user_id,
                markdown_text=piece,
            )
        except (SlackApiError, *UNREACHABLE) as error:
            self.is_start_uncertain = may_have_succeeded(error)
            if error_code(error) in _UNAVAILABLE:
                self._team.lacks(STREAM, error_code(error))
            raise StreamEnded(error_name(error)) from error
        self.is_start_uncertain = False
        if answer is not None:
            self.ts = str(answer["ts"])
        return answer is not None

    async def _stop(self, unsent: str, blocks: list[Block]) -> None:
        try:
            await self._team.api.call(
                "chat.stopStream",
                channel=self._place.channel,
                ts=self.ts,
                metadata=self._mark,
                **({"markdown_text": unsent} if unsent else {}),
                **({"blocks": blocks} if blocks else {}),
            )
        except SlackApiError as error:
            raise StreamEnded(error_name(error)) from error
