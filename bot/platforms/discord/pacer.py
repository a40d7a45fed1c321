"""Paces the edits of growing replies: one call at a time in a channel, always the newest text.

discord.py waits where the rate-limit headers say so; because a channel's next call is made only
after the last one returned, and each brings all that was written meanwhile, a slow channel gets
fewer and larger steps and no queue of stale ones.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from typing import Protocol

import aiohttp
import discord

from bot.platforms.discord.outlets import NoPlace

logger = logging.getLogger(__name__)

# Seconds between two edits in a channel. Discord allows some 5 in 5: one is left for the end.
INTERVAL_S = 1.3
GLOBAL_PER_S = 30  # calls of all channels together, well below Discord's 50


class Stream(Protocol):
    """Something that lags behind until it is brought up to date."""

    async def bring(self) -> None:
        """Make what stands on the platform what it should be."""
        ...


class Pacer:
    """Brings the streams of every channel up to date. Owns its tasks: `close` it."""

    def __init__(
        self, *, interval_s: float = INTERVAL_S, global_per_s: float = GLOBAL_PER_S
    ) -> None:
        self._interval_s = interval_s
        self._gap_s = 1 / global_per_s
        self._next_at = 0.0
        self._lanes: dict[Hashable, _Lane] = {}

    def mark(self, channel: Hashable, stream: Stream) -> None:
        """The stream has changed: bring it up to date soon."""
        lane = self._lanes.setdefault(channel, _Lane())
        lane.dirty[stream] = None
        if lane.task is None:
            lane.task = asyncio.create_task(self._run(channel, lane), name=f"pacer {channel}")

    async def finish(self, channel: Hashable, stream: Stream) -> None:
        """Bring the stream up to date now, before the others of its channel.

        Raises:
            discord.HTTPException, aiohttp.ClientError, OSError: of the call.
        """
        lane = self._lanes.setdefault(channel, _Lane())
        lane.dirty.pop(stream, None)
        lane.finishing += 1
        try:
            async with lane.lock:
                await stream.bring()
        finally:
            lane.finishing -= 1
            self._forget_if_idle(channel, lane)

    async def close(self) -> None:
        """Stop pacing. Idempotent."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._lanes.clear()

    async def _run(self, channel: Hashable, lane: _Lane) -> None:
        loop = asyncio.get_running_loop()
        try:
            while lane.dirty:
                stream = next(iter(lane.dirty))
                await self._slot()
                started = loop.time()
                async with lane.lock:
                    if stream in lane.dirty:
                        del lane.dirty[stream]
                        await _try(stream)
                await asyncio.sleep(max(0.0, started + self._interval_s - loop.time()))
        finally:
            lane.task = None
            self._forget_if_idle(channel, lane)

    async def _slot(self) -> None:
        """Wait for a place among the calls of all channels."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._next_at)
        self._next_at = at + self._gap_s
        if at > now:
            await asyncio.sleep(at - now)

    def _forget_if_idle(self, channel: Hashable, lane: _Lane) -> None:
        if not (lane.dirty or lane.task or lane.finishing) and self._lanes.get(channel) is lane:
            del self._lanes[channel]


class _Lane:
    """One channel's queue. `lock`: one call at a time."""

    def __init__(self) -> None:
        self.dirty: dict[Stream, None] = {}
        self.lock = asyncio.Lock()
        self.finishing = 0
        self.task: asyncio.Task[None] | None = None


async def _try(stream: Stream) -> None:
    """An interim step may fail: the end brings all of the text."""
    try:
        await stream.bring()
    except (discord.DiscordException, NoPlace, aiohttp.ClientError, OSError) as error:
        logger.info("an interim edit failed: %s", type(error).__name__)
