"""What the core says to people and to the model: notes, refusals, errors, standing prompts."""

from __future__ import annotations

from collections.abc import Container

from bot.core.records import Turn
from bot.core.safe_names import file_name, one_line, some

AT_LENGTH = "This is as long as a reply may be; ask me to go on if it stops short."
RESTARTING = "I am being restarted and will answer this again in a moment."
PREVIEW = "A preview: nothing is saved, and only you see it."
PREVIEW_CUT = "It is cut short here."
SUMMARIZE = (
    "Summarize the messages above in a few short points: what they are about, what was decided, "
    "and what is still open."
)
NOTHING_TO_READ = "I can't read anything in that message. Please write me something."
CANT_ANSWER_HERE = "I can't answer that here."
SWITCHED_OFF = "I'm turned off here (mode=never). An admin can change that in the settings."
BLIND = "I can't see pictures: this model reads text only. Gemma 3 4B, 12B and 27B see them."


def history_cut(turns: int) -> str | None:
    """The start of a long thread is not in the prompt any more."""
    if not turns:
        return None
    first = "turn" if turns == 1 else f"{turns} turns"
    return f"I no longer see the first {first} of this thread."


def history_unread(ref: str) -> str:
    """What was said before could not be read; the log has more under the reference."""
    return f"I could not read what was said here before (reference {ref})."


def files(turn: Turn) -> tuple[str, ...]:
    """A line for each file of the question that could not be used, or not all of it; one line for
    many that have the same said of them."""
    said: dict[str, list[str]] = {}
    for message in turn.messages:
        for attachment in message.attachments:
            words = attachment.note if attachment.problem is None else attachment.problem
            if words:
                said.setdefault(one_line(words, 200), []).append(file_name(attachment.name))
    return tuple(f"{some(names)}: {words}" for words, names in said.items())


def files_cut(names: tuple[str, ...]) -> str | None:
    """Texts of the question that are too long for the prompt."""
    if not names:
        return None
    some_names = some([file_name(name) for name in names])
    return f"{some_names}: longer than I can read at once, so I read the start and the end"


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
    names = some([file_name(name) for name in hidden])
    return f"That was more than I can look at at once, so I did not see: {names}."


def collect(*notes: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """All of these in one tuple."""
    lines: list[str] = []
    for note in notes:
        if isinstance(note, tuple):
            lines += note
        elif note:
            lines.append(note)
    return tuple(lines)


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
