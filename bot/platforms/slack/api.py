"""The Web API of one workspace: paced, retried after 429, with Slack's error codes."""

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
MAX_PAGES = 5  # of a list: Slack gives up to 200 entries a page

#: Raised where Slack can't be reached. Callers treat these like an API error.
UNREACHABLE = (aiohttp.ClientError, TimeoutError, SlackClientError)


#: Calls that add something: without their answer nobody knows whether they did.
NOT_IDEMPOTENT = frozenset({"chat.postMessage", "chat.startStream", "chat.appendStream"})
_INCONCLUSIVE = frozenset(
    {"", "internal_error", "fatal_error", "request_timeout", "service_unavailable"}
)


class ReconnectRetry(AsyncConnectionErrorRetryHandler):
    """The SDK's handler for lost connections, except for calls that would add something twice."""

    async def _can_retry_async(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        never_sent = isinstance(error, aiohttp.ClientConnectorError)
        if method_of(request.url) in NOT_IDEMPOTENT and not never_sent:
            return False
        return await super()._can_retry_async(
            state=state, request=request, response=response, error=error
        )


class PacedRateLimitRetry(AsyncRateLimitErrorRetryHandler):
    """The SDK's handler, which also makes other callers of the method wait."""

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
        if response is not None:
            self._pacer.block(method_of(request.url), retry_after(response.headers))
        await super().prepare_for_next_attempt_async(
            state=state, request=request, response=response, error=error
        )


class SlackApi:
    """Calls methods with one workspace's bot token, which is not part of the repr.

    Methods are named as Slack names them; arguments are those of `AsyncWebClient`'s method.
    """

    def __init__(
        self, token: str, base_url: str, session: aiohttp.ClientSession, pacer: Pacer | None = None
    ) -> None:
        self._pacer = pacer or Pacer()
        self._token = token
        self._retrying_client = self._client(
            base_url, session, ReconnectRetry(), PacedRateLimitRetry(self._pacer)
        )
        self._single_try_client = self._client(base_url, session)
        self.session = session

    @property
    def token(self) -> str:
        """For downloads; never log it."""
        return self._token

    async def call(self, method: str, *, channel: str = "", **args: Any) -> AsyncSlackResponse:
        """Make a required call: it waits for its turn, and for as long as Slack asks.

        Raises:
            SlackApiError: Slack refused it.
            aiohttp.ClientError, TimeoutError: Slack can't be reached.
        """
        await self._pacer.acquire(method, channel)
        return await _invoke(self._retrying_client, method, channel, args)

    async def pages(
        self, method: str, *, channel: str = "", **args: Any
    ) -> AsyncIterator[AsyncSlackResponse]:
        """The first pages of a list, each a `call` of its own. Raises as `call`."""
        cursor: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            page = await self.call(method, channel=channel, **args, **cursor)
            yield page
            next_cursor = (page.get("response_metadata") or {}).get("next_cursor")
            if not next_cursor:
                return
            cursor = {"cursor": str(next_cursor)}

    async def try_call(
        self, method: str, *, channel: str = "", **args: Any
    ) -> AsyncSlackResponse | None:
        """Make an optional call; None if the rate limit has no room for it now.

        Raises:
            SlackApiError: Slack refused it for a reason other than its rate.
            aiohttp.ClientError, TimeoutError: Slack can't be reached.
        """
        if not self._pacer.try_acquire(method, channel):
            return None
        try:
            return await _invoke(self._single_try_client, method, channel, args)
        except SlackApiError as error:
            if error_code(error) != "ratelimited":
                raise
            self._pacer.block(method, retry_after(getattr(error.response, "headers", {})))
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
    """The HTTP session for the calls of all workspaces."""
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
    return aiohttp.ClientSession(timeout=timeout, trust_env=True)


def error_code(error: BaseException) -> str:
    """Slack's code for what went wrong ("not_in_channel"); "" if there is none."""
    if not isinstance(error, SlackApiError):
        return ""
    response = error.response
    if getattr(response, "status_code", 200) == 429:
        return "ratelimited"
    data = getattr(response, "data", response)
    return str(data.get("error", "")) if isinstance(data, dict) else ""


def error_name(error: BaseException) -> str:
    """What went wrong, for the log: Slack's code, else the exception's type."""
    return error_code(error) or type(error).__name__


def may_have_succeeded(error: BaseException) -> bool:
    """Whether a call that failed may have had its effect: Slack's answer was lost."""
    return not isinstance(error, SlackApiError) or error_code(error) in _INCONCLUSIVE


def method_of(url: str) -> str:
    """The method that a Web API URL ends in."""
    return urlsplit(url).path.rpartition("/")[2]


def retry_after(headers: Any) -> float:
    """The seconds to wait from a 429's headers; 1 if they name none."""
    for name, value in dict(headers).items():
        if str(name).lower() == "retry-after":
            text = value[0] if isinstance(value, list) else value
            try:
                return max(0.0, float(text))
            except ValueError:
                break
    return 1.0
