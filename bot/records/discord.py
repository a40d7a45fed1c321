"""A Discord interaction that waits for its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class SavedInteraction:
    """An interaction through which a question is answered, for fifteen minutes.

    `question_id` is the question's id in the core. `pressed` is the message whose button was
    pressed, if the interaction came from one. `private`: only the asker sees the answer.
    `token` lets its holder answer, and is a secret for those fifteen minutes.
    """

    question_id: str
    interaction: int
    application: int = field(repr=False)
    channel: int = field(repr=False)
    at: datetime = field(repr=False)
    private: bool = field(repr=False)
    pressed: int | None = field(repr=False)
    token: str = field(repr=False)
