"""The Web API of one workspace: paced, patient with 429, and told apart by error code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry.async_handler import AsyncRetryHandler
from slack_sdk.http_retry.builtin_async_handlers import (
    AsyncConnectionErrorRetryHandler,
    AsyncRateLimitErrorRetryHandler,
)
from slack_sdk.http_retry.request import HttpRequest
from slack_sdk.http_retry.response import HttpResponse
from slack_sdk.http_retry.state import RetryState
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bot.platforms.slack.pacer import Pacer

logger = logging.getLogger(__name__)

RATE_LIMIT_RETRIES = 8
CALL_TIMEOUT_S = 30
PAGES_AT_MOST = 5  # of a list: Slack gives up to 200 entries a page

#: What goes wrong when Slack or the way to it is down: callers treat these like an API error.
DOWN = (aiohttp.ClientError, TimeoutError, SlackClientError)


#: Calls that add something: where their answer is lost, nobody knows whether they did.
ADDING = frozenset({"chat.postMessage", "chat.startStream", "chat.appendStream"})
_UNSAID = frozenset({"", "internal_error", "fatal_error", "request_timeout", "service_unavailable"})


class ReconnectRetry(AsyncConnectionErrorRetryHandler):
    """The SDK's handler for lost connections; what would be there twice is not called twice."""

    async def _can_retry_async(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        unreached = isinstance(error, aiohttp.ClientConnectorError)
        if method_of(request.url) in ADDING and not unreached:
            return False
        return await super()._can_retry_async(
            state=state, request=request, response=response, error=error
        )


class PacedRateLimitRetry(AsyncRateLimitErrorRetryHandler):
    """The SDK's handler, which also lets the other callers of the method wait."""

    def __init__(self, pacer: Pacer) -> None:
        super().__init__(max_retry_count=RATE_LIMIT_RETRIES)
        self._pacer = pacer

    async def prepare_for_next_attempt_async(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> None:
        """Wait as long as Slack says."""
        if response is not None:
            self._pacer.hold(method_of(request.url), retry_after(response.headers))
        await super().prepare_for_next_attempt_async(
            state=state, request=request, response=response, error=error
        )


class SlackApi:
    """The methods of one workspace's bot token.

    Methods are named as Slack names them; arguments are those of `AsyncWebClient`'s method. The
    token is never part of its repr.
    """

    def __init__(
        self, token: str, base_url: str, session: aiohttp.ClientSession, pacer: Pacer | None = None
    ) -> None:
        self._pacer = pacer or Pacer()
        self._token = token
        self._patient = self._client(
            base_url, session, ReconnectRetry(), PacedRateLimitRetry(self._pacer)
        )
        self._hasty = self._client(base_url, session)
        self.session = session

    @property
    def token(self) -> str:
        """The bot token; for downloads, never for logs."""
        return self._token

    async def call(self, method: str, *, channel: str = "", **args: Any) -> AsyncSlackResponse:
        """Make a call that has to be made: waits for its turn, and as long as Slack asks.

        Raises:
            SlackApiError: Slack refused it.
            aiohttp.ClientError, TimeoutError: Slack is not there.
        """
        await self._pacer.turn(method, channel)
        return await _invoke(self._patient, method, channel, args)

    async def pages(
        self, method: str, *, channel: str = "", **args: Any
    ) -> AsyncIterator[AsyncSlackResponse]:
        """The first pages of a list, each a `call` of its own. Raises as `call`."""
        cursor: dict[str, str] = {}
        for _ in range(PAGES_AT_MOST):
            page = await self.call(method, channel=channel, **args, **cursor)
            yield page
            following = (page.get("response_metadata") or {}).get("next_cursor")
            if not following:
                return
            cursor = {"cursor": str(following)}

    async def attempt(
        self, method: str, *, channel: str = "", **args: Any
    ) -> AsyncSlackResponse | None:
        """Make a call that can be left out: None where there is no room for it now.

        Raises:
            SlackApiError: Slack refused it for another reason than its rate.
            aiohttp.ClientError, TimeoutError: Slack is not there.
        """
        if not self._pacer.try_turn(method, channel):
            return None
        try:
            return await _invoke(self._hasty, method, channel, args)
        except SlackApiError as error:
            if error_code(error) != "ratelimited":
                raise
            self._pacer.hold(method, retry_after(getattr(error.response, "headers", {})))
            return None

    def _client(
        self, base_url: str, session: aiohttp.ClientSession, *retries: AsyncRetryHandler
    ) -> AsyncWebClient:
        return AsyncWebClient(
            token=self._token,
            base_url=base_url,
            session=session,
            timeout=CALL_TIMEOUT_S,
            retry_handlers=list(retries),
        )


async def _invoke(
    client: AsyncWebClient, method: str, channel: str, args: dict[str, Any]
) -> AsyncSlackResponse:
    call = getattr(client, method.replace(".", "_"))
    if channel:
        args["channel"] = channel
    async with asyncio.timeout(CALL_TIMEOUT_S * (RATE_LIMIT_RETRIES + 1)):
        response: AsyncSlackResponse = await call(**args)
    return response


def open_session() -> aiohttp.ClientSession:
    """The HTTP session that all workspaces' calls share."""
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
    return aiohttp.ClientSession(timeout=timeout, trust_env=True)


def error_code(error: BaseException) -> str:
    """Slack's word for what went wrong ("not_in_channel"); "" where there is none."""
    if not isinstance(error, SlackApiError):
        return ""
    response = error.response
    if getattr(response, "status_code", 200) == 429:
        return "ratelimited"
    data = getattr(response, "data", response)
    return str(data.get("error", "")) if isinstance(data, dict) else ""


def is_unsaid(error: BaseException) -> bool:
    """Whether a call may have been done although it failed: Slack's answer was lost."""
    return not isinstance(error, SlackApiError) or error_code(error) in _UNSAID


def method_of(url: str) -> str:
    """The method in a Web API URL."""
    return urlsplit(url).path.rpartition("/")[2]


def retry_after(headers: Any) -> float:
    """Seconds to wait, as a 429's headers say; 1 where they don't."""
    for name, value in dict(headers).items():
        if str(name).lower() == "retry-after":
            text = value[0] if isinstance(value, list) else value
            try:
                return max(0.0, float(text))
            except ValueError:
                break
    return 1.0
