"""The whole server, and what people do on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Self

from aiohttp import web

from tests.servers.discord.gateway import Gateway, Session
from tests.servers.discord.interactions import (
    AUTOCOMPLETE,
    COMMAND,
    COMPONENT,
    MODAL_SUBMIT,
    Interaction,
    Interactions,
)
from tests.servers.discord.limits import Limits
from tests.servers.discord.payloads import as_stored, message_payload
from tests.servers.discord.rest import Rest
from tests.servers.discord.world import (
    BITS,
    DM,
    PUBLIC_THREAD,
    TEXT,
    Channel,
    Guild,
    Message,
    User,
    iso,
    snowflake,
)

TOKEN = "MTIzNDU2Nzg5.Gparley.a-token-of-the-local-server"


class DiscordServer:
    """`async with DiscordServer() as discord: ...`; `discord.env` points Parley at it."""

    def __init__(self) -> None:
        self.token = TOKEN
        self.bot = User("Parley", bot=True)
        self.owner = User("Olga")
        self.users = {self.bot.id: self.bot, self.owner.id: self.owner}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        self.commands: list[dict[str, Any]] = []
        self.created_commands = 0
        self.registrations = 0
        self.files: dict[str, tuple[bytes, str]] = {}
        self.signatures: dict[str, int] = {}  # of files; an older one has expired
        self.shards = 1
        self.down = False
        self.clock_ahead_s = 0.0
        self.after_send: Callable[[Message], Awaitable[None]] | None = None
        self.closed_dms: set[int] = set()  # ids of people who take no direct messages
        self.limits = Limits()
        self.rest = Rest(self)
        self.interactions = Interactions(self)
        self.gateway = Gateway(
            self.token, self._ready, self._after_ready, lambda: f"{self.gateway_url}/resume"
        )
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=30 * 2**20)
        self.interactions.add_routes(app)
        self.rest.add_routes(app)
        app.router.add_get("/gateway/", self.gateway.serve)
        app.router.add_get("/gateway", self.gateway.serve)
        app.router.add_get("/gateway/resume", self.gateway.serve)
        app.router.add_get("/cdn/{name:.+}", self._cdn)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self.gateway.connected:
            assert session.wire is not None
            await session.wire.socket.close()
        assert self._runner is not None
        await self._runner.cleanup()

    # --- addresses

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def api_url(self) -> str:
        return f"http://{self.host}/api/v10"

    @property
    def gateway_url(self) -> str:
        return f"ws://{self.host}/gateway"

    @property
    def env(self) -> dict[str, str]:
        return {
            "DISCORD_TOKEN": self.token,
            "DISCORD_API_URL": self.api_url,
            "PARLEY_EXTRA_MEDIA_HOSTS": self.host,
        }

    def now(self) -> float:
        return time.time() + self.clock_ahead_s

    def moment(self) -> datetime:
        """The same, for a bot whose clock goes with Discord's."""
        return datetime.fromtimestamp(self.now(), UTC)

    # --- building

    def user(self, name: str, *, bot: bool = False) -> User:
        user = User(name, bot)
        self.users[user.id] = user
        return user

    def guild(self, name: str = "Home", *members: User) -> Guild:
        guild = Guild(name, self.bot, self.owner)
        guild.members[self.owner.id] = []
        for member in members:
            guild.members[member.id] = []
        self.guilds[guild.id] = guild
        return guild

    def channel(self, guild: Guild, name: str = "general", type: int = TEXT) -> Channel:
        channel = Channel(type, guild, name)
        guild.channels[channel.id] = self.channels[channel.id] = channel
        return channel

    def dm(self, user: User) -> Channel:
        for channel in self.channels.values():
            if channel.type == DM and channel.recipient is user:
                return channel
        channel = Channel(DM, recipient=user)
        self.channels[channel.id] = channel
        return channel

    async def deny(self, channel: Channel, *names: str) -> None:
        """Take permissions from the bot in a channel."""
        channel.denied = sum(BITS[name] for name in names)
        guild = channel.guild
        assert guild is not None
        await self.gateway.dispatch("CHANNEL_UPDATE", lambda _: channel.payload(self.bot), guild.id)

    async def open_thread(self, message: Message, name: str, owner: User) -> Channel:
        parent = message.channel
        thread = Channel(PUBLIC_THREAD, parent.guild, name, parent, owner, id=message.id)
        starter = Message(thread, message.author, type=21, reference=message)
        thread.messages[starter.id] = starter
        assert parent.guild is not None
        parent.guild.channels[thread.id] = self.channels[thread.id] = thread
        payload = thread.payload(self.bot) | {"newly_created": True}
        await self.gateway.dispatch("THREAD_CREATE", lambda _: payload, parent.guild.id)
        return thread

    def upload(self, name: str, data: bytes, content_type: str) -> dict[str, Any]:
        """An attachment on the CDN."""
        number = str(snowflake())
        self.files[f"{number}/{name}"] = (data, content_type)
        self.signatures[f"{number}/{name}"] = 1
        return {
            "id": number,
            "filename": name,
            "size": len(data),
            "content_type": content_type,
            **self._signed(f"{number}/{name}"),
        }

    def _signed(self, path: str) -> dict[str, str]:
        url = f"http://{self.host}/cdn/{path}?ex=1&is=1&hm={self.signatures[path]}"
        return {"url": url, "proxy_url": url}

    def expire(self, message: Message) -> None:
        """The addresses of its files expire; who fetches the message anew gets others."""
        for attachment in message.attachments:
            path = f"{attachment['id']}/{attachment['filename']}"
            self.signatures[path] += 1
            attachment |= self._signed(path)

    def sticker(self, name: str, data: bytes) -> dict[str, Any]:
        """A PNG sticker; its address is not signed."""
        number = str(snowflake())
        self.files[f"stickers/{number}.png"] = (data, "image/png")
        return {"id": number, "name": name, "format_type": 1}

    # --- what people do

    async def say(
        self,
        author: User,
        channel: Channel,
        content: str,
        *,
        reply_to: Message | None = None,
        files: tuple[tuple[str, bytes], ...] = (),
        **fields: Any,
    ) -> Message:
        message = Message(channel, author, content, **fields)
        if reply_to is not None:
            message.reference, message.type = reply_to, 19
            message.pings = [reply_to.author]
        for name, data in files:
            message.attachments.append(self.upload(name, data, "image/png"))
        channel.messages[message.id] = message
        await self.announce("MESSAGE_CREATE", message)
        return message

    async def edit(self, message: Message, content: str) -> None:
        message.content, message.edited = content, self.now()
        await self.announce("MESSAGE_UPDATE", message)

    async def remove(self, message: Message) -> None:
        message.channel.messages.pop(message.id, None)
        guild = message.channel.guild
        payload = {"id": str(message.id), "channel_id": str(message.channel.id)}
        if guild is not None:
            payload["guild_id"] = str(guild.id)
        await self.gateway.dispatch(
            "MESSAGE_DELETE", lambda _: payload, guild.id if guild else None
        )

    async def announce(self, event: str, message: Message) -> None:
        guild = message.channel.guild
        if guild is not None and guild.id not in self.guilds:
            return  # the bot is no member there
        await self.gateway.dispatch(
            event, lambda session: self.payload(message, session), guild.id if guild else None
        )

    async def press(self, user: User, message: Message, label: str) -> Interaction:
        data = {"component_type": 2, "custom_id": message.button(label)["custom_id"]}
        return await self.interactions.send(
            Interaction(message.channel, user, COMPONENT, data, message)
        )

    async def slash(
        self, user: User, channel: Channel, command_name: str, /, **options: Any
    ) -> Interaction:
        """Type a command: `persona set` with its options; the name must be registered."""
        root, *path = command_name.split()
        command = self._command(root, 1)
        declared = command
        for word in path:
            declared = next(o for o in declared["options"] if o["name"] == word)
        given = [
            {"name": key, "type": option["type"], "value": options[key]}
            for option in declared.get("options", ())
            if (key := option["name"]) in options
        ]
        assert len(given) == len(options), f"/{command_name} has no such options: {options}"
        for word in reversed(path):
            given = [{"name": word, "type": 1, "options": given}]
        data: dict[str, Any] = {"id": command["id"], "name": root, "type": 1, "options": given}
        return await self.interactions.send(Interaction(channel, user, COMMAND, data))

    async def autocomplete(
        self, user: User, channel: Channel, name: str, option: str, typed: str
    ) -> list[str]:
        interaction = Interaction(channel, user, AUTOCOMPLETE, {})
        root, *path = name.split()
        options: list[dict[str, Any]] = [
            {"name": option, "type": 3, "value": typed, "focused": True}
        ]
        for word in reversed(path):
            options = [{"name": word, "type": 1, "options": options}]
        command = self._command(root, 1)
        interaction.data = {"id": command["id"], "name": root, "type": 1, "options": options}
        await self.interactions.send(interaction)
        await asyncio.wait_for(interaction.answered.wait(), 20)
        return [choice["value"] for choice in interaction.choices or ()]

    async def menu(self, user: User, message: Message, name: str) -> Interaction:
        """Choose a message menu's command."""
        command = self._command(name, 3)
        data = {
            "id": command["id"],
            "name": name,
            "type": 3,
            "target_id": str(message.id),
            "resolved": {"messages": {str(message.id): self.payload(message)}},
        }
        return await self.interactions.send(Interaction(message.channel, user, COMMAND, data))

    async def submit(self, shown: Interaction, **values: str) -> Interaction:
        """Fill in a form that was shown, keeping what stands in the other fields."""
        assert shown.modal is not None
        rows = []
        left = dict(values)
        for label in shown.modal["components"]:
            entry = label["component"]
            value = left.pop(entry["custom_id"], entry.get("value") or "")
            rows.append(
                {
                    "type": 18,
                    "id": 1,
                    "component": {"type": 4, "custom_id": entry["custom_id"], "value": value},
                }
            )
        assert not left, f"no such fields: {left}"
        data = {"custom_id": shown.modal["custom_id"], "components": rows}
        return await self.interactions.send(
            Interaction(shown.channel, shown.user, MODAL_SUBMIT, data)
        )

    def _command(self, name: str, type: int) -> dict[str, Any]:
        for command in self.commands:
            if command["name"] == name and command.get("type", 1) == type:
                return command
        raise AssertionError(f"no command {name!r} is registered")

    # --- what Discord does

    def payload(self, message: Message, session: Session | None = None) -> dict[str, Any]:
        sessions = self.gateway.connected
        sees_all = session.sees_all if session else all(s.sees_all for s in sessions)
        return message_payload(message, self.users, sees_all=sees_all, me=self.bot)

    def application(self) -> dict[str, Any]:
        return {
            "id": str(self.bot.id),
            "name": "Parley",
            "icon": None,
            "description": "",
            "summary": "",
            "bot_public": True,
            "bot_require_code_grant": False,
            "verify_key": "0",
            "flags": 1 << 19 if self.gateway.content_allowed else 0,
            "owner": self.owner.payload(),
            "team": None,
            "hook": True,
            "interactions_endpoint_url": None,
        }

    def register(self, commands: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Overwrite all commands; new names are creations, of which 200 a day are free."""
        self.registrations += 1
        known = {(c.get("type", 1), c["name"]): c for c in self.commands}
        found = []
        for command in commands:
            key = (command.get("type", 1), command["name"])
            if key not in known:
                self.created_commands += 1
            stored = as_stored(command)
            stored["id"] = known[key]["id"] if key in known else str(snowflake())
            stored |= {"application_id": str(self.bot.id), "version": str(snowflake())}
            found.append(stored)
        self.commands = found
        return found

    def _ready(self, session: Session) -> dict[str, Any]:
        guilds = self._guilds_of(session)
        return {
            "v": 10,
            "user": self.bot.payload() | {"verified": True, "mfa_enabled": True, "flags": 0},
            "guilds": [{"id": str(guild.id), "unavailable": True} for guild in guilds],
            "private_channels": [],
            "session_type": "normal",
            "shard": list(session.shard),
            "application": {"id": str(self.bot.id), "flags": 0},
        }

    def _after_ready(self, session: Session) -> list[tuple[str, dict[str, Any]]]:
        return [("GUILD_CREATE", guild.payload()) for guild in self._guilds_of(session)]

    def _guilds_of(self, session: Session) -> list[Guild]:
        number, count = session.shard
        return [g for g in self.guilds.values() if (g.id >> 22) % count == number]

    async def _cdn(self, request: web.Request) -> web.Response:
        path = request.match_info["name"]
        found, signature = self.files.get(path), self.signatures.get(path)
        expired = signature is not None and request.query.get("hm") != str(signature)
        if found is None or expired:
            raise web.HTTPNotFound(text="This content is no longer available.")
        return web.Response(body=found[0], content_type=found[1])


__all__ = ["TOKEN", "DiscordServer", "iso"]
