"""The connection to Discord: a plain or sharded client that hands its events to the adapter."""

from __future__ import annotations

import logging
from typing import Any, Protocol

import discord
import yarl
from discord import app_commands

from bot.platforms.discord.confirm import Confirm, What
from bot.platforms.discord.controls import Action, Control
from bot.platforms.discord.slash import Interaction

logger = logging.getLogger(__name__)


class Events(Protocol):
    """What the adapter does with what happens."""

    async def set_up(self, client: Client) -> None:
        """The client is logged in and not connected yet."""
        ...

    async def connected(self) -> None:
        """A new session began (not a resumed one)."""
        ...

    def disconnected(self) -> None:
        """The connection is lost."""
        ...

    def resumed(self) -> None:
        """The session goes on; Discord sends what was missed."""
        ...

    async def message(self, message: discord.Message) -> None:
        """Somebody wrote."""
        ...

    async def edited(self, payload: discord.RawMessageUpdateEvent) -> None:
        """A message was changed."""
        ...

    async def deleted(self, guild_id: int | None, channel_id: int, messages: set[int]) -> None:
        """Messages are gone."""
        ...

    async def pressed(self, interaction: Interaction, action: Action, turn_id: int) -> None:
        """A button under a reply was pressed."""
        ...

    async def confirmed(self, interaction: Interaction, what: What) -> None:
        """Somebody answered whether this shall be deleted."""
        ...

    async def failed(self, interaction: Interaction, error: Exception) -> None:
        """An interaction went wrong."""
        ...


class _Tree(app_commands.CommandTree[Any]):
    """The commands; what goes wrong in them is told by the adapter."""

    async def on_error(
        self, interaction: Interaction, error: app_commands.AppCommandError, /
    ) -> None:
        """Tell the one who asked, in a sentence."""
        await interaction.client.on_interaction_error(interaction, error)


class Client(discord.Client):
    """Hands events on. discord.py runs each `on_…` in a task of its own."""

    def __init__(self, events: Events, intents: discord.Intents, **options: Any) -> None:
        super().__init__(
            intents=intents,
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=1_000,
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            **options,
        )
        self.events = events
        self.tree = _Tree(self)

    async def setup_hook(self) -> None:
        """Log-in succeeded."""
        self.add_dynamic_items(Control, Confirm)
        await self.events.set_up(self)

    async def on_ready(self) -> None:
        """All shards have a new session."""
        await self.events.connected()

    async def on_disconnect(self) -> None:
        """The connection is lost; discord.py connects again by itself."""
        self.events.disconnected()

    async def on_resumed(self) -> None:
        """The session goes on."""
        self.events.resumed()

    async def on_message(self, message: discord.Message) -> None:
        """Somebody wrote."""
        await self.events.message(message)

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """A message was changed, also one from before this run."""
        await self.events.edited(payload)

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        """A message is gone."""
        await self.events.deleted(payload.guild_id, payload.channel_id, {payload.message_id})

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        """Many messages are gone at once."""
        await self.events.deleted(payload.guild_id, payload.channel_id, payload.message_ids)

    async def pressed(self, interaction: Interaction, action: Action, turn_id: int) -> None:
        """See controls.Presses."""
        await self.events.pressed(interaction, action, turn_id)

    async def confirmed(self, interaction: Interaction, what: What) -> None:
        """See confirm.Confirms."""
        await self.events.confirmed(interaction, what)

    async def on_interaction_error(self, interaction: Interaction, error: Exception) -> None:
        """A command, a form or a menu went wrong."""
        await self.events.failed(interaction, error)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """An event could not be handled: the log has it, the connection goes on."""
        logger.exception("handling Discord's %s failed", event_method.removeprefix("on_"))


class ShardedClient(Client, discord.AutoShardedClient):
    """Several connections, each with a part of the servers."""

    async def on_shard_disconnect(self, shard_id: int) -> None:
        """One connection is lost."""
        self.events.disconnected()


def intents(*, content: bool) -> discord.Intents:
    """What the bot listens to. `content`: also what is written without addressing it."""
    wanted = discord.Intents.none()
    wanted.guilds = True
    wanted.guild_messages = True
    wanted.dm_messages = True
    wanted.message_content = content
    return wanted


def make_client(
    events: Events, *, content: bool, shards: int = 1, guild_ready_timeout: float = 2.0
) -> Client:
    """A client that is not connected yet. `guild_ready_timeout`: seconds without another server
    coming in after which it counts as ready."""
    quiet()
    options: dict[str, Any] = {"guild_ready_timeout": guild_ready_timeout}
    if shards > 1:
        return ShardedClient(events, intents(content=content), shard_count=shards, **options)
    return Client(events, intents(content=content), **options)


def quiet() -> None:
    """Parley does not speak: discord.py need not warn of what it lacks for that."""
    discord.VoiceClient.warn_nacl = False
    discord.VoiceClient.warn_dave = False


def point_at(api_url: str, gateway_url: str) -> None:
    """Talk to this API and this gateway, for the whole process: discord.py keeps both in classes,
    and a plain client never asks the API where the gateway is."""
    discord.http.Route.BASE = api_url.rstrip("/")
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
