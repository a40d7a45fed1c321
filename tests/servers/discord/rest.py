"""The REST API, as far as a bot like this uses it; anything else answers 404 and is noted."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import BodyPartReader, web

from tests.servers.discord import errors
from tests.servers.discord.errors import ApiError
from tests.servers.discord.world import (
    BITS,
    DM,
    FORUM,
    PUBLIC_THREAD,
    TEXT,
    Channel,
    Message,
    created_at,
)

if TYPE_CHECKING:
    from tests.servers.discord.server import DiscordServer

Handler = Callable[[web.Request], Awaitable[Any]]
MAX_CONTENT = 2000


class Rest:
    def __init__(self, server: DiscordServer) -> None:
        self.server = server
        self.requests: list[tuple[str, str]] = []
        self.unknown: list[str] = []

    def add_routes(self, app: web.Application) -> None:
        base = "/api/v10"
        routes: list[tuple[str, str, Handler, str]] = [
            ("GET", "/users/@me", self._me, "other"),
            ("GET", "/users/@me/guilds", self._my_guilds, "other"),
            ("POST", "/users/@me/channels", self._open_dm, "other"),
            ("GET", "/users/{user}", self._user, "other"),
            ("GET", "/oauth2/applications/@me", self._application, "other"),
            ("GET", "/gateway/bot", self._gateway, "other"),
            ("GET", "/applications/{app}/commands", self._commands, "other"),
            ("PUT", "/applications/{app}/commands", self._register, "other"),
            ("GET", "/guilds/{guild}/channels", self._channels, "other"),
            ("GET", "/guilds/{guild}/roles", self._roles, "other"),
            ("GET", "/guilds/{guild}/members/{user}", self._member, "other"),
            ("GET", "/channels/{channel}", self._channel, "other"),
            ("GET", "/channels/{channel}/messages", self._history, "other"),
            ("POST", "/channels/{channel}/messages", self._send, "send"),
            ("GET", "/channels/{channel}/messages/{message}", self._message, "other"),
            ("PATCH", "/channels/{channel}/messages/{message}", self._edit, "edit"),
            ("DELETE", "/channels/{channel}/messages/{message}", self._delete, "other"),
            ("POST", "/channels/{channel}/messages/{message}/threads", self._thread, "other"),
            ("POST", "/channels/{channel}/typing", self._typing, "other"),
        ]
        for method, path, handler, bucket in routes:
            app.router.add_route(method, base + path, self.wrapped(handler, bucket))
        app.router.add_route("*", base + "/{rest:.*}", self._unknown)

    def wrapped(self, handler: Handler, bucket: str, *, token: bool = True) -> Handler:
        """With token, rate limit and errors as Discord does them."""

        async def wrapped(request: web.Request) -> web.Response:
            self.requests.append((request.method, request.path))
            if token and request.headers.get("Authorization") != f"Bot {self.server.token}":
                return answer({"message": "401: Unauthorized", "code": 0}, 401)
            if self.server.down:
                return answer({"message": "upstream"}, 503)
            headers, refusal = self.server.limits.check(
                bucket, request.match_info.get("channel", "")
            )
            if refusal is not None:
                headers |= {"Retry-After": str(refusal["retry_after"]), "Via": "1.1 google"}
                return answer(refusal, 429, headers)
            try:
                found = await handler(request)
            except ApiError as error:
                refused: dict[str, Any] = {"message": error.text, "code": error.code}
                if error.retry_after is not None:
                    refused |= {"retry_after": error.retry_after, "global": False}
                    headers["Via"] = "1.1 google"
                return answer(refused, error.status, headers)
            if found is None:
                return web.Response(status=204, headers=headers)
            return answer(found, 200, headers)

        return wrapped

    async def _unknown(self, request: web.Request) -> web.Response:
        self.unknown.append(f"{request.method} {request.path}")
        return answer({"message": "404: Not Found", "code": 0}, 404)

    # --- the bot itself

    async def _me(self, _: web.Request) -> Any:
        return self.server.bot.payload() | {"flags": 0, "verified": True, "email": None}

    async def _application(self, _: web.Request) -> Any:
        return self.server.application()

    async def _gateway(self, _: web.Request) -> Any:
        return {
            "url": self.server.gateway_url,
            "shards": self.server.shards,
            "session_start_limit": {
                "total": 1000,
                "remaining": 999,
                "reset_after": 1000,
                "max_concurrency": 1,
            },
        }

    async def _user(self, request: web.Request) -> Any:
        user = self.server.users.get(int(request.match_info["user"]))
        if user is None:
            raise ApiError(404, 10013, "Unknown User")
        return user.payload()

    async def _my_guilds(self, _: web.Request) -> Any:
        return [
            {"id": str(guild.id), "name": guild.name, "owner": False, "permissions": "0"}
            for guild in self.server.guilds.values()
        ]

    async def _commands(self, _: web.Request) -> Any:
        return self.server.commands

    async def _register(self, request: web.Request) -> Any:
        return self.server.register(await request.json())

    async def _open_dm(self, request: web.Request) -> Any:
        user = self.server.users[int((await request.json())["recipient_id"])]
        return self.server.dm(user).payload(self.server.bot)

    # --- servers

    async def _channels(self, request: web.Request) -> Any:
        guild = self.server.guilds[int(request.match_info["guild"])]
        return [c.payload(self.server.bot) for c in guild.channels.values() if not c.is_thread]

    async def _roles(self, request: web.Request) -> Any:
        guild = self.server.guilds[int(request.match_info["guild"])]
        return [role.payload() for role in guild.roles.values()]

    async def _member(self, request: web.Request) -> Any:
        guild = self.server.guilds[int(request.match_info["guild"])]
        return guild.member(self.server.users[int(request.match_info["user"])])

    # --- channels

    async def _channel(self, request: web.Request) -> Any:
        return self._place(request).payload(self.server.bot)

    async def _history(self, request: web.Request) -> Any:
        channel = self._place(request)
        if not self.allowed(channel, "read_message_history"):
            return []
        found = sorted(channel.messages.values(), key=lambda m: m.id, reverse=True)
        found = [m for m in found if not m.flags & 64]
        if "before" in request.query:
            found = [m for m in found if m.id < int(request.query["before"])]
        limit = int(request.query.get("limit", 50))
        if "after" in request.query:
            found = [m for m in found if m.id > int(request.query["after"])]
            return [self.server.payload(m) for m in found[-limit:]]
        return [self.server.payload(m) for m in found[:limit]]

    async def _message(self, request: web.Request) -> Any:
        channel = self._place(request)
        self.need(channel, "read_message_history")
        return self.server.payload(self._one(request, channel))

    async def _send(self, request: web.Request) -> Any:
        channel = self._place(request)
        in_thread = channel.is_thread
        self.need(channel, "send_messages_in_threads" if in_thread else "send_messages")
        if channel.recipient is not None and channel.recipient.id in self.server.closed_dms:
            raise ApiError(403, 50007, "Cannot send messages to this user")
        payload, files = await body(request)
        nonce = payload.get("nonce")
        if nonce and payload.get("enforce_nonce"):
            for old in channel.messages.values():
                if old.nonce == nonce:
                    return self.server.payload(old)
        message = Message(channel, self.server.bot, nonce=nonce)
        reference = payload.get("message_reference")
        if reference is not None:
            target = channel.messages.get(int(reference["message_id"]))
            if target is None and reference.get("fail_if_not_exists", True):
                raise errors.invalid_form("message_reference: Unknown message")
            self.need(channel, "read_message_history")
            message.reference, message.type = target, 19 if target else 0
        if files:
            self.need(channel, "attach_files")
        self.change(message, payload, files)
        message.flags |= int(payload.get("flags") or 0)
        channel.messages[message.id] = message
        await self.server.announce("MESSAGE_CREATE", message)
        if self.server.after_send is not None:
            await self.server.after_send(message)
        return self.server.payload(message)

    async def _edit(self, request: web.Request) -> Any:
        channel = self._place(request)
        message = self._one(request, channel)
        if message.author is not self.server.bot:
            raise ApiError(403, 50005, "Cannot edit a message authored by another user")
        if self.server.now() - created_at(message.id) > 3600:
            if self.server.limits.old_edits <= 0:
                raise errors.too_old_to_edit(self.server.limits.old_retry_s)
            self.server.limits.old_edits -= 1
        payload, files = await body(request)
        self.change(message, payload, files)
        message.edited = self.server.now()
        await self.server.announce("MESSAGE_UPDATE", message)
        return self.server.payload(message)

    async def _delete(self, request: web.Request) -> Any:
        channel = self._place(request)
        message = self._one(request, channel)
        if message.author is not self.server.bot:
            self.need(channel, "manage_messages")
        await self.server.remove(message)

    async def _typing(self, request: web.Request) -> Any:
        channel = self._place(request)
        channel.typing += 1

    async def _thread(self, request: web.Request) -> Any:
        channel = self._place(request)
        self.need(channel, "create_public_threads")
        message = self._one(request, channel)
        if channel.type not in (TEXT, 5) or channel.type == FORUM:
            raise ApiError(400, 50024, "Cannot execute action on this channel type")
        payload = await request.json()
        if not 1 <= len(payload["name"]) <= 100:
            raise errors.invalid_form("name: Must be between 1 and 100 in length.")
        if message.id in self.server.channels:
            raise errors.thread_exists()
        thread = await self.server.open_thread(message, payload["name"], self.server.bot)
        assert thread.type == PUBLIC_THREAD
        return thread.payload(self.server.bot)

    # --- helpers

    def allowed(self, channel: Channel, name: str) -> bool:
        if channel.type == DM:
            return True
        assert channel.guild is not None
        return bool(channel.guild.permissions(self.server.bot, channel) & BITS[name])

    def need(self, channel: Channel, name: str) -> None:
        if not self.allowed(channel, name):
            raise errors.missing_permissions()

    def _place(self, request: web.Request) -> Channel:
        channel = self.server.channels.get(int(request.match_info["channel"]))
        if channel is None:
            raise errors.unknown_channel()
        if not self.allowed(channel, "view_channel"):
            raise errors.missing_access()
        return channel

    def _one(self, request: web.Request, channel: Channel) -> Message:
        message = channel.messages.get(int(request.match_info["message"]))
        if message is None:
            raise errors.unknown_message()
        return message

    def change(self, message: Message, payload: dict[str, Any], files: list[Any]) -> None:
        """Write what a request says into a message."""
        if "content" in payload:
            content = (payload["content"] or "").strip()
            if len(content) > MAX_CONTENT:
                raise errors.invalid_form("content: Must be 2000 or fewer in length.")
            message.content = content
            message.edits.append(content)
        if "components" in payload:
            message.components = payload["components"]
        if "embeds" in payload:
            message.embeds = payload["embeds"]
        if "allowed_mentions" in payload:
            message.allowed_mentions = payload["allowed_mentions"]
        if "attachments" in payload:
            kept = {entry["id"] for entry in payload["attachments"]}
            message.attachments = [a for a in message.attachments if a["id"] in kept]
        for name, data in files:
            message.attachments.append(self.server.upload(name, data, "text/markdown"))
        if not (message.content or message.attachments or message.embeds or message.components):
            raise ApiError(400, 50006, "Cannot send an empty message")


async def body(request: web.Request) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """The JSON of a request and the files with it."""
    if request.content_type != "multipart/form-data":
        return (await request.json()) or {}, []
    payload: dict[str, Any] = {}
    files = []
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        data = bytes(await part.read())
        if part.name == "payload_json":
            payload = json.loads(data)
        else:
            files.append((part.filename or "file", data))
    return payload, files


def answer(payload: Any, status: int, headers: dict[str, str] | None = None) -> web.Response:
    """discord.py reads JSON only where the type is exactly this."""
    response = web.Response(body=json.dumps(payload).encode(), status=status, headers=headers)
    response.headers["Content-Type"] = "application/json"
    return response
