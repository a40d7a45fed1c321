"""A few requests to Discord's API without a running client: to start, for doctor and invite."""

from __future__ import annotations

import asyncio
import base64
import binascii
from types import TracebackType
from typing import Any, Self

import aiohttp

from bot.platforms.base import PlatformError
from bot.platforms.discord import texts
from bot.platforms.shared.ids import parse_id

TIMEOUT_S = 15.0
USER_AGENT = "DiscordBot (parley, 1)"


class RestError(PlatformError):
    """A request failed; the text is one line for the operator.

    `status` is the HTTP status, 0 if there was no answer.
    """

    def __init__(self, problem: str, fix: str, status: int = 0) -> None:
        super().__init__(f"{problem}: {fix}")
        self.problem = problem
        self.fix = fix
        self.status = status


class Rest:
    """A client of Discord's API. `async with Rest(url, token) as rest: ...`"""

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
        """The JSON of a GET; waits once for a rate limit.

        Raises:
            RestError: Discord did not answer with status 200.
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
                        raise _status_error(response.status)
                    return await response.json(content_type=None)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                problem = texts.no_answer(type(error).__name__)
                raise RestError(problem, texts.NO_ANSWER_FIX) from error
        raise AssertionError("unreachable")


def application_id_in(token: str) -> str | None:
    """The bot's id, with which its token begins; None if it is not a bot's token."""
    first = token.partition(".")[0]
    try:
        decoded = base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return decoded if parse_id(decoded) is not None else None


def _status_error(status: int) -> RestError:
    if status == 401:
        return RestError(texts.TOKEN_REJECTED, texts.TOKEN_FIX, status)
    return RestError(texts.bad_status(status), texts.TRY_LATER, status)
