"""Slack's part of `parley doctor`: the tokens, the scopes, the socket; one line each."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.config import Settings
from bot.platforms.base import Finding
from bot.platforms.slack.api import DOWN, error_code, open_session
from bot.platforms.slack.manifest import EVENTS_PATH, SCOPES
from bot.platforms.slack.options import SlackOptions
from bot.platforms.slack.socket import sdk_logger
from bot.platforms.slack.teams import Team, Teams

#: An app's event subscriptions are in its manifest, which neither a bot's nor an app's token reads.
_UNSEEN = "not checked (no token of ours may see them): `parley slack manifest` has what is needed"
GREETING_WITHIN_S = 10.0
_COPY_IT = "copy it (xoxb-...) from the app's page OAuth & Permissions"


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """All of it; nothing where Slack is not used."""
    if not settings.has_slack and settings.slack_app_token is None:
        return
    options = SlackOptions.from_settings(settings)
    async with open_session() as session:
        try:
            async for finding in _bot(options, session):
                yield finding
            yield _http(settings, options) if options.over_http else await _socket(options, session)
            yield Finding("slack subscriptions", True, _UNSEEN)
        except DOWN as error:
            yield Finding(
                "slack",
                False,
                f"it can't be reached ({type(error).__name__})",
                "check the network and SLACK_API_URL",
            )


async def _bot(options: SlackOptions, session: aiohttp.ClientSession) -> AsyncIterator[Finding]:
    if options.bot_token is None:
        if options.has_oauth:
            yield Finding("slack bot token", True, "none of its own: workspaces install by OAuth")
        else:
            yield Finding("slack bot token", False, "SLACK_BOT_TOKEN is not set", _COPY_IT)
        return
    try:
        team = await Teams(session, options.api_url, bot_token=options.bot_token).connect()
    except SlackApiError as error:
        yield Finding("slack bot token", False, f"refused ({error_code(error)})", _COPY_IT)
        return
    assert team is not None
    yield Finding("slack bot token", True, f"it is that of {team.name or team.id}")
    yield _scopes(team)


def _scopes(team: Team) -> Finding:
    missing = sorted(set(SCOPES) - team.scopes)
    if not missing:
        return Finding("slack scopes", True, "the bot token has all")
    return Finding(
        "slack scopes",
        False,
        f"missing: {', '.join(missing)}",
        "give the app the manifest of `parley slack manifest` and install it again",
    )


async def _socket(options: SlackOptions, session: aiohttp.ClientSession) -> Finding:
    client = AsyncWebClient(base_url=options.api_url, session=session, logger=sdk_logger())
    fix = "make an app-level token (xapp-...) with connections:write and turn Socket Mode on"
    try:
        answer = await client.apps_connections_open(app_token=options.app_token or "")
    except SlackApiError as error:
        return Finding(
            "slack socket", False, f"SLACK_APP_TOKEN is refused ({error_code(error)})", fix
        )
    async with session.ws_connect(str(answer["url"])) as socket:
        greeting = await socket.receive_json(timeout=GREETING_WITHIN_S)
    if greeting.get("type") != "hello":
        return Finding("slack socket", False, f"greeted by {str(greeting.get('type'))[:20]!r}", fix)
    return Finding("slack socket", True, "it opens and says hello")


def _http(settings: Settings, options: SlackOptions) -> Finding:
    if options.signing_secret is None:
        return Finding(
            "slack events",
            False,
            "neither SLACK_APP_TOKEN nor SLACK_SIGNING_SECRET is set",
            "set the first for Socket Mode, or the second for HTTP mode",
        )
    if options.has_oauth and settings.encryption_key is None:
        return Finding(
            "slack events",
            False,
            "installing by OAuth needs a key for the tokens",
            "set PARLEY_ENCRYPTION_KEY to a secret of 32 characters or more",
        )
    return Finding("slack events", True, f"HTTP mode: Slack has to reach {EVENTS_PATH}")
