"""The sentences that people read under a reply or instead of one."""

from __future__ import annotations

from collections.abc import Container

from bot.core.labels import file_name, one_line
from bot.core.records import Turn

AT_LENGTH = "This is as long as a reply may be; ask me to go on if it stops short."
RESTARTING = "I am being restarted and will answer this again in a moment."
BLIND = "I can't see pictures: this model reads text only. Gemma 3 4B, 12B and 27B see them."


def history_cut(turns: int) -> str | None:
    """The start of a long thread is not in the prompt any more."""
    if not turns:
        return None
    first = "turn" if turns == 1 else f"{turns} turns"
    return f"I no longer see the first {first} of this thread."


def bad_attachments(turn: Turn) -> tuple[str, ...]:
    """One line for each file of the question that could not be used."""
    return tuple(
        f"{file_name(attachment.name)}: {one_line(attachment.problem, 200)}"
        for message in turn.messages
        for attachment in message.attachments
        if attachment.problem is not None
    )


def unseen_pictures(turn: Turn, shown: Container[int], sees_images: bool) -> str | None:
    """Pictures of the question that the model does not get to see."""
    hidden = [
        attachment.name
        for message in turn.messages
        for attachment in message.attachments
        if attachment.digest is not None and attachment.id not in shown
    ]
    if not hidden:
        return None
    if not sees_images:
        return BLIND
    names = ", ".join(map(file_name, hidden))
    return f"That was more than I can look at at once, so I did not see: {names}."


def collect(*notes: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """All of these in one tuple."""
    found: list[str] = []
    for note in notes:
        if isinstance(note, tuple):
            found += note
        elif note:
            found.append(note)
    return tuple(found)


def busy(waiting: int) -> str:
    """The engine's queue is full."""
    number = "1 is" if waiting == 1 else f"{waiting} are"
    return f"I am busy, {number} waiting; try again in a moment."


def failed(ref: str) -> str:
    """Something went wrong; the log has more under the reference."""
    return f"Something went wrong and I could not answer; please try again (reference {ref})."


def stopped(ref: str) -> str:
    """The engine was stopped under the reply."""
    return f"I was stopped while answering; please ask again in a moment (reference {ref})."
