"""Interactions: commands, buttons, forms and menus, with Discord's two clocks."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.servers.discord import errors
from tests.servers.discord.rest import body
from tests.servers.discord.world import DM, Channel, Message, User, snowflake

if TYPE_CHECKING:
    from tests.servers.discord.server import DiscordServer

ACK_S, TOKEN_S = 3.0, 15 * 60.0
EPHEMERAL = 64
COMMAND, COMPONENT, AUTOCOMPLETE, MODAL_SUBMIT = 2, 3, 4, 5
PONG, MESSAGE, DEFER, DEFER_UPDATE, UPDATE, CHOICES, MODAL = 1, 4, 5, 6, 7, 8, 9


@dataclass
class Interaction:
    channel: Channel
    user: User
    type: int
    data: dict[str, Any]
    message: Message | None = None
    id: int = field(default_factory=snowflake)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    at: float = 0.0
    acknowledged: int | None = None
    private: bool = False
    original: Message | None = None
    followups: list[Message] = field(default_factory=list)
    modal: dict[str, Any] | None = None
    choices: list[dict[str, Any]] | None = None
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def texts(self) -> list[str]:
        """What was answered, in order."""
        first = [self.original.content] if self.original and self.type != COMPONENT else []
        return first + [message.content for message in self.followups]


class Interactions:
    """Sends them and takes their answers."""

    def __init__(self, server: DiscordServer) -> None:
        self.server = server
        self.by_id: dict[int, Interaction] = {}
        self.by_token: dict[str, Interaction] = {}
        self.hold: asyncio.Event | None = None  # answers wait for it

    def add_routes(self, app: web.Application) -> None:
        base = "/api/v10"
        wrapped = self.server.rest.wrapped
        hook = f"{base}/webhooks/{{app}}/{{token}}"
        original = f"{hook}/messages/@original"
        one = f"{hook}/messages/{{message}}"
        routes = [
            ("POST", f"{base}/interactions/{{id}}/{{token}}/callback", self._callback),
            ("POST", hook, self._followup),
            ("GET", original, self._get_original),
            ("PATCH", original, self._edit_original),
            ("DELETE", original, self._delete_original),
            ("PATCH", one, self._edit_one),
            ("DELETE", one, self._delete_one),
        ]
        for method, path, handler in routes:
            app.router.add_route(method, path, wrapped(handler, "other", token=False))

    # --- what people do

    async def send(self, interaction: Interaction) -> Interaction:
        interaction.at = self.server.now()
        interaction.id = snowflake(interaction.at)  # its age can be read from it
        self.by_id[interaction.id] = interaction
        self.by_token[interaction.token] = interaction
        guild = interaction.channel.guild
        payload = self._payload(interaction)
        await self.server.gateway.dispatch(
            "INTERACTION_CREATE", lambda _: payload, guild.id if guild else None
        )
        return interaction

    def _payload(self, interaction: Interaction) -> dict[str, Any]:
        channel, guild = interaction.channel, interaction.channel.guild
        found: dict[str, Any] = {
            "id": str(interaction.id),
            "application_id": str(self.server.bot.id),
            "type": interaction.type,
            "data": interaction.data,
            "channel": channel.payload(self.server.bot),
            "channel_id": str(channel.id),
            "token": interaction.token,
            "version": 1,
            "locale": "en-US",
            "entitlements": [],
            "authorizing_integration_owners": {},
            "attachment_size_limit": 10 * 2**20,
            "app_permissions": "0",
            "context": 1 if channel.type == DM else 0,
        }
        if interaction.message is not None:
            found["message"] = self.server.payload(interaction.message)
        if guild is None:
            return found | {"user": interaction.user.payload()}
        member = guild.member(interaction.user)
        member["permissions"] = str(guild.permissions(interaction.user, channel))
        return found | {
            "guild_id": str(guild.id),
            "guild": {"id": str(guild.id), "features": [], "locale": "en-US"},
            "guild_locale": "en-US",
            "app_permissions": str(guild.permissions(self.server.bot, channel)),
            "member": member,
        }

    # --- what the bot answers

    async def _callback(self, request: web.Request) -> Any:
        assert request.query.get("with_response") == "1"
        interaction = self.by_id.get(int(request.match_info["id"]))
        if interaction is None or interaction.token != request.match_info["token"]:
            raise errors.unknown_interaction()
        if self.server.now() - interaction.at > ACK_S:
            raise errors.unknown_interaction()
        if interaction.acknowledged is not None:
            raise errors.already_acknowledged()
        payload, files = await body(request)
        kind, data = payload["type"], payload.get("data") or {}
        interaction.acknowledged = kind
        if kind == MODAL:
            interaction.modal = data
        elif kind == CHOICES:
            interaction.choices = data["choices"]
        elif kind in (DEFER_UPDATE, UPDATE):
            interaction.original = interaction.message
            if kind == UPDATE and interaction.message is not None:
                self.server.rest.change(interaction.message, data, files)
        else:
            interaction.private = bool(int(data.get("flags") or 0) & EPHEMERAL)
            interaction.original = await self._post(
                interaction, data if kind == MESSAGE else {"content": "thinking"}, files
            )
            if kind == DEFER:
                interaction.original.content, interaction.original.edits = "", []
        interaction.answered.set()
        callback: dict[str, Any] = {
            "interaction": {
                "id": str(interaction.id),
                "type": interaction.type,
                "response_message_ephemeral": interaction.private,
                "response_message_loading": kind == DEFER,
            }
        }
        if interaction.original is not None:
            callback["interaction"]["response_message_id"] = str(interaction.original.id)
            callback["resource"] = {
                "type": kind,
                "message": self.server.payload(interaction.original),
            }
        return callback

    async def _followup(self, request: web.Request) -> Any:
        interaction = self._live(request)
        payload, files = await body(request)
        private = bool(int(payload.get("flags") or 0) & EPHEMERAL)
        original = interaction.original
        if interaction.acknowledged == DEFER and original is not None and not original.edits:
            # The first follow-up after a deferral takes the deferred message's place, and its
            # privacy with it.
            self.server.rest.change(original, payload, files)
            return self.server.payload(original)
        message = await self._post(interaction, payload, files, private=private)
        interaction.followups.append(message)
        return self.server.payload(message)

    async def _get_original(self, request: web.Request) -> Any:
        return self.server.payload(self._original(request))

    async def _edit_original(self, request: web.Request) -> Any:
        return await self._changed(self._original(request), request)

    async def _delete_original(self, request: web.Request) -> Any:
        await self.server.remove(self._original(request))

    async def _edit_one(self, request: web.Request) -> Any:
        return await self._changed(self._one(request), request)

    async def _delete_one(self, request: web.Request) -> Any:
        await self.server.remove(self._one(request))

    async def _changed(self, message: Message, request: web.Request) -> Any:
        payload, files = await body(request)
        if self.hold is not None:
            await self.hold.wait()
        self.server.rest.change(message, payload, files)
        message.edited = self.server.now()
        await self.server.announce("MESSAGE_UPDATE", message)
        return self.server.payload(message)

    async def _post(
        self,
        interaction: Interaction,
        payload: dict[str, Any],
        files: list[Any],
        *,
        private: bool | None = None,
    ) -> Message:
        message = Message(interaction.channel, self.server.bot, type=20)
        message.webhook = self.server.bot.id
        self.server.rest.change(message, payload, files)
        if interaction.private if private is None else private:
            message.flags |= EPHEMERAL
        interaction.channel.messages[message.id] = message
        if not message.flags & EPHEMERAL:
            await self.server.announce("MESSAGE_CREATE", message)
        return message

    def _live(self, request: web.Request) -> Interaction:
        interaction = self.by_token.get(request.match_info["token"])
        if interaction is None or interaction.acknowledged is None:
            raise errors.ApiError(404, 10015, "Unknown Webhook")
        if self.server.now() - interaction.at > TOKEN_S:
            raise errors.invalid_webhook_token()
        return interaction

    def _original(self, request: web.Request) -> Message:
        original = self._live(request).original
        if original is None or original.id not in original.channel.messages:
            raise errors.unknown_message()
        return original

    def _one(self, request: web.Request) -> Message:
        interaction = self._live(request)
        wanted = int(request.match_info["message"])
        mine = [interaction.original, *interaction.followups]
        for message in mine:
            if message is not None and message.id == wanted:
                return message
        raise errors.unknown_message()
