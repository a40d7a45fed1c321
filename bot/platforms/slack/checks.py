"""Slack's part of `parley doctor`: the tokens, the scopes, the socket; one line each."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.config import Settings
from bot.platforms.base import Finding
from bot.platforms.slack import texts
from bot.platforms.slack.api import UNREACHABLE, error_code, open_session
from bot.platforms.slack.manifest import EVENTS_PATH, SCOPES
from bot.platforms.slack.options import SlackOptions
from bot.platforms.slack.socket import sdk_logger
from bot.platforms.slack.teams import Team, Teams

GREETING_TIMEOUT_S = 10.0


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """All of Slack's findings; none if Slack isn't used."""
    if not settings.has_slack and settings.slack_app_token is None:
        return
    options = SlackOptions.from_settings(settings)
    async with open_session() as session:
        try:
            async for finding in _bot_token(options, session):
                yield finding
            yield _http(settings, options) if options.over_http else await _socket(options, session)
            yield Finding("slack events", True, texts.EVENTS_UNCHECKED)
        except UNREACHABLE as error:
            detail = texts.unreachable(type(error).__name__)
            yield Finding("slack", False, detail, texts.CHECK_NETWORK)


async def _bot_token(
    options: SlackOptions, session: aiohttp.ClientSession
) -> AsyncIterator[Finding]:
    name = "slack bot token"
    if options.bot_token is None:
        if options.has_oauth:
            yield Finding(name, True, texts.INSTALLED_BY_OAUTH)
        else:
            yield Finding(name, False, texts.NOT_SET, texts.COPY_BOT_TOKEN)
        return
    try:
        team = await Teams(session, options.api_url, bot_token=options.bot_token).connect()
    except SlackApiError as error:
        yield Finding(name, False, texts.rejected(error_code(error)), texts.COPY_BOT_TOKEN)
        return
    assert team is not None
    yield Finding(name, True, texts.belongs_to(team.name or team.id))
    yield _scopes(team)


def _scopes(team: Team) -> Finding:
    missing = sorted(set(SCOPES) - team.scopes)
    if not missing:
        return Finding("slack scopes", True, texts.ALL_SCOPES)
    return Finding("slack scopes", False, texts.missing_scopes(missing), texts.UPDATE_MANIFEST)


async def _socket(options: SlackOptions, session: aiohttp.ClientSession) -> Finding:
    client = AsyncWebClient(base_url=options.api_url, session=session, logger=sdk_logger())
    try:
        answer = await client.apps_connections_open(app_token=options.app_token or "")
    except SlackApiError as error:
        detail = texts.rejected(error_code(error))
        return Finding("slack app token", False, detail, texts.MAKE_APP_TOKEN)
    async with session.ws_connect(str(answer["url"])) as socket:
        greeting = await socket.receive_json(timeout=GREETING_TIMEOUT_S)
    if greeting.get("type") != "hello":
        detail = texts.no_greeting(str(greeting.get("type"))[:20])
        return Finding("slack socket", False, detail, texts.MAKE_APP_TOKEN)
    return Finding("slack socket", True, texts.SOCKET_OPENS)


def _http(settings: Settings, options: SlackOptions) -> Finding:
    name = "slack HTTP mode"
    if options.signing_secret is None:
        return Finding(name, False, texts.NO_MODE, texts.SET_A_MODE)
    if options.has_oauth and settings.encryption_key is None:
        return Finding(name, False, texts.OAUTH_NEEDS_KEY, texts.SET_ENCRYPTION_KEY)
    return Finding(name, True, texts.needs_requests_at(EVENTS_PATH))
