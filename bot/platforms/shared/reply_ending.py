"""What people read below a reply that has ended: the error, how it ended, the notes."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.ports import FinishedReply
from bot.core.records import TurnState

STOPPED = "Stopped."
NO_ANSWER = "I didn't come up with an answer. Try asking in other words."
REST_IN_FILE = "The rest is in the file."


@dataclass(frozen=True, slots=True)
class ReplyEnding:
    """One sentence about what went wrong, if anything did, and short lines of small print."""

    error: str | None
    notes: tuple[str, ...]

    @property
    def marked_error(self) -> str:
        """The error as it stands in a text; "" where nothing went wrong."""
        return f"⚠️ {self.error}" if self.error else ""


def reply_ending(reply: FinishedReply, *, rest_in_file: bool = False) -> ReplyEnding:
    """How a reply's end reads; never empty where the reply has no text.

    `rest_in_file`: the platform shows the start of the text only and attaches all of it.
    """
    notes = reply.notes
    if not reply.error and not notes and reply.state is TurnState.CANCELLED:
        notes = (STOPPED,)
    elif not reply.error and not reply.text.strip() and reply.state is not TurnState.CANCELLED:
        notes = (NO_ANSWER, *notes)
    if rest_in_file:
        notes = (*notes, REST_IN_FILE)
    return ReplyEnding(reply.error, notes)
