"""A reply on Discord: messages that grow by paced edits, from typing to the final text."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeAlias

import aiohttp
import discord

from bot.core.ports import FinishedReply
from bot.platforms.discord import layout
from bot.platforms.discord.layout import Draft
from bot.platforms.discord.outlets import InteractionExpired, MessageGone, NoReplyPlace, Outlet
from bot.platforms.discord.pacer import Pacer
from bot.platforms.discord.pending_interactions import Clock

logger = logging.getLogger(__name__)

TYPING_EVERY_S = 8.0  # Discord shows it for ten seconds
TOO_OLD_TO_EDIT = 30046  # Discord limits the edits of all messages older than an hour together
OLD = timedelta(hours=1)
OLD_EDIT_WITHIN_S = 15.0  # discord.py waits for that limit, however long
RETRIES = (1.0, 3.0, 8.0)  # seconds before the next try to post the final text


@dataclass(slots=True)
class _Post:
    """A message of the reply. `draft` is its content; None: an earlier run's, unknown."""

    id: int
    draft: Draft | None = None


@dataclass(frozen=True, slots=True)
class ReplyLocation:
    """Where a reply goes: its outlet, the messages that exist already, a note for its foot."""

    outlet: Outlet
    posts: tuple[int, ...] = ()
    note: str | None = None


#: Locates a reply, given its messages so far (`Turn.posted`) and whether to open a thread for it.
Locate: TypeAlias = Callable[[tuple[str, ...], bool], Awaitable[ReplyLocation]]


class DiscordReply:
    """`bot.core.ports.ReplySink` (and `KnowsPosted`).

    Nothing is posted before there is something to show: a sink may be opened only to take back an
    earlier reply.
    """

    def __init__(self, locate: Locate, posted: tuple[str, ...], pacer: Pacer, clock: Clock) -> None:
        self._locate = locate
        self._clock = clock
        self._posted = posted
        self._pacer = pacer
        self._outlet: Outlet | None = None
        self._posts: list[_Post] = []
        self._note: str | None = None
        self._text = ""
        self._ahead = 0
        self._final: FinishedReply | None = None
        self._has_posts = False  # something is posted, or is about to be
        self._dropped = False  # it was deleted while being written, so its asker doesn't want it
        self._typing: asyncio.Task[None] | None = None

    @property
    def posted(self) -> tuple[str, ...]:
        if self._outlet is None:
            return self._posted
        return self._outlet.posted([post.id for post in self._posts])

    async def open(self, *, create: bool = True) -> Outlet:
        """Locate the reply, once. Raises NoReplyPlace, discord.HTTPException."""
        return self._outlet or self._use(await self._locate(self._posted, create))

    async def waiting(self, ahead: int) -> None:
        """Show typing, or how many others are served first."""
        outlet = await self.open()
        self._ahead = ahead
        if ahead or self._posts:
            self._schedule(outlet)
        if self._typing is None:
            self._typing = asyncio.create_task(self._keep_typing(outlet), name="discord typing")

    async def write(self, delta: str) -> None:
        outlet = await self.open()
        self._text += delta
        if self._text.strip():
            self._schedule(outlet)

    async def restart(self) -> None:
        self._text = ""
        if self._has_posts:
            self._schedule(await self.open())

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        """Post the final text, with several tries while Discord is unavailable.

        Raises:
            discord.HTTPException, aiohttp.ClientError, OSError: Discord refuses it.
        """
        await self._stop_typing()
        outlet = await self.open()
        self._final = reply
        for pause in (*RETRIES, None):
            try:
                await self._pacer.finish(outlet.lane, self)
                break
            except (discord.DiscordServerError, aiohttp.ClientError, OSError) as error:
                if pause is None:
                    raise
                logger.info("the end of a reply is tried again: %s", type(error).__name__)
                await asyncio.sleep(pause)
        return self.posted

    async def withdraw(self) -> None:
        await self._stop_typing()
        if self._outlet is None:
            if not self._posted:
                return
            with contextlib.suppress(NoReplyPlace):
                await self.open(create=False)
        if self._outlet is None:
            return
        self._dropped = True
        await self._pacer.finish(self._outlet.lane, self)  # waits for an edit under way
        for post in reversed(self._posts):
            await self._outlet.delete(post.id)
        self._posts.clear()

    async def update(self) -> None:
        """For the pacer: make the messages what they should be now.

        Raises:
            NoReplyPlace, discord.HTTPException: Discord refuses it; or the outlet expired, there
                is no other, and that could not be said.
        """
        try:
            await self._update_posts()
        except InteractionExpired:
            await self._continue_elsewhere()

    async def _update_posts(self) -> None:
        outlet, drafts = self._outlet, self._drafts()
        if outlet is None or self._dropped:
            return
        if not outlet.alive:
            raise InteractionExpired
        for number, draft in enumerate(drafts):
            try:
                await self._update_post(outlet, number, draft)
            except MessageGone:
                self._dropped = True
                return
        while len(self._posts) > len(drafts):
            await outlet.delete(self._posts[-1].id)
            self._posts.pop()

    async def _continue_elsewhere(self) -> None:
        expired = self._outlet
        assert expired is not None, "only an outlet that was opened expires"
        try:
            self._use(await self._locate(self.posted, True))
            await self._update_posts()
        except (NoReplyPlace, discord.Forbidden):
            self._dropped = True
            if not await expired.report_expiry():
                raise
        else:
            await expired.clear_placeholder()

    async def _update_post(self, outlet: Outlet, number: int, draft: Draft) -> None:
        if number < len(self._posts):
            post = self._posts[number]
            if post.draft == draft or self._skips_interim_edit(post, draft):
                return
            if await self._edit(outlet, post, draft):
                return
            for outdated in self._posts[number:]:
                await outlet.delete(outdated.id)
            del self._posts[number:]
        message_id = await outlet.send(draft, number)
        self._posts.append(_Post(message_id, draft))

    def _skips_interim_edit(self, post: _Post, draft: Draft) -> bool:
        """An old message takes few edits: they are saved for its final text."""
        return (
            self._final is None
            and post.draft is not None
            and post.draft.controls == draft.controls
            and self._is_old(post)
        )

    async def _edit(self, outlet: Outlet, post: _Post, draft: Draft) -> bool:
        """Edit a message; False if it has to be posted anew.

        Raises:
            MessageGone: it was deleted while this reply was being written.
        """
        try:
            async with asyncio.timeout(OLD_EDIT_WITHIN_S if self._is_old(post) else None):
                await outlet.edit(post.id, draft)
        except MessageGone:
            if post.draft is None:
                return False  # deleted before this reply, which its asker wants nevertheless
            raise
        except TimeoutError:
            if not self._is_old(post):
                raise
            return False
        except discord.HTTPException as error:
            if error.code != TOO_OLD_TO_EDIT:
                raise
            return False
        post.draft = draft
        return True

    def _is_old(self, post: _Post) -> bool:
        return self._clock() - discord.utils.snowflake_time(post.id) > OLD

    def _drafts(self) -> list[Draft]:
        limit = self._outlet.max_posts if self._outlet is not None else layout.MAX_POSTS
        final = self._final
        if final is not None:
            notes = (*final.notes, self._note) if self._note else final.notes
            return layout.ended_drafts(replace(final, notes=notes), limit)
        if self._text.strip():
            return layout.running_drafts(self._text, limit)
        return layout.waiting_drafts(self._ahead)

    def _schedule(self, outlet: Outlet) -> None:
        self._has_posts = True
        self._pacer.schedule(outlet.lane, self)

    def _use(self, location: ReplyLocation) -> Outlet:
        self._outlet, self._note = location.outlet, location.note
        self._posts = [_Post(message_id) for message_id in location.posts]
        return location.outlet

    async def _keep_typing(self, outlet: Outlet) -> None:
        """Show typing until something is posted, and continue elsewhere when the outlet expires."""
        while outlet.alive and (outlet.expires or not self._posts):
            with contextlib.suppress(discord.DiscordException, aiohttp.ClientError, OSError):
                await outlet.typing()  # a reply does not depend on it
            await asyncio.sleep(TYPING_EVERY_S)
        if not outlet.alive:
            self._schedule(outlet)

    async def _stop_typing(self) -> None:
        task, self._typing = self._typing, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
