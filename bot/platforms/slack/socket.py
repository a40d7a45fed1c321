"""Socket Mode: several sockets, renewed when Slack asks, reconnected after any outage."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from bot.platforms.base import PlatformError
from bot.platforms.slack import texts
from bot.platforms.slack.api import UNREACHABLE, error_code, error_name, retry_after

logger = logging.getLogger(__name__)

Respond = Callable[[AsyncBaseSocketModeClient, SocketModeRequest], Awaitable[None]]

MAX_BACKOFF_S = 30.0
PING_S = 5.0
CHECK_S = 5.0
STALE_AFTER_S = 30.0  # without a connection: then the socket gets a new URL

#: The token is wrong: trying again is no use.
REJECTED = frozenset(
    {
        "invalid_auth",
        "not_authed",
        "account_inactive",
        "token_revoked",
        "token_expired",
        "not_allowed_token_type",
        "missing_scope",
        "no_permission",
        "forbidden_app",
    }
)


class Socket(SocketModeClient):
    """The SDK's client, which retries getting a URL and reports a rejected token."""

    def __init__(
        self, app_token: str, web_client: AsyncWebClient, rejected: asyncio.Future[None]
    ) -> None:
        super().__init__(
            app_token, logger=sdk_logger(), web_client=web_client, ping_interval=PING_S
        )
        self._rejected = rejected

    async def issue_new_wss_url(self) -> str:
        """Ask until Slack gives one; wait forever if the token is rejected, which is reported."""
        wait = 1.0
        while not self.closed:
            try:
                answer = await self.web_client.apps_connections_open(app_token=self.app_token)
                return str(answer["url"])
            except SlackApiError as error:
                code = error_code(error)
                if code in REJECTED:
                    self._report_rejection(code)
                    await asyncio.Event().wait()  # until it is closed
                pause = retry_after(error.response.headers) if code == "ratelimited" else wait
            except UNREACHABLE as error:
                code, pause = error_name(error), wait
            logger.warning("Slack gives no socket (%s); trying again in %.0f s", code, pause)
            await asyncio.sleep(pause + random.random())  # noqa: S311  (spreads the retries)
            wait = min(2 * wait, MAX_BACKOFF_S)
        # The SDK's loops may survive a cancellation that comes just before this.
        raise asyncio.CancelledError

    def _report_rejection(self, code: str) -> None:
        if not self._rejected.done():
            self._rejected.set_exception(PlatformError(texts.app_token_rejected(code)))


class Sockets:
    """The connections of one app. Slack sends each event to one of them."""

    def __init__(
        self,
        app_token: str,
        base_url: str,
        session: aiohttp.ClientSession,
        respond: Respond,
        count: int,
    ) -> None:
        self._rejected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        web_client = AsyncWebClient(base_url=base_url, session=session, logger=sdk_logger())
        self._clients = [Socket(app_token, web_client, self._rejected) for _ in range(count)]
        for client in self._clients:
            client.socket_mode_request_listeners.append(respond)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_connected(self) -> bool:
        """Whether at least one socket is connected."""
        return any(_is_connected(client) for client in self._clients)

    async def start(self) -> None:
        """Connect; returns once the first socket is connected.

        Raises:
            PlatformError: the app-level token is rejected.
        """
        connects = [
            asyncio.create_task(_connect(client), name=f"slack socket {number}")
            for number, client in enumerate(self._clients, 1)
        ]
        self._tasks += connects
        self._tasks += [
            asyncio.create_task(_renew(client), name="slack socket watch")
            for client in self._clients
        ]
        await asyncio.wait((*connects, self._rejected), return_when=asyncio.FIRST_COMPLETED)
        if self._rejected.done():
            self._rejected.result()
        for connect in connects:
            if connect.done():
                connect.result()

    async def watch(self) -> None:
        """Wait until the token is rejected. Raises PlatformError then."""
        await asyncio.shield(self._rejected)

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._clients:
            with contextlib.suppress(Exception):
                await client.close()  # type: ignore[no-untyped-call]
        if self._rejected.done() and not self._rejected.cancelled():
            self._rejected.exception()  # reported already, or nobody waits for it
        self._rejected.cancel()


async def _connect(client: Socket) -> None:
    client.wss_uri = await client.issue_new_wss_url()
    await client.connect()  # type: ignore[no-untyped-call]


async def _renew(client: Socket) -> None:
    """Give a disconnected socket a new URL: the SDK retries the old one, which works only once."""
    down_s = 0.0
    while True:
        await asyncio.sleep(CHECK_S)
        down_s = 0.0 if _is_connected(client) else down_s + CHECK_S
        if down_s >= STALE_AFTER_S:
            client.wss_uri, down_s = None, 0.0


def _is_connected(client: Socket) -> bool:
    session = client.current_session
    return not client.closed and session is not None and not session.closed


def sdk_logger() -> logging.Logger:
    """The SDK's logger from warnings on: below, it logs what people write."""
    log = logging.getLogger("bot.platforms.slack.sdk")
    log.setLevel(logging.WARNING)
    return log
