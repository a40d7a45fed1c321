"""Paces the edits of growing replies: one call at a time per channel, always the newest text.

discord.py waits where the rate-limit headers say so. A channel's next call starts only after the
last one returned and carries everything written meanwhile, so a slow channel gets fewer and larger
edits and never a queue of stale ones.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from typing import Protocol

import aiohttp
import discord

from bot.platforms.discord.outlets import NoReplyPlace

logger = logging.getLogger(__name__)

# Seconds between two edits in a channel. Discord allows about 5 in 5 s; one is left for the end.
INTERVAL_S = 1.3
GLOBAL_PER_S = 30  # calls of all channels together, well below Discord's 50


class PacedReply(Protocol):
    """A reply whose messages lag behind its text until they are updated."""

    async def update(self) -> None:
        """Make the messages on the platform what they should be now."""
        ...


class Pacer:
    """Updates the replies of every channel. Owns its tasks: `close` it."""

    def __init__(
        self, *, interval_s: float = INTERVAL_S, global_per_s: float = GLOBAL_PER_S
    ) -> None:
        self._interval_s = interval_s
        self._gap_s = 1 / global_per_s
        self._next_call_at = 0.0
        self._lanes: dict[Hashable, _Lane] = {}

    def schedule(self, lane_id: Hashable, reply: PacedReply) -> None:
        """Update a reply that has changed, soon."""
        lane = self._lanes.setdefault(lane_id, _Lane())
        lane.dirty[reply] = None
        if lane.task is None:
            lane.task = asyncio.create_task(self._run(lane_id, lane), name=f"pacer {lane_id}")

    async def finish(self, lane_id: Hashable, reply: PacedReply) -> None:
        """Update a reply now, before the others of its lane.

        Raises:
            discord.HTTPException, aiohttp.ClientError, OSError: of the call.
        """
        lane = self._lanes.setdefault(lane_id, _Lane())
        lane.dirty.pop(reply, None)
        lane.finishing += 1
        try:
            async with lane.lock:
                await reply.update()
        finally:
            lane.finishing -= 1
            self._drop_if_idle(lane_id, lane)

    async def close(self) -> None:
        """Stop pacing. Idempotent."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._lanes.clear()

    async def _run(self, lane_id: Hashable, lane: _Lane) -> None:
        loop = asyncio.get_running_loop()
        try:
            while lane.dirty:
                reply = next(iter(lane.dirty))
                await self._global_slot()
                started = loop.time()
                async with lane.lock:
                    if reply in lane.dirty:
                        del lane.dirty[reply]
                        await _try_update(reply)
                await asyncio.sleep(max(0.0, started + self._interval_s - loop.time()))
        finally:
            lane.task = None
            self._drop_if_idle(lane_id, lane)

    async def _global_slot(self) -> None:
        """Wait for a slot among the calls of all channels."""
        now = asyncio.get_running_loop().time()
        slot_at = max(now, self._next_call_at)
        self._next_call_at = slot_at + self._gap_s
        if slot_at > now:
            await asyncio.sleep(slot_at - now)

    def _drop_if_idle(self, lane_id: Hashable, lane: _Lane) -> None:
        if not (lane.dirty or lane.task or lane.finishing) and self._lanes.get(lane_id) is lane:
            del self._lanes[lane_id]


class _Lane:
    """The replies that share a rate limit. `lock`: one call at a time."""

    def __init__(self) -> None:
        self.dirty: dict[PacedReply, None] = {}
        self.lock = asyncio.Lock()
        self.finishing = 0
        self.task: asyncio.Task[None] | None = None


async def _try_update(reply: PacedReply) -> None:
    """An interim update may fail: the last one brings all of the text."""
    try:
        await reply.update()
    except (discord.DiscordException, NoReplyPlace, aiohttp.ClientError, OSError) as error:
        logger.info("an interim edit failed: %s", type(error).__name__)
