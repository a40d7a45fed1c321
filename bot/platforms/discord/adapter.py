"""Discord as a whole: connects, takes events in, and is where the core answers."""

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
from bot.platforms.discord import keys, layout
from bot.platforms.discord.catchup import CatchUp
from bot.platforms.discord.client import Client, ShardedClient, make_client, point_at
from bot.platforms.discord.confirm import What
from bot.platforms.discord.controls import Action, buttons
from bot.platforms.discord.files import Files
from bot.platforms.discord.history import History
from bot.platforms.discord.interactions import InteractionOutlet, posts_of
from bot.platforms.discord.locales import Translations
from bot.platforms.discord.outlets import Buttons, ChannelOutlet
from bot.platforms.discord.pacer import Pacer
from bot.platforms.discord.pending_interactions import Asks, Interaction, Now, is_asked
from bot.platforms.discord.ports import AskStore
from bot.platforms.discord.reader import Reader
from bot.platforms.discord.reply_places import Places
from bot.platforms.discord.requests import Requests
from bot.platforms.discord.rest import Rest, RestError
from bot.platforms.discord.sink import DiscordReply, Opened
from bot.platforms.discord.slash import add_commands
from bot.platforms.discord.sync import sync_commands

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
RETRY_S = (2.0, 5.0, 15.0, 30.0, 60.0)
_FATAL = {
    4004: "DISCORD_TOKEN is refused by Discord: copy the bot's token again from the developer "
    "portal (Bot, Reset Token)",
    4010: "PARLEY_DISCORD_SHARDS is refused by Discord: leave it unset",
    4012: "this version of discord.py speaks a gateway version that is no more: update Parley",
    4013: "Discord knows an intent that Parley asks for no more: update Parley",
}
_SHARDING_REQUIRED = 4011
NO_CONTENT_LOG = (
    "the Message Content intent is off: I see messages that mention me, replies to me, DMs, "
    "commands and menus only, not follow-ups in threads; switch it on in the developer portal "
    "(Bot, Privileged Gateway Intents)"
)


@dataclass(frozen=True, slots=True)
class DiscordOptions:
    """How to reach Discord. Times in seconds, sizes in bytes.

    `gateway_url`: "" takes what the API answers. `shards`: 0 takes what Discord recommends.
    """

    token: str = field(repr=False)
    api_url: str = "https://discord.com/api/v10"
    gateway_url: str = ""
    shards: int = 0
    catch_up_s: float = 15 * 60
    max_file_bytes: int = 20 * MIB
    extra_hosts: tuple[ExtraHost, ...] = ()
    servers_within_s: float = 2.0  # no further server within this time: all of them are known


class DiscordAdapter:
    """`bot.platforms.base.Adapter` for Discord."""

    platform = keys.PLATFORM

    def __init__(
        self,
        handle: InboundHandler,
        queries: CoreQueries,
        options: DiscordOptions,
        asks: AskStore | None = None,
        *,
        now: Now = discord.utils.utcnow,
    ) -> None:
        """`asks`: keeps the interactions that wait for an answer across a restart. `now`: the
        clock by which they expire, and by which a message is recent."""
        self._handle = handle
        self._queries = queries
        self._options = options
        self._pacer = Pacer()
        self._now = now
        self._asks = Asks(asks, now)
        self._session: aiohttp.ClientSession | None = None
        self._client: Client | None = None
        self._content = True
        self._connected = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lost_at: datetime | None = datetime.now(UTC) - timedelta(seconds=options.catch_up_s)

    # --- life

    @property
    def is_connected(self) -> bool:
        """Whether events reach it now."""
        return self._connected.is_set()

    async def start(self) -> None:
        """Connect to the gateway; an outage of Discord's is waited out.

        Raises:
            PlatformError: the token is refused, or the like.
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
        """Wait until it fails for good. Raises PlatformError then."""
        if self._running is not None:
            await asyncio.shield(self._running)

    async def close(self) -> None:
        """Disconnect. Idempotent."""
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
        """Connect, and again after whatever can be mended by that."""
        failures = 0
        while True:
            try:
                shards = await self._prepare()
                await self._serve(
                    make_client(
                        self,
                        content=self._content,
                        shards=shards,
                        guild_ready_timeout=self._options.servers_within_s,
                    )
                )
                reason = "it was closed"
            except discord.PrivilegedIntentsRequired:
                if not self._content:
                    raise PlatformError(_FATAL[4013]) from None
                self._content = False
                logger.warning(NO_CONTENT_LOG)
                continue
            except discord.ConnectionClosed as error:
                if error.code in _FATAL:
                    raise PlatformError(_FATAL[error.code]) from None
                if error.code == _SHARDING_REQUIRED and self._options.shards:
                    raise PlatformError(
                        "PARLEY_DISCORD_SHARDS is too few for Discord: leave it unset"
                    ) from None
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
            logger.warning("no connection to Discord (%s): again in %.0f s", reason, pause)
            await asyncio.sleep(pause)

    async def _prepare(self) -> int:
        """Ask where the gateway is; how many shards to run."""
        options = self._options
        async with Rest(options.api_url, options.token) as rest:
            gateway = await rest.get("/gateway/bot")
        point_at(options.api_url, options.gateway_url or str(gateway["url"]))
        limits = gateway.get("session_start_limit") or {}
        if limits.get("remaining") == 0:
            # One more, and Discord resets the token.
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

    # --- client.Events

    async def set_up(self, client: Client) -> None:
        """Put the parts around a client that is logged in, and register the commands."""
        policy = HostPolicy(DISCORD_HOSTS, self._options.extra_hosts)
        if self._session is None:
            self._session = open_session(policy)
        files = Files(self._session, policy, max_bytes=self._options.max_file_bytes)
        self._client = client
        await self._asks.attach(client)
        self._reader = Reader(client, files)
        self._history = History(self._reader)
        self._places = Places(client)
        self._requests = Requests(
            self._handle,
            self._queries,
            self._reader,
            self._history,
            files,
            self._asks,
            self._without_content,
        )
        self._catch_up = CatchUp(client, self._queries, self._places, self._reader, self.message)
        await client.tree.set_translator(Translations())
        add_commands(client.tree, self._requests)
        try:
            await sync_commands(client, client.tree)
        except discord.DiscordException as error:
            # Messages are answered all the same.
            logger.error("the commands could not be registered: %s", error)

    async def connected(self) -> None:
        """A new session: read what was missed, if it follows on another or the last run."""
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
        """Note since when nothing is heard."""
        self._lost_at = self._lost_at or datetime.now(UTC)

    def resumed(self) -> None:
        """Discord sends what was missed itself."""
        if not isinstance(self._client, ShardedClient):  # there another shard may still be away
            self._lost_at = None

    async def message(self, message: discord.Message) -> None:
        """Somebody wrote: hand it to the core, and give its answer if it has one at once."""
        if not self._reader.is_written(message):
            return
        await self._know_channel(message)
        earlier, foot = self._history.before(message)
        reply = await self._handle(self._reader.received(message, earlier, foot))
        if reply is not None:
            await self._answer(message, reply)

    async def edited(self, payload: discord.RawMessageUpdateEvent) -> None:
        """A message was changed; unfurled links and the like change no text."""
        message = payload.message
        if "content" not in payload.data or not self._reader.is_written(message):
            return
        if not message.content and not message.attachments and not self._sees(message):
            return  # without the intent it only seems empty
        await self._know_channel(message)
        as_new = self._reader.received(message, *self._history.before(message))
        reply = await self._handle(self._reader.edited(message, as_new, self._now()))
        if reply is not None:
            await self._answer(message, reply)

    async def deleted(self, guild_id: int | None, channel_id: int, messages: set[int]) -> None:
        """Messages are gone."""
        channel = await self._places.channel(channel_id) or discord.Object(channel_id)
        key = keys.key_of(channel, guild_id)
        for message_id in messages:
            await self._handle(MessageDeleted(key, str(message_id)))

    async def pressed(self, interaction: Interaction, action: Action, turn_id: int) -> None:
        """A button under a reply was pressed."""
        await self._requests.pressed(interaction, action, turn_id)

    async def confirmed(self, interaction: Interaction, what: What) -> None:
        """Somebody answered whether this shall be deleted."""
        await self._requests.confirmed(interaction, what)

    async def failed(self, interaction: Interaction, error: Exception) -> None:
        """An interaction went wrong."""
        await self._requests.failed(interaction, error)

    # --- ReplyTarget

    async def open_reply(self, turn: Turn) -> ReplySink:
        """Begin a reply. A new one's place is found at once: where there is none, nothing needs to
        be generated. One that stands somewhere may be opened only to be taken back.

        Raises:
            NoPlace, discord.HTTPException: there is nowhere to answer.
        """
        reply = DiscordReply(partial(self._find, turn), turn.posted, self._pacer, self._now)
        if not turn.posted:
            await reply.open()
        return reply

    async def _find(self, turn: Turn, posted: tuple[str, ...], create: bool) -> Opened:
        """The place of a reply. Raises NoPlace, discord.HTTPException."""
        turn = replace(turn, posted=posted)
        asked = self._asks.of(turn)
        make: Buttons = partial(_buttons, turn.id)
        if asked is not None and asked.alive:
            return Opened(InteractionOutlet(asked, turn, make), posts_of(asked, turn))
        if is_asked(turn):
            return await self._after_ask(turn, make)
        place = await self._places.find(turn, create=create)
        outlet = ChannelOutlet(place.channel, turn, make, reply_to=place.reply_to)
        posts = tuple(keys.posted_in(turn.posted, place.channel.id))
        return Opened(outlet, posts, place.note)

    async def _after_ask(self, turn: Turn, make: Buttons) -> Opened:
        """See Places.after_ask. What is not known of an interaction any more may be private."""
        asked = self._asks.of(turn)
        private = asked is None or asked.saved.private
        asked_in = asked.saved.channel if asked is not None else 0
        place = await self._places.after_ask(turn, asked_in, private=private)
        if keys.key_of(place.channel).channel_key != turn.key.channel_key:
            make = _no_buttons  # the core takes them only where the conversation is
        posts = tuple(keys.posted_in(turn.posted, place.channel.id))
        # What has begun in place ends there, and needs no explanation.
        return Opened(ChannelOutlet(place.channel, turn, make), posts, "" if posts else place.note)

    # --- helpers

    def _without_content(self) -> bool:
        return not self._content

    def _sees(self, message: discord.Message) -> bool:
        """Whether the content of this message reaches the bot."""
        return self._content or keys.is_private(message.channel)

    async def _know_channel(self, message: discord.Message) -> None:
        """Look up a channel that discord.py does not know (an archived thread, for one): the
        thread's parent is part of where it is."""
        if isinstance(message.channel, discord.PartialMessageable):
            channel = await self._places.channel(message.channel.id)
            if channel is not None:
                message.channel = channel

    async def _answer(self, message: discord.Message, reply: CommandReply) -> None:
        """Answer a command that was typed as a message. Such an answer can't be private."""
        try:
            for text in layout.plain(reply.text):
                await message.reply(
                    text, mention_author=False, allowed_mentions=discord.AllowedMentions.none()
                )
        except discord.HTTPException as error:
            logger.warning("channel %s takes no answer: %s", message.channel.id, error.status)

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        task = asyncio.create_task(work, name=f"discord {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _buttons(turn_id: int, controls: str) -> discord.ui.View | None:
    return buttons(controls, turn_id)


def _no_buttons(_: str) -> None:
    return None
