"""The files on Slack messages: fetched from Slack's own hosts, with the workspace's token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError
from yarl import URL

from bot.core.events import Attachment
from bot.core.ports import BadImage
from bot.media.download import (
    SLACK_HOSTS,
    ExtraHost,
    HostPolicy,
    HtmlInsteadOfFile,
    download,
    open_session,
)
from bot.platforms.slack import texts
from bot.platforms.slack.api import error_code
from bot.platforms.slack.teams import Team


class Files:
    """Fetches files. Owns its HTTP session: `close` it.

    The token is sent to Slack's hosts and to that of `api_url`, which gets it with every call.
    """

    def __init__(self, api_url: str, extra: tuple[ExtraHost, ...], max_bytes: int) -> None:
        self._policy = HostPolicy(SLACK_HOSTS, extra)
        self._session: aiohttp.ClientSession | None = None
        self._api_host = URL(api_url).host or ""
        self._max_bytes = max_bytes

    async def close(self) -> None:
        """Close the session. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def attachments(self, team: Team, message: Mapping[str, Any]) -> tuple[Attachment, ...]:
        """The files of a message; `Attachment.load` fetches one."""
        files = message.get("files")
        if not isinstance(files, list):
            return ()
        return tuple(
            _attachment(file, self._loader(team, file))
            for file in files
            if isinstance(file, Mapping) and file.get("mode") != "tombstone"
        )

    def _loader(self, team: Team, file: Mapping[str, Any]) -> Callable[[], Awaitable[bytes]]:
        async def load() -> bytes:
            info = file
            if file.get("file_access") == "check_file_info":  # it belongs to another organization
                info = await _file_info(team, str(file.get("id", "")))
            url = info.get("url_private_download") or info.get("url_private")
            if not isinstance(url, str) or not url:
                is_gone = info.get("mode") == "hidden_by_limit"
                raise BadImage(texts.FILE_GONE if is_gone else texts.NO_FILE_ACCESS)
            return await self._fetch(team, url)

        return load

    async def _fetch(self, team: Team, url: str) -> bytes:
        if self._session is None:
            self._session = open_session(self._policy)
        try:
            return await download(
                url,
                policy=self._policy,
                session=self._session,
                max_bytes=self._max_bytes,
                headers_for_host=lambda host: self._headers(team, host),
            )
        except HtmlInsteadOfFile:  # Slack's login page
            raise BadImage(texts.NO_FILE_ACCESS) from None

    def _headers(self, team: Team, host: str) -> Mapping[str, str]:
        trusted = host == self._api_host or host.endswith((".slack.com", ".slack-gov.com"))
        return {"Authorization": f"Bearer {team.api.token}"} if trusted else {}


async def _file_info(team: Team, file_id: str) -> Mapping[str, Any]:
    try:
        answer = await team.api.call("files.info", file=file_id)
    except SlackApiError as error:
        no_access = error_code(error) in ("missing_scope", "not_in_channel")
        raise BadImage(texts.NO_FILE_ACCESS if no_access else texts.FILE_GONE) from None
    file = answer["file"]
    return file if isinstance(file, Mapping) else {}


def _attachment(file: Mapping[str, Any], load: Callable[[], Awaitable[bytes]]) -> Attachment:
    size = file.get("size")
    return Attachment(
        name=str(file.get("name") or file.get("title") or texts.UNNAMED_FILE),
        content_type=str(file.get("mimetype") or ""),
        size=size if isinstance(size, int) and size >= 0 else 0,
        load=load,
    )
