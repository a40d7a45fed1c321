"""Socket Mode: several sockets, each renewed when Slack asks for it, none given up in an outage."""

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
from bot.platforms.slack.api import DOWN, error_code, retry_after

logger = logging.getLogger(__name__)

Respond = Callable[[AsyncBaseSocketModeClient, SocketModeRequest], Awaitable[None]]

BACKOFF_AT_MOST_S = 30.0
PING_S = 5.0
CHECK_S = 5.0
STALE_AFTER_S = 30.0  # without a connection for so long, the socket's URL is taken as used up

#: The token will not get better by itself.
REFUSED = frozenset(
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
    """The SDK's client, which asks for its URL patiently and tells when asking is no use."""

    def __init__(
        self, app_token: str, web_client: AsyncWebClient, refused: asyncio.Future[None]
    ) -> None:
        super().__init__(
            app_token, logger=sdk_logger(), web_client=web_client, ping_interval=PING_S
        )
        self._refused = refused

    async def issue_new_wss_url(self) -> str:
        """Ask until Slack hands one out; for ever where the token is refused, which is told."""
        wait = 1.0
        while not self.closed:
            try:
                answer = await self.web_client.apps_connections_open(app_token=self.app_token)
                return str(answer["url"])
            except SlackApiError as error:
                code = error_code(error)
                if code in REFUSED:
                    self._refuse(code)
                    await asyncio.Event().wait()  # until it is closed
                pause = retry_after(error.response.headers) if code == "ratelimited" else wait
            except DOWN as error:
                code, pause = type(error).__name__, wait
            logger.warning("Slack hands out no socket (%s); again in %.0f s", code, pause)
            await asyncio.sleep(pause + random.random())  # noqa: S311  (spreads the retries)
            wait = min(2 * wait, BACKOFF_AT_MOST_S)
        # The SDK's loops may survive being cancelled once, when they are about to come here.
        raise asyncio.CancelledError

    def _refuse(self, code: str) -> None:
        if not self._refused.done():
            self._refused.set_exception(
                PlatformError(
                    f"SLACK_APP_TOKEN: Slack refuses it ({code}): make an app-level token (xapp-…) "
                    "with the scope connections:write, and turn Socket Mode on"
                )
            )


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
        self._refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        web_client = AsyncWebClient(base_url=base_url, session=session, logger=sdk_logger())
        self._clients = [Socket(app_token, web_client, self._refused) for _ in range(count)]
        for client in self._clients:
            client.socket_mode_request_listeners.append(respond)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_connected(self) -> bool:
        """Whether at least one socket stands."""
        return any(_stands(client) for client in self._clients)

    async def start(self) -> None:
        """Connect; returns once the first socket stands.

        Raises:
            PlatformError: the app-level token is refused.
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
        await asyncio.wait((*connects, self._refused), return_when=asyncio.FIRST_COMPLETED)
        if self._refused.done():
            self._refused.result()
        for connect in connects:
            if connect.done():
                connect.result()

    async def watch(self) -> None:
        """Wait until the token is refused. Raises PlatformError then."""
        await asyncio.shield(self._refused)

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._clients:
            with contextlib.suppress(Exception):
                await client.close()  # type: ignore[no-untyped-call]
        if self._refused.done() and not self._refused.cancelled():
            self._refused.exception()  # it has been told, or nobody waits for it any more
        self._refused.cancel()


async def _connect(client: Socket) -> None:
    client.wss_uri = await client.issue_new_wss_url()
    await client.connect()  # type: ignore[no-untyped-call]


async def _renew(client: Socket) -> None:
    """The SDK tries one URL again and again, though Slack lets each be used once only."""
    down_s = 0.0
    while True:
        await asyncio.sleep(CHECK_S)
        down_s = 0.0 if _stands(client) else down_s + CHECK_S
        if down_s >= STALE_AFTER_S:
            client.wss_uri, down_s = None, 0.0


def _stands(client: Socket) -> bool:
    session = client.current_session
    return not client.closed and session is not None and not session.closed


def sdk_logger() -> logging.Logger:
    """The SDK's log without its chatter: below warnings it quotes what people write."""
    log = logging.getLogger("bot.platforms.slack.sdk")
    log.setLevel(logging.WARNING)
    return log
