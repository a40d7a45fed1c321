"""Installation by OAuth for many workspaces: the flow at /slack/install."""

from __future__ import annotations

import logging
from collections.abc import Callable

import aiohttp
from slack_bolt.error import BoltError
from slack_bolt.oauth.async_oauth_flow import AsyncOAuthFlow
from slack_bolt.oauth.async_oauth_settings import AsyncOAuthSettings
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_sdk.oauth.installation_store import Installation
from slack_sdk.oauth.installation_store.async_installation_store import AsyncInstallationStore
from slack_sdk.oauth.state_store.async_state_store import AsyncOAuthStateStore
from slack_sdk.web.async_client import AsyncWebClient

from bot.platforms.slack import texts
from bot.platforms.slack.manifest import INSTALL_PATH, REDIRECT_PATH, SCOPES
from bot.platforms.slack.socket import sdk_logger

logger = logging.getLogger(__name__)

STATE_TTL_S = 600


class InstallFlow(AsyncOAuthFlow):
    """Bolt's flow, limited to single workspaces; reports each installation."""

    on_installed: Callable[[str], None]

    async def store_installation(
        self, request: AsyncBoltRequest, installation: Installation
    ) -> None:
        """Store an installation.

        Raises:
            BoltError: it is for a whole organization.
        """
        if installation.is_enterprise_install or not installation.team_id:
            raise BoltError(texts.SINGLE_WORKSPACES)
        await super().store_installation(request, installation)
        logger.info("installed in Slack workspace %s", installation.team_id)
        self.on_installed(installation.team_id)


def install_flow(
    *,
    client_id: str,
    client_secret: str,
    base_url: str,
    public_url: str | None,
    session: aiohttp.ClientSession,
    installations: AsyncInstallationStore,
    states: AsyncOAuthStateStore,
    on_installed: Callable[[str], None],
) -> InstallFlow:
    """The flow. `on_installed` is called with the id of each workspace that is (re)installed."""
    flow = InstallFlow(
        client=AsyncWebClient(base_url=base_url, session=session, logger=sdk_logger()),
        logger=sdk_logger(),
        settings=AsyncOAuthSettings(
            client_id=client_id,
            client_secret=client_secret,
            scopes=list(SCOPES),
            user_scopes=[],
            redirect_uri=f"{public_url.rstrip('/')}{REDIRECT_PATH}" if public_url else None,
            install_path=INSTALL_PATH,
            redirect_uri_path=REDIRECT_PATH,
            authorization_url=authorization_url(base_url),
            installation_store=installations,
            installation_store_bot_only=True,
            state_store=states,
            state_expiration_seconds=STATE_TTL_S,
            logger=sdk_logger(),
        ),
    )
    flow.on_installed = on_installed
    return flow


def authorization_url(base_url: str) -> str:
    """Slack's consent page, next to its Web API."""
    return f"{base_url.rstrip('/').removesuffix('/api')}/oauth/v2/authorize"
