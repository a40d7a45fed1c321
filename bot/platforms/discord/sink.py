"""A reply on Discord: messages that grow by paced edits, from typing to the last word."""

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
from bot.platforms.discord.outlets import Expired, MessageGone, NoPlace, Outlet
from bot.platforms.discord.pacer import Pacer
from bot.platforms.discord.pending_interactions import Now

logger = logging.getLogger(__name__)

TYPING_EVERY_S = 8.0  # Discord shows it for ten
TOO_OLD_TO_EDIT = 30046  # Discord limits edits of messages older than an hour, all together
OLD = timedelta(hours=1)
OLD_EDIT_WITHIN_S = 15.0  # discord.py waits for that limit, however long
RETRIES = (1.0, 3.0, 8.0)  # seconds before another try at the last words


@dataclass(slots=True)
class _Post:
    """A message of the reply. `shown is None`: of an earlier run, its content is not known."""

    id: int
    shown: Draft | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A place for the reply: where, what stands there already, and a note for the foot."""

    outlet: Outlet
    posts: tuple[int, ...] = ()
    note: str | None = None


#: Looks the place up; told where the reply stands, and whether a thread may be opened for it.
Find: TypeAlias = Callable[[tuple[str, ...], bool], Awaitable[Opened]]


class DiscordReply:
    """`bot.core.ports.ReplySink` (and `KnowsPosted`).

    Nothing is posted before the reply is wanted: a sink may be made only to take back what stands
    there.
    """

    def __init__(self, find: Find, posted: tuple[str, ...], pacer: Pacer, now: Now) -> None:
        self._find = find
        self._now = now
        self._posted = posted
        self._pacer = pacer
        self._outlet: Outlet | None = None
        self._posts: list[_Post] = []
        self._note: str | None = None
        self._text = ""
        self._ahead = 0
        self._reply: FinishedReply | None = None
        self._shows = False  # something is posted, or should be
        self._gone = False  # somebody deleted it while it was written: they don't want it
        self._attending: asyncio.Task[None] | None = None

    @property
    def posted(self) -> tuple[str, ...]:
        """Where the reply stands."""
        if self._outlet is None:
            return self._posted
        return self._outlet.posted([post.id for post in self._posts])

    async def waiting(self, ahead: int) -> None:
        """Show that it is coming: typing, or how many are ahead."""
        outlet = await self.open()
        self._ahead = ahead
        if ahead or self._posts:
            self._show(outlet)
        if self._attending is None:
            self._attending = asyncio.create_task(self._attend(outlet), name="discord typing")

    async def write(self, delta: str) -> None:
        """Let it grow; the pacer shows it."""
        outlet = await self.open()
        self._text += delta
        if self._text.strip():
            self._show(outlet)

    async def restart(self) -> None:
        """Begin again with nothing."""
        self._text = ""
        if self._shows:
            self._show(await self.open())

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        """Bring the last words, several times if Discord hiccups.

        Raises:
            discord.HTTPException, aiohttp.ClientError, OSError: Discord does not take them.
        """
        await self._end_attending()
        outlet = await self.open()
        self._reply = reply
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
        """Delete what stands there."""
        await self._end_attending()
        if self._outlet is None:
            if not self._posted:
                return
            with contextlib.suppress(NoPlace):
                await self.open(create=False)
        if self._outlet is None:
            return
        self._gone = True
        await self._pacer.finish(self._outlet.lane, self)  # after an edit that is on its way
        for post in reversed(self._posts):
            await self._outlet.delete(post.id)
        self._posts.clear()

    async def bring(self) -> None:
        """For the pacer: make the messages what they should be.

        Raises:
            NoPlace, discord.HTTPException: Discord does not take it; or the place expired, there
                is no other, and that could not be said.
        """
        try:
            await self._bring()
        except Expired:
            await self._move()

    async def _bring(self) -> None:
        outlet, drafts = self._outlet, self._drafts()
        if outlet is None or self._gone:
            return
        if not outlet.alive:
            raise Expired
        for number, draft in enumerate(drafts):
            try:
                await self._bring_one(outlet, number, draft)
            except MessageGone:
                self._gone = True
                return
        while len(self._posts) > len(drafts):
            await outlet.delete(self._posts[-1].id)
            self._posts.pop()

    async def _move(self) -> None:
        """Go on elsewhere: the place has expired."""
        before = self._outlet
        assert before is not None, "only what was opened expires"
        try:
            self._take(await self._find(self.posted, True))
            await self._bring()
        except (NoPlace, discord.Forbidden):
            self._gone = True
            if not await before.give_up():
                raise
        else:
            await before.leave()

    async def _bring_one(self, outlet: Outlet, number: int, draft: Draft) -> None:
        if number < len(self._posts):
            post = self._posts[number]
            if post.shown == draft or self._spares(post, draft):
                return
            if await self._edited(outlet, post, draft):
                return
            for left in self._posts[number:]:
                await outlet.delete(left.id)
            del self._posts[number:]
        sent = await outlet.send(draft, number)
        self._posts.append(_Post(sent, draft))

    def _spares(self, post: _Post, draft: Draft) -> bool:
        """Whether an interim edit is left out, so that the last one is not refused."""
        shown = post.shown
        return (
            self._reply is None
            and shown is not None
            and shown.controls == draft.controls
            and self._is_old(post)
        )

    async def _edited(self, outlet: Outlet, post: _Post, draft: Draft) -> bool:
        """Edit a message; False if it has to be posted anew.

        Raises:
            MessageGone: it was deleted while this reply was being written.
        """
        try:
            async with asyncio.timeout(OLD_EDIT_WITHIN_S if self._is_old(post) else None):
                await outlet.edit(post.id, draft)
        except MessageGone:
            if post.shown is None:
                return False  # gone since long: another reply is wanted all the same
            raise
        except TimeoutError:
            if not self._is_old(post):
                raise
            return False
        except discord.HTTPException as error:
            if error.code != TOO_OLD_TO_EDIT:
                raise
            return False
        post.shown = draft
        return True

    def _is_old(self, post: _Post) -> bool:
        """Whether it can be edited a few times only."""
        return self._now() - discord.utils.snowflake_time(post.id) > OLD

    def _drafts(self) -> list[Draft]:
        limit = self._outlet.max_posts if self._outlet is not None else layout.MAX_POSTS
        reply = self._reply
        if reply is not None:
            notes = (*reply.notes, self._note) if self._note else reply.notes
            return layout.ended(replace(reply, notes=notes), limit)
        if self._text.strip():
            return layout.running(self._text, limit)
        return layout.waiting(self._ahead)

    def _show(self, outlet: Outlet) -> None:
        self._shows = True
        self._pacer.mark(outlet.lane, self)

    async def open(self, *, create: bool = True) -> Outlet:
        """Find the place, once. Raises NoPlace, discord.HTTPException."""
        return self._outlet or self._take(await self._find(self._posted, create))

    def _take(self, opened: Opened) -> Outlet:
        self._outlet, self._note = opened.outlet, opened.note
        self._posts = [_Post(message) for message in opened.posts]
        return opened.outlet

    async def _attend(self, outlet: Outlet) -> None:
        """Type until something stands there, and see when the place expires."""
        while outlet.alive and (outlet.expires or not self._posts):
            # That it can't type is no reason not to answer.
            with contextlib.suppress(discord.DiscordException, aiohttp.ClientError, OSError):
                await outlet.typing()
            await asyncio.sleep(TYPING_EVERY_S)
        if not outlet.alive:
            self._show(outlet)

    async def _end_attending(self) -> None:
        task, self._attending = self._attending, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
