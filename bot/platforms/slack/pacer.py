"""Keeps every Web API method within its rate limit, per workspace and, for posts, per channel.

Slack counts a method's calls a minute per workspace. A call that has to be made (`turn`) waits for
its place; one that would only be nice (an interim edit of a growing reply, `try_turn`) is left out
when there is no room, so that it never delays the calls that have to be made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from bot.platforms.shared.recent import RecentDict

BURST = 0.2  # the share of a minute's calls that may come at once; the rest is spread evenly
MAX_CHANNELS = 1_000  # of a workspace, whose pace is remembered
RESERVE = 3  # calls that interim ones leave to those that have to be made


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls a minute. `known` is false where Slack's documentation names no tier: then a 429
    halves the rate, down to `floor`."""

    per_minute: float
    known: bool = True
    floor: float = 20
    burst: float | None = None  # calls at once; a fifth of the rate where not said


TIER_1, TIER_2, TIER_3, TIER_4 = Rate(1), Rate(20), Rate(50), Rate(100)
PER_CHANNEL = Rate(60, burst=2)
_POSTING = Rate(240, known=False, floor=60)  # beside 1 a second and channel: "several hundred"
_STREAM = Rate(300, known=False)
_UNKNOWN = Rate(50, known=False)

RATES = {
    "chat.postMessage": _POSTING,
    "chat.postEphemeral": TIER_4,
    "chat.update": TIER_3,
    "chat.delete": TIER_3,
    "chat.startStream": _STREAM,
    "chat.appendStream": _STREAM,
    "chat.stopStream": _STREAM,
    "assistant.threads.setStatus": _STREAM,
    "assistant.threads.setTitle": _STREAM,
    "assistant.threads.setSuggestedPrompts": _STREAM,
    "auth.test": _STREAM,
    "conversations.info": TIER_3,
    "conversations.history": TIER_3,
    "conversations.replies": TIER_3,
    "conversations.open": TIER_3,
    "files.info": TIER_4,
    "files.getUploadURLExternal": TIER_4,
    "files.completeUploadExternal": TIER_4,
    "users.conversations": TIER_3,
    "users.info": TIER_4,
    "views.open": TIER_4,
    "views.update": TIER_4,
    "views.publish": TIER_4,
}
_POSTS = frozenset({"chat.postMessage", "chat.postEphemeral", "chat.startStream"})


class Bucket:
    """A token bucket: at most `rate.per_minute` calls in any minute, a part of them at once."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known = rate.known
        self._burst = rate.burst
        self._floor = min(rate.floor, rate.per_minute)
        self._set(rate.per_minute)
        self._tokens = self._capacity
        self._at = clock()
        self._held_until = 0.0

    @property
    def per_minute(self) -> float:
        """The rate that counts now."""
        return self._per_minute

    def take(self) -> float:
        """Take a place; how many seconds to wait until it comes."""
        self._refill()
        self._tokens -= 1
        wait = -self._tokens / self._per_second if self._tokens < 0 else 0.0
        return max(wait, self._held_until - self._clock(), 0.0)

    def try_take(self, reserve: float) -> bool:
        """Take a place if there is one now and at least `reserve` more stay free."""
        self._refill()
        reserve = min(reserve, self._capacity - 1)
        if self._tokens < 1 + reserve or self._clock() < self._held_until:
            return False
        self._tokens -= 1
        return True

    def hold(self, seconds: float) -> None:
        """Slack said 429: nothing for so long, and slower from then on if the rate is a guess."""
        self._refill()
        self._tokens = min(self._tokens, 0.0)
        self._held_until = max(self._held_until, self._clock() + seconds)
        if not self._known:
            self._set(max(self._floor, self._per_minute / 2))

    def _set(self, per_minute: float) -> None:
        # Any minute sees at most the burst and what is refilled meanwhile: together the rate.
        self._per_minute = per_minute
        self._capacity = max(1.0, self._burst or per_minute * BURST)
        self._per_second = max(per_minute - self._capacity, per_minute * 0.5) / 60

    def _refill(self) -> None:
        now = self._clock()
        grown = self._tokens + (now - self._at) * self._per_second
        self._tokens, self._at = min(self._capacity, grown), now


class Pacer:
    """The buckets of one workspace."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._methods: dict[str, Bucket] = {}
        self._channels: RecentDict[tuple[str, str], Bucket] = RecentDict(MAX_CHANNELS)

    async def turn(self, method: str, channel: str = "") -> None:
        """Wait until the method may be called."""
        wait = max(bucket.take() for bucket in self._buckets(method, channel))
        if wait > 0:
            await asyncio.sleep(wait)

    def try_turn(self, method: str, channel: str = "") -> bool:
        """Whether the method may be called now, with room left for calls that matter more."""
        buckets = self._buckets(method, channel)
        reserves = [RESERVE] + [0] * (len(buckets) - 1)
        return all(b.try_take(reserve) for b, reserve in zip(buckets, reserves, strict=True))

    def hold(self, method: str, seconds: float) -> None:
        """Slack answered 429 with this Retry-After."""
        self._method(method).hold(seconds)

    def _buckets(self, method: str, channel: str) -> list[Bucket]:
        found = [self._method(method)]
        if channel and method in _POSTS:
            key = (method, channel)
            bucket = self._channels.get(key) or Bucket(PER_CHANNEL, self._clock)
            self._channels[key] = bucket  # also one in use: the longest unused drops out
            found.append(bucket)
        return found

    def _method(self, method: str) -> Bucket:
        if method not in self._methods:
            self._methods[method] = Bucket(RATES.get(method, _UNKNOWN), self._clock)
        return self._methods[method]
