"""Deliveries seen before: Slack retries, and sends some messages as two events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bot.platforms.shared.recent import RecentDict

MAX_CLAIMS = 50_000


class Claims:
    """Ids that this process has seen. Across restarts the core's claim of a message counts."""

    def __init__(self, max_claims: int = MAX_CLAIMS) -> None:
        self._seen: RecentDict[str, None] = RecentDict(max_claims)

    @contextmanager
    def claim(self, *ids: str) -> Iterator[bool]:
        """Claim all of these; False if one was claimed before.

        If the body raises, the claim is undone, so that the next delivery is handled.
        """
        claimed = [name for name in ids if name]
        is_new = not any(name in self._seen for name in claimed)
        for name in claimed:  # also if one is not new: app_mention and message differ in event id
            self._seen[name] = None
        if not is_new:
            yield False
            return
        try:
            yield True
        except BaseException:
            for name in claimed:
                self._seen.pop(name, None)
            raise
