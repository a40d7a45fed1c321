"""Discord's adapter: connects, hands events to the core, and opens the core's replies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aiohttp
import discord

from bot.core.events import MessageDeleted
from bot.core.ports import CommandReply, CoreQueries, InboundHandler, ReplySink
from bot.core.records import Turn
from bot.media.download import DISCORD_HOSTS, ExtraHost, HostPolicy, open_session
from bot.platforms.base import PlatformError
from bot.platforms.discord import keys, layout, texts
from bot.platforms.discord.catchup import CatchUp
from bot.platforms.discord.client import Client, ShardedClient, make_client, use_endpoints
from bot.platforms.discord.controls import control_buttons
from bot.platforms.discord.files import Files
from bot.platforms.discord.history import History
from bot.platforms.discord.interaction_handler import InteractionHandler
from bot.platforms.discord.interaction_outlet import InteractionOutlet, editable_posts
from bot.platforms.discord.layout import Controls
from bot.platforms.discord.locales import Translations
from bot.platforms.discord.outlets import ChannelOutlet, MakeButtons
from bot.platforms.discord.pacer import Pacer
from bot.platforms.discord.pending_interactions import (
    Clock,
    PendingInteraction,
    PendingInteractions,
    is_from_interaction,
)
from bot.platforms.discord.ports import InteractionStore
from bot.platforms.discord.reader import Reader
from bot.platforms.discord.reply_places import ReplyPlaces
from bot.platforms.discord.rest import Rest, RestError
from bot.platforms.discord.sink import DiscordReply, ReplyLocation
from bot.platforms.discord.slash import add_commands
from bot.platforms.discord.sync import sync_commands

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
RETRY_S = (2.0, 5.0, 15.0, 30.0, 60.0)
_FATAL = {
    4004: texts.TOKEN_REJECTED_LINE,
    4010: texts.SHARDS_REJECTED,
    4012: texts.GATEWAY_VERSION,
    4013: texts.UNKNOWN_INTENT,
}
_SHARDING_REQUIRED = 4011


@dataclass(frozen=True, slots=True)
class DiscordOptions:
    """How to reach Discord. Times in seconds, sizes in bytes.

    `gateway_url`: "" asks the API. `shards`: 0 runs as many as Discord recommends.
    """

    token: str = field(repr=False)
    api_url: str = "https://discord.com/api/v10"
    gateway_url: str = ""
    shards: int = 0
    catch_up_s: float = 15 * 60
    max_file_bytes: int = 20 * MIB
    extra_hosts: tuple[ExtraHost, ...] = ()
    servers_within_s: float = 2.0  # all servers are in when none came for this long


class DiscordAdapter:
    """`bot.platforms.base.Adapter` for Discord."""

    platform = keys.PLATFORM

    def __init__(
        self,
        handle: InboundHandler,
        queries: CoreQueries,
        options: DiscordOptions,
        interactions: InteractionStore | None = None,
        *,
        clock: Clock = discord.utils.utcnow,
    ) -> None:
        """`interactions`: keeps those that wait for an answer across a restart. `clock`: decides
        when they expire, and which messages are recent."""
        self._handle = handle
        self._queries = queries
        self._options = options
        self._pacer = Pacer()
        self._clock = clock
        self._pending = PendingInteractions(interactions, clock)
        self._session: aiohttp.ClientSession | None = None
        self._client: Client | None = None
        self._has_content_intent = True
        self._connected = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lost_at: datetime | None = datetime.now(UTC) - timedelta(seconds=options.catch_up_s)

    # --- life

    @property
    def is_connected(self) -> bool:
        return self._connected.is_set()

    async def start(self) -> None:
        """Connect to the gateway; wait out an outage.

        Raises:
            PlatformError: Discord rejects the token or another setting.
        """
        self._running = asyncio.create_task(self._run(), name="discord")
        ready = asyncio.create_task(self._connected.wait(), name="discord ready")
        try:
            await asyncio.wait((self._running, ready), return_when=asyncio.FIRST_COMPLETED)
            if self._running.done():
                self._running.result()
        finally:
            ready.cancel()

    async def watch(self) -> None:
        if self._running is not None:
            await asyncio.shield(self._running)

    async def close(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError, PlatformError):
                await running
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pacer.close()
        if self._session is not None:
            await self._session.close()

    async def _run(self) -> None:
        """Connect, and reconnect after every failure that another try may fix."""
        failures = 0
        while True:
            try:
                shards = await self._prepare()
                await self._serve(
                    make_client(
                        self,
                        content=self._has_content_intent,
                        shards=shards,
                        guild_ready_timeout=self._options.servers_within_s,
                    )
                )
                reason = "it was closed"
            except discord.PrivilegedIntentsRequired:
                if not self._has_content_intent:
                    raise PlatformError(_FATAL[4013]) from None
                self._has_content_intent = False
                logger.warning(texts.NO_CONTENT_INTENT)
                continue
            except discord.ConnectionClosed as error:
                if error.code in _FATAL:
                    raise PlatformError(_FATAL[error.code]) from None
                if error.code == _SHARDING_REQUIRED and self._options.shards:
                    raise PlatformError(texts.SHARDS_TOO_FEW) from None
                reason = f"close code {error.code}"
            except discord.LoginFailure:
                raise PlatformError(_FATAL[4004]) from None
            except RestError as error:
                if error.status in (401, 403):
                    raise PlatformError(str(error)) from None
                reason = str(error)
            except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
                reason = type(error).__name__
            pause = RETRY_S[min(failures, len(RETRY_S) - 1)]
            failures += 1
            logger.warning("no connection to Discord (%s): trying again in %.0f s", reason, pause)
            await asyncio.sleep(pause)

    async def _prepare(self) -> int:
        """Look up the gateway's address. Returns how many shards to run."""
        options = self._options
        async with Rest(options.api_url, options.token) as rest:
            gateway = await rest.get("/gateway/bot")
        use_endpoints(options.api_url, options.gateway_url or str(gateway["url"]))
        limits = gateway.get("session_start_limit") or {}
        if limits.get("remaining") == 0:
            # After one more session start Discord resets the token.
            wait_s = float(limits.get("reset_after", 0)) / 1000
            logger.error("Discord allows no more sessions today: waiting %.0f s", wait_s)
            await asyncio.sleep(wait_s)
        return options.shards or int(gateway.get("shards") or 1)

    async def _serve(self, client: Client) -> None:
        try:
            async with client:
                await client.start(self._options.token)
        finally:
            self._connected.clear()

    # --- client.GatewayEvents

    async def set_up(self, client: Client) -> None:
        """Build what works on a client that is logged in, and register the commands."""
        policy = HostPolicy(DISCORD_HOSTS, self._options.extra_hosts)
        if self._session is None:
            self._session = open_session(policy)
        files = Files(self._session, policy, max_bytes=self._options.max_file_bytes)
        self._client = client
        await self._pending.attach(client)
        self._reader = Reader(client, files)
        self._history = History(self._reader)
        self._reply_places = ReplyPlaces(client)
        client.interactions = InteractionHandler(
            self._handle,
            self._queries,
            self._reader,
            self._history,
            files,
            self._pending,
            self._lacks_content_intent,
        )
        self._catch_up = CatchUp(
            client, self._queries, self._reply_places, self._reader, self.message
        )
        await client.tree.set_translator(Translations())
        add_commands(client.tree, client.interactions)
        try:
            await sync_commands(client, client.tree)
        except discord.DiscordException as error:
            # Messages are answered nevertheless.
            logger.error("the commands could not be registered: %s", error)

    async def connected(self) -> None:
        """Read what was missed before this session, if another or an earlier run came before."""
        self._connected.set()
        client = self._client
        logger.info(
            "connected to Discord as %s, in %d servers",
            client.user if client else "?",
            len(client.guilds) if client else 0,
        )
        lost, self._lost_at = self._lost_at, None
        window = timedelta(seconds=self._options.catch_up_s)
        if lost is not None and window:
            self._spawn(self._catch_up.run(max(lost, datetime.now(UTC) - window)), "catch up")

    def disconnected(self) -> None:
        self._lost_at = self._lost_at or datetime.now(UTC)

    def resumed(self) -> None:
        """Discord resends what was missed."""
        if not isinstance(self._client, ShardedClient):  # another shard may still be disconnected
            self._lost_at = None

    async def message(self, message: discord.Message) -> None:
        if not self._reader.is_user_message(message):
            return
        await self._resolve_channel(message)
        earlier, foot = self._history.earlier(message)
        reply = await self._handle(self._reader.received(message, earlier, foot))
        if reply is not None:
            await self._answer(message, reply)

    async def edited(self, payload: discord.RawMessageUpdateEvent) -> None:
        """Only changes of the text matter; Discord also reports unfurled links and the like."""
        message = payload.message
        if "content" not in payload.data or not self._reader.is_user_message(message):
            return
        if not message.content and not message.attachments and not self._sees_content(message):
            return  # without the intent its content is hidden, not empty
        await self._resolve_channel(message)
        as_new = self._reader.received(message, *self._history.earlier(message))
        reply = await self._handle(self._reader.edited(message, as_new, self._clock()))
        if reply is not None:
            await self._answer(message, reply)

    async def deleted(self, guild_id: int | None, channel_id: int, message_ids: set[int]) -> None:
        channel = await self._reply_places.channel(channel_id) or discord.Object(channel_id)
        key = keys.key_of(channel, guild_id)
        for message_id in message_ids:
            await self._handle(MessageDeleted(key, str(message_id)))

    # --- ReplyTarget

    async def open_reply(self, turn: Turn) -> ReplySink:
        """A new reply is located at once, since without a place nothing needs to be generated. One
        that is posted already may be opened only to be taken back.

        Raises:
            NoReplyPlace, discord.HTTPException: there is nowhere to answer.
        """
        reply = DiscordReply(partial(self._locate, turn), turn.posted, self._pacer, self._clock)
        if not turn.posted:
            await reply.open()
        return reply

    async def _locate(self, turn: Turn, posted: tuple[str, ...], create: bool) -> ReplyLocation:
        """See sink.Locate. Raises NoReplyPlace, discord.HTTPException."""
        turn = replace(turn, posted=posted)
        pending = self._pending.of(turn)
        make_buttons: MakeButtons = partial(control_buttons, turn_id=turn.id)
        if pending is not None and pending.alive:
            outlet = InteractionOutlet(pending, turn, make_buttons)
            return ReplyLocation(outlet, editable_posts(pending, turn))
        if is_from_interaction(turn):
            return await self._locate_after_expiry(turn, pending, make_buttons)
        place = await self._reply_places.find(turn, create=create)
        channel_outlet = ChannelOutlet(place.channel, turn, make_buttons, reply_to=place.reply_to)
        posts = tuple(keys.posted_in(turn.posted, place.channel.id))
        return ReplyLocation(channel_outlet, posts, place.note)

    async def _locate_after_expiry(
        self, turn: Turn, pending: PendingInteraction | None, make_buttons: MakeButtons
    ) -> ReplyLocation:
        """See ReplyPlaces.after_expiry. An interaction that is not stored any more may have been
        private."""
        private = pending is None or pending.saved.private
        channel_id = pending.saved.channel if pending is not None else 0
        place = await self._reply_places.after_expiry(turn, channel_id, private=private)
        if keys.key_of(place.channel).channel_key != turn.key.channel_key:
            make_buttons = _no_buttons  # the core accepts them only where the conversation is
        posts = tuple(keys.posted_in(turn.posted, place.channel.id))
        # A reply that began in this place needs no explanation there.
        note = None if posts else place.note
        return ReplyLocation(ChannelOutlet(place.channel, turn, make_buttons), posts, note)

    # --- helpers

    def _lacks_content_intent(self) -> bool:
        return not self._has_content_intent

    def _sees_content(self, message: discord.Message) -> bool:
        return self._has_content_intent or keys.is_private(message.channel)

    async def _resolve_channel(self, message: discord.Message) -> None:
        """Fetch a channel that discord.py has not cached (an archived thread, for example): its
        key needs the thread's parent."""
        if isinstance(message.channel, discord.PartialMessageable):
            channel = await self._reply_places.channel(message.channel.id)
            if channel is not None:
                message.channel = channel

    async def _answer(self, message: discord.Message, reply: CommandReply) -> None:
        """Reply to a message at once, for example to a typed command. It can't be private."""
        try:
            for text in layout.command_answer(reply.text):
                await message.reply(
                    text, mention_author=False, allowed_mentions=discord.AllowedMentions.none()
                )
        except discord.HTTPException as error:
            logger.warning(
                "a message in channel %s could not be answered: %s",
                message.channel.id,
                error.status,
            )

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        task = asyncio.create_task(work, name=f"discord {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _no_buttons(_: Controls) -> None:
    return None
