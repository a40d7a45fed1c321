"""What has been delivered already: Slack repeats itself, and says some things twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bot.platforms.shared.recent import RecentDict

MAX_CLAIMS = 50_000


class Claims:
    """Ids seen by this process. Across restarts the core's own claim of a message counts."""

    def __init__(self, max_claims: int = MAX_CLAIMS) -> None:
        self._seen: RecentDict[str, None] = RecentDict(max_claims)

    @contextmanager
    def claim(self, *ids: str) -> Iterator[bool]:
        """Claim all of these; False where one was claimed before.

        Where the body raises, the claim is given back: the next delivery tries again.
        """
        known = [name for name in ids if name]
        if any(name in self._seen for name in known):
            # Also what is new of it: an app_mention's event id and its message's differ.
            self._add(known)
            yield False
            return
        self._add(known)
        try:
            yield True
        except BaseException:
            for name in known:
                self._seen.pop(name, None)
            raise

    def _add(self, names: list[str]) -> None:
        for name in names:
            self._seen[name] = None
