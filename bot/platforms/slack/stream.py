"""Slack's native stream of one message: append only, buffered, and honest about its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slack_sdk.errors import SlackApiError

from bot.platforms.slack.api import DOWN, error_code, is_unsaid
from bot.platforms.slack.blocks import Block
from bot.platforms.slack.markdown import MarkdownStream, to_markdown
from bot.platforms.slack.posting import Place
from bot.platforms.slack.teams import STREAM, Team

CALL_AT_MOST = 11_500  # characters of one call; Slack takes 12,000
_NEVER_HERE = frozenset(
    {
        "unknown_method",
        "method_deprecated",
        "feature_not_enabled",
        "missing_scope",
        "not_allowed_token_type",
    }
)


class StreamEnded(Exception):
    """The stream can't go on; what it showed stands at `NativeStream.ts`, if anywhere."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a reply is for; Slack asks for it in channels."""

    team_id: str
    user_id: str


class NativeStream:
    """A message that grows. `ts` is where it stands, once it does; `lost`: it may stand somewhere,
    since the answer to its beginning was lost. It gets its `mark` (metadata) at its end."""

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
        self.lost = False

    async def grow(self, text: str) -> None:
        """Show what of `text` (all of the reply so far) can be shown already.

        Nothing happens where the rate limit has no room; the next call catches up.

        Raises:
            StreamEnded: go on by other means.
        """
        more = self._more(self._markdown.render(text))
        if not more:
            return
        piece = more[:CALL_AT_MOST]
        if await self._append(piece, must=False):
            self._sent += piece

    async def end(self, text: str, blocks: list[Block]) -> None:
        """Show all of `text`, end the stream, and put `blocks` under it.

        Raises:
            StreamEnded: not all of it is shown.
            aiohttp.ClientError, TimeoutError: Slack is not there just now.
        """
        more = self._more(to_markdown(text))
        while len(more) > CALL_AT_MOST or (more and not self.ts):
            piece, more = more[:CALL_AT_MOST], more[CALL_AT_MOST:]
            await self._append(piece, must=True)
            self._sent += piece
        await self._stop(more, blocks)

    async def break_off(self) -> None:
        """End the stream as it is, so that the message can be updated. Never fails."""
        if self.ts:
            try:
                await self._team.api.call(
                    "chat.stopStream",
                    channel=self._place.channel,
                    ts=self.ts,
                    metadata=self._mark,
                )
            except (SlackApiError, *DOWN):
                return  # it has ended already, or an update will tell

    def _more(self, rendered: str) -> str:
        if not rendered.startswith(self._sent):
            raise StreamEnded("the text is another now")
        return rendered[len(self._sent) :]

    async def _append(self, piece: str, *, must: bool) -> bool:
        """False where there was no room for it."""
        if not self.ts:
            return await self._start(piece, must=must)
        call = self._team.api.call if must else self._team.api.attempt
        try:
            answer = await call(
                "chat.appendStream", channel=self._place.channel, ts=self.ts, markdown_text=piece
            )
        except (SlackApiError, *DOWN) as error:
            # Where the answer was lost, the piece may stand there; again it would be there twice.
            raise StreamEnded(error_code(error) or type(error).__name__) from error
        return answer is not None

    async def _start(self, piece: str, *, must: bool) -> bool:
        """False where there was no room for it."""
        if self.lost:
            raise StreamEnded("whether it began is not known")
        call = self._team.api.call if must else self._team.api.attempt
        self.lost = True  # until Slack answers; whatever else ends the call
        try:
            answer = await call(
                "chat.startStream",
                channel=self._place.channel,
                thread_ts=self._place.thread_ts,
                recipient_team_id=self._recipient.team_id,
                recipient_user_id=self._recipient.user_id,
                markdown_text=piece,
            )
        except (SlackApiError, *DOWN) as error:
            self.lost = is_unsaid(error)
            code = error_code(error) or type(error).__name__
            if code in _NEVER_HERE:
                self._team.lacks(STREAM, code)
            raise StreamEnded(code) from error
        self.lost = False
        if answer is not None:
            self.ts = str(answer["ts"])
        return answer is not None

    async def _stop(self, more: str, blocks: list[Block]) -> None:
        try:
            await self._team.api.call(
                "chat.stopStream",
                channel=self._place.channel,
                ts=self.ts,
                metadata=self._mark,
                **({"markdown_text": more} if more else {}),
                **({"blocks": blocks} if blocks else {}),
            )
        except SlackApiError as error:
            raise StreamEnded(error_code(error)) from error
