"""Handles Slack's events: each is claimed once, stored, and then acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse

from bot.core.commands.parsing import is_command
from bot.core.events import MessageDeleted, MessageReceived
from bot.core.ports import CommandReply, InboundHandler
from bot.platforms.slack.assistant import Assistant
from bot.platforms.slack.claims import Claims
from bot.platforms.slack.ephemeral import notify
from bot.platforms.slack.home import Home
from bot.platforms.slack.mrkdwn import to_mrkdwn
from bot.platforms.slack.names import Names
from bot.platforms.slack.normalize import DmRoots, Event, Normalizer, root_of
from bot.platforms.slack.posting import Place, Poster, no_footer
from bot.platforms.slack.teams import Team, Teams

logger = logging.getLogger(__name__)

#: Slack waits 3 seconds for an acknowledgement. An event that takes longer to store is acknowledged
#: first; its task goes on.
ACK_WITHIN_S = 2.0


class Events:
    """The events that the app is subscribed to."""

    def __init__(
        self,
        teams: Teams,
        names: Names,
        normalizer: Normalizer,
        assistant: Assistant,
        home: Home,
        roots: DmRoots,
        handle: InboundHandler,
    ) -> None:
        self._teams = teams
        self._names = names
        self._normalizer = normalizer
        self._assistant = assistant
        self._home = home
        self._roots = roots
        self._handle = handle
        self._claims = Claims()
        self._tasks: set[asyncio.Task[None]] = set()
        self._handlers: Mapping[str, Callable[[Team, Event], Awaitable[None]]] = {
            "app_mention": self._message,
            "message": self._message,
            "app_home_opened": self._home_opened,
            "app_context_changed": assistant.context_changed,
            "assistant_thread_started": assistant.thread_started,
            "assistant_thread_context_changed": assistant.thread_started,
        }

    @property
    def handled(self) -> frozenset[str]:
        """The event types with a handler."""
        return frozenset(self._handlers) | {"app_uninstalled", "tokens_revoked"}

    async def close(self, grace_s: float = 5.0) -> None:
        """Wait for the events being handled, then cancel the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    async def middleware(
        self, req: AsyncBoltRequest, next: Callable[[], Awaitable[BoltResponse]]
    ) -> BoltResponse:
        """Bolt's global middleware: handles events, passes everything else on to its listener."""
        if req.body.get("type") != "event_callback":
            return await next()
        task = asyncio.create_task(self._handle_event(req.body), name="slack event")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        done, _ = await asyncio.wait((task,), timeout=ACK_WITHIN_S)
        failed = done and (task.cancelled() or task.exception() is not None)
        # Slack retries what isn't acknowledged, and the claim has been undone.
        return BoltResponse(status=500 if failed else 200, body="")

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("an event could not be handled; Slack will retry it", exc_info=error)

    async def _handle_event(self, body: Mapping[str, Any]) -> None:
        event = body.get("event")
        if not isinstance(event, Mapping):
            return
        team_id, enterprise_id = workspace_of(body)
        kind = str(event.get("type", ""))
        ids = (str(body.get("event_id") or ""), message_claim(team_id, event))
        with self._claims.claim(*ids) as is_new:
            if not is_new:
                logger.debug("%s %s is a duplicate", kind, body.get("event_id"))
            elif kind == "app_uninstalled" or (kind == "tokens_revoked" and _revokes_bot(event)):
                await self._teams.uninstall(team_id, enterprise_id)
                logger.info("Slack workspace %s: %s", team_id, kind)
            elif kind in self._handlers:
                team = await self._teams.get(team_id, enterprise_id)
                await self._handlers[kind](team, event)

    async def _message(self, team: Team, event: Event) -> None:
        subtype = event.get("subtype")
        if subtype == "message_changed":
            await self._changed(team, event)
            return
        if subtype == "message_deleted":
            deleted = self._normalizer.deleted(team, event)
            if deleted is not None:
                await self._handle(deleted)
            return
        message = await self._normalizer.received(team, event)
        if message is None or message.author.is_self:
            return
        await self._received(team, event, message)

    async def _received(self, team: Team, event: Event, message: MessageReceived) -> None:
        message = await self._with_rights(team, message)
        root = root_of(event)
        self._roots.remember(team, message, root)
        answer = await self._handle(message)
        if answer is not None:
            await self._answer(team, message, root, answer)
        elif message.is_dm:
            await self._assistant.set_title_once(team, message, root)

    async def _changed(self, team: Team, event: Event) -> None:
        edited = await self._normalizer.edited(team, event)
        if edited is None:
            return
        if isinstance(edited, MessageDeleted) or edited.as_new is None:
            await self._handle(edited)
            return
        message = await self._with_rights(team, edited.as_new)
        root = root_of(event["message"])
        self._roots.remember(team, message, root)
        answer = await self._handle(replace(edited, as_new=message))
        if answer is not None:
            await self._answer(team, message, root, answer)

    async def _with_rights(self, team: Team, message: MessageReceived) -> MessageReceived:
        """A typed command with its author's rights as they are now; other messages as they are."""
        if not is_command(message.text):
            return message
        author = await self._names.author(team, message.author.id, fresh=True)
        return replace(message, author=replace(message.author, is_admin=author.is_admin))

    async def _answer(
        self, team: Team, message: MessageReceived, root: str, answer: CommandReply
    ) -> None:
        """Answer a typed command: for its author only, or for everybody in its thread."""
        channel, thread = message.key.channel, message.key.thread or (root if message.is_dm else "")
        if answer.private:
            text = to_mrkdwn(answer.text)
            await notify(team, channel, message.author.id, text, thread_ts=thread)
        else:
            place = Place(channel, thread or message.id)
            await Poster(team, place).deliver(answer.text, no_footer)

    async def _home_opened(self, team: Team, event: Event) -> None:
        if event.get("tab") == "messages":
            await self._assistant.messages_opened(team, event)
        elif event.get("tab") == "home":
            await self._home.publish(team, str(event.get("user", "")))


def workspace_of(body: Mapping[str, Any]) -> tuple[str, str | None]:
    """The ids of the workspace whose installation got this event, and of its organization."""
    authorizations = body.get("authorizations")
    first = authorizations[0] if isinstance(authorizations, list) and authorizations else {}
    source = first if isinstance(first, Mapping) and first.get("team_id") else body
    enterprise = source.get("enterprise_id")
    return str(source.get("team_id") or ""), str(enterprise) if enterprise else None


def message_claim(team_id: str, event: Event) -> str:
    """The claim that app_mention and message share for one message; "" for other events."""
    if event.get("type") not in ("app_mention", "message") or not event.get("ts"):
        return ""
    if event.get("subtype") in ("message_changed", "message_deleted"):
        return ""
    return f"{team_id}/{event.get('channel')}/{event['ts']}"


def _revokes_bot(event: Event) -> bool:
    tokens = event.get("tokens")
    return isinstance(tokens, Mapping) and bool(tokens.get("bot"))
