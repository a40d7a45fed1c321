"""A Discord interaction that waits for its answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class SavedAsk:
    """An interaction through which a question is answered, for fifteen minutes.

    `asking`: the id of the question, as the core stores it. `pressed`: the message under which a
    button was pressed, if that is how it came about. `private`: only the asker sees the answer.
    `token`: lets its holder answer; it is a secret while it lives.
    """

    asking: str
    interaction: int
    application: int
    channel: int
    at: datetime
    private: bool
    pressed: int | None
    token: str

    def __repr__(self) -> str:
        return f"SavedAsk(asking={self.asking!r}, interaction={self.interaction})"
