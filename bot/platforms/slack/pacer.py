"""Keeps every Web API method within its rate limit, per workspace and, for posts, per channel.

Slack counts a method's calls per minute and workspace. A call that is required waits for its turn
(`acquire`). One that is not, such as an interim edit of a growing reply, is skipped when there is
no room (`try_acquire`), so that it never delays a required one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from bot.platforms.shared.recent import RecentDict

BURST = 0.2  # the share of a minute's calls that may come at once; the rest is spread evenly
RESERVE = 3  # calls that optional ones leave to required ones
MAX_CHANNELS = 1_000  # of a workspace, whose pace is remembered


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls per minute. `is_documented` is false where Slack documents no tier: then each 429
    halves the rate, down to `floor`."""

    per_minute: float
    is_documented: bool = True
    floor: float = 20
    burst: float | None = None  # calls at once; None: a fifth of the rate


TIER_1, TIER_2, TIER_3, TIER_4 = Rate(1), Rate(20), Rate(50), Rate(100)
PER_CHANNEL = Rate(60, burst=2)
# Slack documents 1 per second and channel, and "several hundred" per minute and workspace.
_POSTING = Rate(240, is_documented=False, floor=60)
_STREAM = Rate(300, is_documented=False)
_UNKNOWN = Rate(50, is_documented=False)

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
        self._is_documented = rate.is_documented
        self._burst = rate.burst
        self._floor = min(rate.floor, rate.per_minute)
        self._set_rate(rate.per_minute)
        self._tokens = self._capacity
        self._refilled_at = clock()
        self._blocked_until = 0.0

    @property
    def per_minute(self) -> float:
        return self._per_minute

    def take(self) -> float:
        """Take a token; returns the seconds to wait until it may be used."""
        self._refill()
        self._tokens -= 1
        wait = -self._tokens / self._per_second if self._tokens < 0 else 0.0
        return max(wait, self._blocked_until - self._clock(), 0.0)

    def try_take(self, reserve: float) -> bool:
        """Take a token if there is one now and at least `reserve` more stay."""
        self._refill()
        reserve = min(reserve, self._capacity - 1)
        if self._tokens < 1 + reserve or self._clock() < self._blocked_until:
            return False
        self._tokens -= 1
        return True

    def block(self, seconds: float) -> None:
        """Slack answered 429: no calls for so long, and fewer after that if the rate is a guess."""
        self._refill()
        self._tokens = min(self._tokens, 0.0)
        self._blocked_until = max(self._blocked_until, self._clock() + seconds)
        if not self._is_documented:
            self._set_rate(max(self._floor, self._per_minute / 2))

    def _set_rate(self, per_minute: float) -> None:
        # Any minute sees at most the burst and what is refilled meanwhile: together the rate.
        self._per_minute = per_minute
        self._capacity = max(1.0, self._burst or per_minute * BURST)
        self._per_second = max(per_minute - self._capacity, per_minute * 0.5) / 60

    def _refill(self) -> None:
        now = self._clock()
        tokens = self._tokens + (now - self._refilled_at) * self._per_second
        self._tokens, self._refilled_at = min(self._capacity, tokens), now


class Pacer:
    """The buckets of one workspace."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._methods: dict[str, Bucket] = {}
        self._channels: RecentDict[tuple[str, str], Bucket] = RecentDict(MAX_CHANNELS)

    async def acquire(self, method: str, channel: str = "") -> None:
        """Wait until the method may be called."""
        wait = max(bucket.take() for bucket in self._buckets(method, channel))
        if wait > 0:
            await asyncio.sleep(wait)

    def try_acquire(self, method: str, channel: str = "") -> bool:
        """Whether the method may be called now, with room left for required calls."""
        buckets = self._buckets(method, channel)
        reserves = [RESERVE] + [0] * (len(buckets) - 1)
        return all(b.try_take(reserve) for b, reserve in zip(buckets, reserves, strict=True))

    def block(self, method: str, seconds: float) -> None:
        """Slack answered 429 with this Retry-After."""
        self._method_bucket(method).block(seconds)

    def _buckets(self, method: str, channel: str) -> list[Bucket]:
        buckets = [self._method_bucket(method)]
        if channel and method in _POSTS:
            key = (method, channel)
            bucket = self._channels.get(key) or Bucket(PER_CHANNEL, self._clock)
            self._channels[key] = bucket  # set again: the one unused for longest drops out
            buckets.append(bucket)
        return buckets

    def _method_bucket(self, method: str) -> Bucket:
        if method not in self._methods:
            self._methods[method] = Bucket(RATES.get(method, _UNKNOWN), self._clock)
        return self._methods[method]
