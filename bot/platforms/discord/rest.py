"""A few questions to Discord's API outside of a running client: for the start, doctor, invite."""

from __future__ import annotations

import asyncio
import base64
import binascii
from types import TracebackType
from typing import Any, Self

import aiohttp

from bot.platforms.base import PlatformError
from bot.platforms.shared.ids import parse_id

TIMEOUT_S = 15.0
USER_AGENT = "DiscordBot (parley, 1)"


class RestError(PlatformError):
    """Discord did not answer as it should; the text is one line for the operator. `status`: the
    HTTP status, 0 where there was no answer at all."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Rest:
    """Asks Discord's API. `async with Rest(url, token) as rest: ...`"""

    def __init__(self, api_url: str, token: str) -> None:
        self._api_url = api_url.rstrip("/")
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bot {self._token}", "User-Agent": USER_AGENT},
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, **query: str) -> Any:
        """The answer to a GET; a rate limit is waited for once.

        Raises:
            RestError: anything but an answer.
        """
        assert self._session is not None, "use `async with`"
        for last_try in (False, True):
            try:
                async with self._session.get(f"{self._api_url}{path}", params=query) as response:
                    if response.status == 429 and not last_try:
                        await asyncio.sleep(
                            min(10.0, float(response.headers.get("Retry-After", 1)))
                        )
                        continue
                    if response.status != 200:
                        raise RestError(_refusal(response.status), response.status)
                    return await response.json(content_type=None)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise RestError(
                    f"DISCORD_API_URL: no answer from Discord ({type(error).__name__}): is this "
                    "machine online, and the address right?"
                ) from error
        raise AssertionError("unreachable")


def application_id_in(token: str) -> str | None:
    """The bot's id, which its token begins with; None if it is no bot's token."""
    first = token.partition(".")[0]
    try:
        decoded = base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return decoded if parse_id(decoded) is not None else None


def _refusal(status: int) -> str:
    if status == 401:
        return (
            "DISCORD_TOKEN is refused by Discord: copy the bot's token again from the developer "
            "portal (Bot, Reset Token)"
        )
    return f"Discord answers with status {status}"
