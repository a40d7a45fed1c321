"""Which thread a DM's messages are in: the core keeps a DM as one conversation without threads."""

from __future__ import annotations

MOST = 20_000


class Roots:
    """Thread roots by message, for messages that are none themselves."""

    def __init__(self) -> None:
        self._roots: dict[tuple[str, str, str], str] = {}

    def remember(self, team: str, channel: str, ts: str, root: str) -> None:
        """A message is in the thread of `root`."""
        while len(self._roots) >= MOST:
            del self._roots[next(iter(self._roots))]
        self._roots[(team, channel, ts)] = root

    def find(self, team: str, channel: str, ts: str) -> str | None:
        """The root, if the message was seen to be in a thread since the start."""
        return self._roots.get((team, channel, ts))
