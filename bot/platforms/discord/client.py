"""The connection to Discord: a plain or sharded client that hands its events to the adapter."""

from __future__ import annotations

import logging
from typing import Any, Protocol

import discord
import yarl
from discord import app_commands

from bot.platforms.discord.confirmation import ConfirmationButton
from bot.platforms.discord.controls import ControlButton
from bot.platforms.discord.interaction_handler import InteractionHandler
from bot.platforms.discord.pending_interactions import Interaction

logger = logging.getLogger(__name__)


class GatewayEvents(Protocol):
    """What happens on the gateway: the adapter."""

    async def set_up(self, client: Client) -> None:
        """The client is logged in and not connected yet. Sets `client.interactions`."""
        ...

    async def connected(self) -> None:
        """A new session began (not a resumed one)."""
        ...

    def disconnected(self) -> None: ...

    def resumed(self) -> None:
        """The session continues; Discord sends what was missed."""
        ...

    async def message(self, message: discord.Message) -> None: ...

    async def edited(self, payload: discord.RawMessageUpdateEvent) -> None: ...

    async def deleted(
        self, guild_id: int | None, channel_id: int, message_ids: set[int]
    ) -> None: ...


class _CommandTree(app_commands.CommandTree["Client"]):
    async def on_error(
        self, interaction: Interaction, error: app_commands.AppCommandError, /
    ) -> None:
        await self.client.interactions.fail(interaction, error)


class Client(discord.Client):
    """discord.py runs each `on_…` in a task of its own."""

    interactions: InteractionHandler

    def __init__(self, events: GatewayEvents, intents: discord.Intents, **options: Any) -> None:
        super().__init__(
            intents=intents,
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=1_000,
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            **options,
        )
        self.events = events
        self.tree = _CommandTree(self)

    async def setup_hook(self) -> None:
        self.add_dynamic_items(ControlButton, ConfirmationButton)
        await self.events.set_up(self)

    async def on_ready(self) -> None:
        """All shards have a new session."""
        await self.events.connected()

    async def on_disconnect(self) -> None:
        """The connection is lost; discord.py reconnects by itself."""
        self.events.disconnected()

    async def on_resumed(self) -> None:
        self.events.resumed()

    async def on_message(self, message: discord.Message) -> None:
        await self.events.message(message)

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """Raw, so that messages from before this run are included."""
        await self.events.edited(payload)

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        await self.events.deleted(payload.guild_id, payload.channel_id, {payload.message_id})

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        await self.events.deleted(payload.guild_id, payload.channel_id, payload.message_ids)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """Log an event that could not be handled; the connection stays up."""
        logger.exception("handling Discord's %s failed", event_method.removeprefix("on_"))


class ShardedClient(Client, discord.AutoShardedClient):
    """Several connections, each with a part of the servers."""

    async def on_shard_disconnect(self, shard_id: int) -> None:
        self.events.disconnected()


def gateway_intents(*, content: bool) -> discord.Intents:
    """What the bot listens to. `content`: also messages that don't address it."""
    intents = discord.Intents.none()
    intents.guilds = True
    intents.guild_messages = True
    intents.dm_messages = True
    intents.message_content = content
    return intents


def make_client(
    events: GatewayEvents, *, content: bool, shards: int = 1, guild_ready_timeout: float = 2.0
) -> Client:
    """A client that is not connected yet. `guild_ready_timeout`: it counts as ready when no
    further server came in for this many seconds."""
    silence_voice_warnings()
    options: dict[str, Any] = {"guild_ready_timeout": guild_ready_timeout}
    if shards > 1:
        return ShardedClient(
            events, gateway_intents(content=content), shard_count=shards, **options
        )
    return Client(events, gateway_intents(content=content), **options)


def silence_voice_warnings() -> None:
    """discord.py warns of missing voice libraries, which Parley does not use."""
    discord.VoiceClient.warn_nacl = False
    discord.VoiceClient.warn_dave = False


def use_endpoints(api_url: str, gateway_url: str) -> None:
    """Talk to this API and this gateway, for the whole process: discord.py keeps both in classes,
    and a plain client never asks the API where the gateway is."""
    discord.http.Route.BASE = api_url.rstrip("/")
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
