"""The workspaces where Parley is installed: token, client, missing abilities."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.oauth.installation_store.async_installation_store import AsyncInstallationStore

from bot.platforms.shared.recent import RecentDict
from bot.platforms.slack.api import SlackApi, error_code

logger = logging.getLogger(__name__)

STREAM = "native streams"
STATUS = "assistant status"
TITLE = "thread titles"
PROMPTS = "suggested prompts"
FEEDBACK = "feedback blocks"
MARKDOWN = "markdown blocks"

#: Seconds for which a workspace without an installation isn't looked up again.
NOT_INSTALLED_TTL_S = 20.0
MAX_NOT_INSTALLED = 10_000
_INVALID_TOKEN = frozenset(
    {"invalid_auth", "account_inactive", "token_revoked", "token_expired", "not_authed"}
)


class NotInstalled(Exception):
    """Parley isn't installed in this workspace, or no longer."""


@dataclass(slots=True)
class Team:
    """One workspace. `missing_abilities`: those that Slack refused there; not tried again."""

    id: str
    api: SlackApi = field(repr=False)
    bot_user_id: str
    bot_id: str
    name: str = ""
    scopes: frozenset[str] = frozenset()
    missing_abilities: set[str] = field(default_factory=set)

    def can(self, ability: str) -> bool:
        return ability not in self.missing_abilities

    def lacks(self, ability: str, reason: str) -> None:
        """Remember that the workspace has no such ability; logged once."""
        if ability not in self.missing_abilities:
            self.missing_abilities.add(ability)
            logger.warning(
                "Slack workspace %s has no %s (%s): falling back", self.id, ability, reason
            )


class Teams:
    """Finds a workspace by its id: that of SLACK_BOT_TOKEN, or an installation."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        *,
        bot_token: str | None = None,
        installations: AsyncInstallationStore | None = None,
    ) -> None:
        self._session = session
        self._base_url = base_url
        self._bot_token = bot_token
        self._installations = installations
        self._teams: dict[str, Team] = {}
        self._not_installed: RecentDict[str, float] = RecentDict(MAX_NOT_INSTALLED)
        self._lock = asyncio.Lock()

    async def connect(self) -> Team | None:
        """Check SLACK_BOT_TOKEN, if it is set; returns its workspace.

        Raises:
            SlackApiError: Slack rejects it.
            aiohttp.ClientError, TimeoutError: Slack can't be reached.
        """
        if self._bot_token is None:
            return None
        team = await self._identify(self._bot_token)
        self._teams[team.id] = team
        return team

    async def get(self, team_id: str, enterprise_id: str | None = None) -> Team:
        """A workspace.

        Raises:
            NotInstalled: it has no working installation.
            SlackApiError, aiohttp.ClientError, TimeoutError: Slack doesn't answer now.
        """
        team = self._teams.get(team_id)
        if team is not None:
            return team
        async with self._lock:
            if team_id in self._teams:
                return self._teams[team_id]
            if time.monotonic() < self._not_installed.get(team_id, 0.0):
                raise NotInstalled(team_id)
            return await self._find(team_id, enterprise_id)

    def forget(self, team_id: str) -> None:
        """Look the workspace up again next time: it was installed or uninstalled."""
        self._teams.pop(team_id, None)
        self._not_installed.pop(team_id, None)

    async def uninstall(self, team_id: str, enterprise_id: str | None) -> None:
        """Delete a workspace's tokens: the app was uninstalled or its token revoked."""
        self.forget(team_id)
        if self._installations is not None:
            await self._installations.async_delete_all(enterprise_id=enterprise_id, team_id=team_id)

    async def _find(self, team_id: str, enterprise_id: str | None) -> Team:
        token = await self._installed_token(team_id, enterprise_id)
        team = None
        if token is not None:
            try:
                team = await self._identify(token)
            except SlackApiError as error:
                if error_code(error) not in _INVALID_TOKEN:
                    raise
        if team is None or team.id != team_id:
            self._not_installed[team_id] = time.monotonic() + NOT_INSTALLED_TTL_S
            raise NotInstalled(team_id)
        self._teams[team_id] = team
        return team

    async def _installed_token(self, team_id: str, enterprise_id: str | None) -> str | None:
        if self._installations is not None:
            bot = await self._installations.async_find_bot(
                enterprise_id=enterprise_id, team_id=team_id
            )
            if bot is not None:
                return bot.bot_token
        return self._bot_token

    async def _identify(self, token: str) -> Team:
        api = SlackApi(token, self._base_url, self._session)
        answer = await api.call("auth.test")
        return Team(
            id=str(answer["team_id"]),
            api=api,
            bot_user_id=str(answer["user_id"]),
            bot_id=str(answer.get("bot_id") or ""),
            name=str(answer.get("team") or ""),
            scopes=_scopes(answer.headers),
        )


def _scopes(headers: dict[str, str]) -> frozenset[str]:
    """The token's scopes, which Slack sends with every answer."""
    for name, value in headers.items():
        if name.lower() == "x-oauth-scopes":
            return frozenset(scope.strip() for scope in value.split(",") if scope.strip())
    return frozenset()
