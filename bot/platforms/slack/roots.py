"""Which thread a DM's messages are in: the core keeps a DM as one conversation without threads."""

from __future__ import annotations

from bot.platforms.shared.recent import RecentDict

MAX_ROOTS = 20_000


class Roots:
    """Thread roots by message, for messages that are none themselves."""

    def __init__(self) -> None:
        self._roots: RecentDict[tuple[str, str, str], str] = RecentDict(MAX_ROOTS)

    def remember(self, team: str, channel: str, ts: str, root: str) -> None:
        """A message is in the thread of `root`."""
        self._roots[(team, channel, ts)] = root

    def find(self, team: str, channel: str, ts: str) -> str | None:
        """The root, if the message was seen to be in a thread since the start."""
        return self._roots.get((team, channel, ts))
