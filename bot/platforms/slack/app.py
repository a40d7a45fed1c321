"""The Bolt app: finds the workspace of a request and routes it to a listener."""

from __future__ import annotations

import logging
from typing import Any

from slack_bolt.adapter.socket_mode.async_internals import run_async_bolt_app, send_async_response
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.authorization.async_authorize import AsyncAuthorize
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from bot.platforms.slack.api import error_code
from bot.platforms.slack.controls import Controls
from bot.platforms.slack.events import Events
from bot.platforms.slack.socket import Respond, sdk_logger
from bot.platforms.slack.teams import NotInstalled, Teams

logger = logging.getLogger(__name__)

#: Bolt doesn't start without a secret; in Socket Mode it verifies nothing.
_NO_SECRET = "unused"  # noqa: S105


class AuthorizationUnavailable(Exception):
    """Slack can't be asked now whose token it is."""


class Authorize(AsyncAuthorize):
    """Finds the workspace that a request is from."""

    def __init__(self, teams: Teams) -> None:
        self._teams = teams

    async def __call__(
        self,
        *,
        enterprise_id: str | None,
        team_id: str | None,
        **_others: Any,
    ) -> AuthorizeResult | None:
        """The workspace's token; None if Parley isn't installed there."""
        try:
            team = await self._teams.get(team_id or "", enterprise_id)
        except NotInstalled:
            logger.info("a request from Slack workspace %s, where Parley isn't installed", team_id)
            return None
        except SlackApiError as error:
            # Bolt would take it for a bad token and acknowledge; Slack is to retry.
            raise AuthorizationUnavailable(error_code(error)) from None
        return AuthorizeResult(
            enterprise_id=enterprise_id,
            team_id=team.id,
            bot_user_id=team.bot_user_id,
            bot_id=team.bot_id,
            bot_token=team.api.token,
        )


def build_app(
    *, teams: Teams, events: Events, controls: Controls, base_url: str, signing_secret: str | None
) -> AsyncApp:
    """The app with all its listeners."""
    log = sdk_logger()
    level = log.level
    # Else it warns that it ignores SLACK_BOT_TOKEN from the environment, as it should.
    log.setLevel(logging.ERROR)
    app = AsyncApp(
        name="parley",
        logger=log,
        client=AsyncWebClient(base_url=base_url, logger=log),
        signing_secret=signing_secret or _NO_SECRET,
        request_verification_enabled=signing_secret is not None,
        authorize=Authorize(teams),  # type: ignore[arg-type]  # Bolt takes these too
        attaching_conversation_kwargs_enabled=False,
        attaching_function_token_enabled=False,
    )
    log.setLevel(level)
    app.middleware(events.middleware)
    controls.register(app)
    return app


def socket_responder(app: AsyncApp) -> Respond:
    """The listener for Socket Mode's envelopes."""

    async def respond(client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        answer = await run_async_bolt_app(app, request)
        try:
            await send_async_response(client, request, answer, 0.0)
        except ConnectionError:
            logger.info("a socket closed before an acknowledgement; Slack will retry")

    return respond
