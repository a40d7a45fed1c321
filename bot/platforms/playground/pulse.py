"""The live strip's data: the batcher a few times a second while something runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from bot.engine.api import Lane, Snapshot
from bot.platforms.playground.hub import Hub
from bot.platforms.playground.people import display_name
from bot.platforms.shared.ids import parse_id

log = logging.getLogger(__name__)

BUSY_EVERY_S = 0.15
IDLE_EVERY_S = 1.0
MIN_PAUSE_S = 0.05


class Pulse:
    """Samples the batcher and publishes what changed to the tabs."""

    def __init__(
        self, hub: Hub, snapshot: Callable[[], Snapshot], ready: Callable[[], bool]
    ) -> None:
        self._hub = hub
        self._snapshot = snapshot
        self._ready = ready
        self._last: dict[str, Any] | None = None
        self._wake = asyncio.Event()

    @property
    def latest(self) -> dict[str, Any]:
        """The batcher now, as an event; an idle one while the engine is not running."""
        try:
            return pulse_event(self._snapshot(), self._ready())
        except Exception:  # the strip is decoration: the page must work without it
            log.debug("no snapshot of the batcher", exc_info=True)
            return pulse_event(Snapshot((), 0, 0.0, 0, 0), ready=False)

    def wake(self) -> None:
        """Sample at once, because a reply begins."""
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            event = self.latest
            if event != self._last and len(self._hub):
                self._hub.publish(event)
                self._last = event
            busy = event["running"] or event["waiting"] or event["rate"]
            await self._pause(BUSY_EVERY_S if busy else IDLE_EVERY_S)
            # A lower bound, however often it is woken.
            await asyncio.sleep(MIN_PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        """Sleep until woken, at most this long."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()


def pulse_event(snapshot: Snapshot, ready: bool = True) -> dict[str, Any]:
    """A snapshot as the page draws it."""
    return {
        "type": "pulse",
        "ready": ready,
        "running": [_lane(lane) for lane in snapshot.running],
        "waiting": snapshot.waiting,
        "rate": round(snapshot.tokens_per_s, 1),
        "total": snapshot.generated_total,
    }


def _lane(lane: Lane) -> dict[str, Any]:
    # Everybody sees a DM's lane too, so it shows the place and the owner and nothing else.
    platform, _, rest = lane.conversation.partition("/")
    _, _, place = rest.partition("/")
    channel, _, thread = place.partition("/")
    owner = lane.owner.rpartition("/")[2].rpartition(":")[2]
    return {
        "key": lane.conversation,
        "platform": platform,
        "channel": parse_id(channel) if platform == "playground" else None,
        "thread": parse_id(thread) if platform == "playground" else None,
        "owner": owner,
        "name": display_name(owner),
        "phase": lane.phase,
        "prompt": lane.prompt,
        "prefilled": lane.prefilled,
        "cached": lane.cached,
        "generated": lane.generated,
        "max": lane.max_new,
    }
