"""The Slack adapter: builds its parts, connects, hands events to the core, opens replies."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from functools import partial

import aiohttp
from aiohttp import web
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.oauth.installation_store.async_installation_store import AsyncInstallationStore
from slack_sdk.oauth.state_store.async_state_store import AsyncOAuthStateStore

from bot.core.ports import CoreQueries, InboundHandler, ReplySink
from bot.core.records import Turn
from bot.platforms.base import PlatformError
from bot.platforms.slack import texts
from bot.platforms.slack.api import UNREACHABLE, error_code, error_name, open_session
from bot.platforms.slack.app import build_app, socket_responder
from bot.platforms.slack.assistant import Assistant
from bot.platforms.slack.commands import Commands
from bot.platforms.slack.controls import Controls
from bot.platforms.slack.events import Events
from bot.platforms.slack.files import Files
from bot.platforms.slack.home import Home
from bot.platforms.slack.http import HttpEndpoints
from bot.platforms.slack.names import Names
from bot.platforms.slack.normalize import PLATFORM, DmRoots, Normalizer, is_dm_channel
from bot.platforms.slack.oauth import install_flow
from bot.platforms.slack.options import SlackOptions
from bot.platforms.slack.posting import Place
from bot.platforms.slack.private_questions import PrivateQuestions
from bot.platforms.slack.private_replies import PendingQuestions, is_private
from bot.platforms.slack.recovery import find_posted, may_have_started
from bot.platforms.slack.sink import SlackReply
from bot.platforms.slack.socket import MAX_BACKOFF_S, REJECTED, Sockets
from bot.platforms.slack.stream import Recipient
from bot.platforms.slack.teams import Team, Teams

logger = logging.getLogger(__name__)


class SlackAdapter:
    """`bot.platforms.base.Adapter` and `bot.core.ports.ReplyTarget` for Slack.

    `installations` and `states`: OAuth's stores, needed with `options.has_oauth`.
    """

    platform = PLATFORM

    def __init__(
        self,
        handle: InboundHandler,
        queries: CoreQueries,
        options: SlackOptions,
        *,
        installations: AsyncInstallationStore | None = None,
        states: AsyncOAuthStateStore | None = None,
    ) -> None:
        self._handle = handle
        self._queries = queries
        self._options = options
        self._installations = installations
        self._states = states
        self._endpoints = HttpEndpoints()
        self._dm_roots = DmRoots()
        self._started_at = time.time()
        self._pending_questions = PendingQuestions()
        self._replies: weakref.WeakSet[SlackReply] = weakref.WeakSet()
        self._session: aiohttp.ClientSession | None = None
        self._teams: Teams | None = None
        self._events: Events | None = None
        self._sockets: Sockets | None = None
        self._names = Names(options.admins)
        self._files = Files(options.api_url, options.extra_media_hosts, options.max_file_bytes)

    @property
    def is_connected(self) -> bool:
        if self._options.over_http:
            return self._endpoints.is_open
        return self._sockets is not None and self._sockets.is_connected

    def add_routes(self, routes: web.Application) -> None:
        """Add HTTP mode's routes to Parley's web server; none in Socket Mode."""
        if self._options.over_http:
            self._endpoints.add_routes(routes, with_oauth=self._options.has_oauth)

    async def start(self) -> None:
        """See `Adapter.start`.

        Raises:
            PlatformError: a token is rejected or a setting is missing.
        """
        self._check_options()
        options = self._options
        self._session = open_session()
        self._teams = Teams(
            self._session,
            options.api_url,
            bot_token=options.bot_token,
            installations=self._installations if options.has_oauth else None,
        )
        team = await _connect(self._teams)
        app = self._build(self._teams)
        if options.over_http:
            self._open_endpoints(app, self._teams)
        else:
            await self._open_sockets(app)
        workspace = (team.name or team.id) if team is not None else "all workspaces that install it"
        logger.info(
            "Slack: serving %s by %s", workspace, "HTTP" if options.over_http else "Socket Mode"
        )

    async def watch(self) -> None:
        if self._sockets is not None:
            await self._sockets.watch()
        await asyncio.Event().wait()

    async def pause(self) -> None:
        """Handle no new events, which Slack delivers to the next process; replies in progress go
        on."""
        self._endpoints.close()
        if self._sockets is not None:
            await self._sockets.close()
        if self._events is not None:
            await self._events.close()

    async def close(self) -> None:
        await self.pause()
        for reply in list(self._replies):
            await reply.close()
        self._names.close()
        await self._files.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def open_reply(self, turn: Turn) -> ReplySink:
        """See `bot.core.ports.ReplyTarget`.

        Raises:
            NotInstalled: Parley was removed from the workspace.
            RuntimeError: before `start`.
        """
        if self._teams is None:
            raise RuntimeError("Slack is not started")
        team = await self._teams.get(turn.key.workspace)
        if is_private(turn.key):
            return self._pending_questions.open_reply(team, turn)
        place, old = await self._place(team, turn), turn.posted
        if may_have_started(turn, self._started_at):
            old = await find_posted(team, place, turn, old)
        reply = SlackReply(
            team,
            place,
            turn,
            Recipient(team.id, turn.asker),
            old=old,
            find_posted=partial(find_posted, team, place, turn),
            timing=self._options.timing,
        )
        self._replies.add(reply)
        return reply

    async def _place(self, team: Team, turn: Turn) -> Place:
        channel, thread = turn.key.channel, turn.key.thread
        last = turn.question_id
        if not thread and is_dm_channel(channel) and last:
            thread = await self._dm_roots.find(team, channel, last)
        return Place(channel, thread)

    def _build(self, teams: Teams) -> AsyncApp:
        names, handle = self._names, self._handle
        normalizer = Normalizer(names, self._files)
        home = Home(self._queries, names)
        private = PrivateQuestions(self._pending_questions, normalizer, handle)
        commands = Commands(names, self._queries, private, handle)
        self._events = Events(
            teams,
            names,
            normalizer,
            Assistant(self._queries, names),
            home,
            self._dm_roots,
            handle,
        )
        return build_app(
            teams=teams,
            events=self._events,
            controls=Controls(teams, names, commands, private, home, handle),
            base_url=self._options.api_url,
            signing_secret=self._options.signing_secret if self._options.over_http else None,
        )

    async def _open_sockets(self, app: AsyncApp) -> None:
        options = self._options
        assert options.app_token is not None
        assert self._session is not None
        self._sockets = Sockets(
            options.app_token,
            options.api_url,
            self._session,
            socket_responder(app),
            options.sockets,
        )
        await self._sockets.start()

    def _open_endpoints(self, app: AsyncApp, teams: Teams) -> None:
        options, flow = self._options, None
        if options.has_oauth and self._installations is not None and self._states is not None:
            assert options.client_id is not None
            assert options.client_secret is not None
            assert self._session is not None
            flow = install_flow(
                client_id=options.client_id,
                client_secret=options.client_secret,
                base_url=options.api_url,
                public_url=options.public_url,
                session=self._session,
                installations=self._installations,
                states=self._states,
                on_installed=teams.forget,
            )
        self._endpoints.open(app, flow)

    def _check_options(self) -> None:
        options = self._options
        if options.over_http and options.signing_secret is None:
            raise PlatformError(texts.APP_TOKEN_MISSING)
        if options.bot_token is None and not options.has_oauth:
            raise PlatformError(texts.BOT_TOKEN_MISSING)
        if options.has_oauth and (self._installations is None or self._states is None):
            raise PlatformError(texts.ENCRYPTION_KEY_MISSING)


async def _connect(teams: Teams) -> Team | None:
    """Check the bot token; an outage is waited out."""
    wait = 1.0
    while True:
        try:
            return await teams.connect()
        except (SlackApiError, *UNREACHABLE) as error:
            if error_code(error) in REJECTED:
                raise PlatformError(texts.bot_token_rejected(error_code(error))) from None
            reason = error_name(error)
        logger.warning("no answer from Slack (%s); trying again in %.0f s", reason, wait)
        await asyncio.sleep(wait)
        wait = min(2 * wait, MAX_BACKOFF_S)
