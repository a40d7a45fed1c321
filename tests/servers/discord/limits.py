"""Rate limits as Discord has them: buckets with headers, and 429 when one is empty."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Bucket:
    limit: int
    per_s: float
    used: int = 0
    reset_at: float = 0.0

    def take(self, now: float) -> bool:
        if now >= self.reset_at:
            self.used, self.reset_at = 0, now + self.per_s
        self.used += 1
        return self.used <= self.limit

    def headers(self, name: str, now: float) -> dict[str, str]:
        left = max(0.0, self.reset_at - now)
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(0, self.limit - self.used)),
            "X-RateLimit-Reset": f"{time.time() + left:.3f}",
            "X-RateLimit-Reset-After": f"{left:.3f}",
            "X-RateLimit-Bucket": name,
        }


@dataclass
class Limits:
    """`rules`: bucket name -> (requests, seconds). `surprises`: 429s to give without warning."""

    rules: dict[str, tuple[int, float]] = field(
        default_factory=lambda: {"send": (5, 5.0), "edit": (5, 5.0), "other": (50, 1.0)}
    )
    surprises: dict[str, list[float]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)  # the names of buckets that gave a 429
    old_edits: int = 1_000  # edits of messages older than an hour that are still taken
    old_retry_s: float = 0.0  # what is said after how long such an edit can be tried again
    _buckets: dict[tuple[str, str], Bucket] = field(default_factory=dict)

    def check(self, name: str, place: str) -> tuple[dict[str, str], dict[str, Any] | None]:
        """The headers of an answer, and the body of the 429 if it is one."""
        limit, per_s = self.rules[name]
        bucket = self._buckets.setdefault((name, place), Bucket(limit, per_s))
        bucket.limit, bucket.per_s = limit, per_s
        now = time.monotonic()
        waiting = self.surprises.get(name)
        if waiting:
            retry_after = waiting.pop(0)
            self.refused.append(name)
            headers = bucket.headers(name, now)
            return headers, {
                "message": "You are being rate limited.",
                "retry_after": retry_after,
                "global": False,
            }
        fine = bucket.take(now)
        headers = bucket.headers(name, now)
        if fine:
            return headers, None
        self.refused.append(name)
        retry_after = max(0.0, bucket.reset_at - now)
        return headers, {
            "message": "You are being rate limited.",
            "retry_after": retry_after,
            "global": False,
        }
