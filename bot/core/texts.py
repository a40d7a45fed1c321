"""What the core says to people: notes below a reply, refusals, errors; and to the model.

The words of the commands are in `bot.core.commands.texts`.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from bot.core.records import Turn
from bot.core.safe_names import file_name, megabytes, one_line, some

# --- To the model

SUMMARIZE = (
    "Summarize the messages above in a few short points: what they are about, what was decided, "
    "and what is still open."
)
PREVIEW_QUESTION = "Hello! Who are you, and what can you do for us?"

# --- Instead of an answer

SWITCHED_OFF = "I'm turned off here (mode=never). An admin can change that in the settings."
NOTHING_TO_READ = "I can't read anything in that message. Please write me something."
CANT_ANSWER_HERE = "I can't answer that here."
UNAVAILABLE = "I'm restarting. Please try again in a moment."


def went_wrong(ref: str) -> str:
    """An event could not be handled; the log has more under the reference."""
    return f"Something went wrong. Please try again (reference {ref})."


def failed(ref: str) -> str:
    """A reply failed; the log has more under the reference."""
    return f"Something went wrong and I couldn't answer. Please try again (reference {ref})."


def stopped(ref: str) -> str:
    """The engine stopped during the reply."""
    return f"I was interrupted while answering. Please ask again in a moment (reference {ref})."


def busy(waiting: int) -> str:
    """The engine's queue is full."""
    requests = "1 request is" if waiting == 1 else f"{waiting} requests are"
    return f"I'm busy: {requests} waiting. Please try again in a moment."


def too_long(tokens: int, budget: int) -> str:
    """The question alone does not fit into a prompt."""
    return (
        f"That's too long for me: {tokens:,} tokens, and I can read {max(budget, 0):,}. "
        "Please send less."
    )


# --- Below a reply

AT_LENGTH = "This is the maximum length of a reply. Ask me to continue if it stops short."
RESTARTING = "I'm restarting and will answer this again in a moment."
PREVIEW = "Preview: nothing is saved, and only you can see it."
PREVIEW_CUT = "The preview is cut off here."
BLIND = "I can't see pictures: this model only reads text. Gemma 3 4B, 12B and 27B see them."


def history_cut(turns: int) -> str | None:
    """The start of a long conversation is not in the prompt any more."""
    if not turns:
        return None
    first = "exchange" if turns == 1 else f"{turns} exchanges"
    return f"I can no longer see the first {first} of this conversation."


def history_unread(ref: str) -> str:
    """Earlier messages could not be read; the log has more under the reference."""
    return f"I couldn't read the earlier messages here (reference {ref})."


def files(turn: Turn) -> tuple[str, ...]:
    """A line for each problem with the question's files, naming all files that have it."""
    names_by_problem: dict[str, list[str]] = {}
    for message in turn.messages:
        for attachment in message.attachments:
            words = attachment.note if attachment.problem is None else attachment.problem
            if words:
                names = names_by_problem.setdefault(one_line(words, 200), [])
                names.append(file_name(attachment.name))
    return tuple(f"{some(names)}: {words}" for words, names in names_by_problem.items())


def files_cut(names: Sequence[str]) -> str | None:
    """Texts of the question that are too long for the prompt."""
    if not names:
        return None
    some_names = some([file_name(name) for name in names])
    return f"{some_names}: too long to read in full, so I read the beginning and the end"


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
    return f"That's more than I can look at at once, so I didn't see: {names}."


def collect(*notes: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """All of these in one tuple."""
    lines: list[str] = []
    for note in notes:
        if isinstance(note, tuple):
            lines += note
        elif note:
            lines.append(note)
    return tuple(lines)


# --- What is wrong with a file, after its name

FILE_LOST = "lost in a restart; please send it again"
FILE_UNKNOWN = "a type of file that I can't read"
FILE_TIMED_OUT = "took too long to load"
FILE_FAILED = "couldn't be loaded"
FILE_FROM_BEFORE = "from before I joined, not read"


def too_many_files(limit: int) -> str:
    return f"too many files; I read {limit} per message"


def file_too_large(size: int, limit: int) -> str:
    return f"too large, {megabytes(size)}, limit {megabytes(limit)}"


# --- Buttons under a reply

REPLY_GONE = "I no longer have that reply."
REGENERATING = "I'm writing another reply."
CANT_REGENERATE = "I can't redo that reply right now."
FEEDBACK_SAVED = "Thanks for the feedback."
STOPPED = "Stopped."
NOT_RUNNING = "That reply isn't being written anymore."

# --- Who may do what

ONLY_ASKER = "Only the person who asked, or an admin, can do that."
ONLY_PARTICIPANTS = "Only someone who takes part in this conversation, or an admin, can do that."
ONLY_ADMIN = "Only an admin can do that."
ONLY_ADMIN_PERSONA = "Only an admin can change the persona here."
ONLY_ADMIN_SETTINGS = "Only an admin can change the settings here."
ONLY_ADMIN_FORGET = "Only an admin can make me forget a whole channel."

# --- Personas

NO_PERSONA_TEXT = "Write the persona's instructions, for example: You are a pirate."
NOTHING_TO_UNDO = "No persona has been set here, so there's nothing to undo."


def persona_too_long(length: int, limit: int) -> str:
    return f"The persona is {length:,} characters long. The limit is {limit:,}."


def not_a_number(name: str, value: str, *, whole: bool) -> str:
    kind = "a whole number" if whole else "a number"
    return f"{name} must be {kind}, not {value[:40]!r}."


def out_of_range(name: str, allowed: object) -> str:
    return f"{name} must be {allowed}."


def no_such_persona(name: str, names: Sequence[str]) -> str:
    return f"There's no persona named {name!r}. Available: {', '.join(names)}."


def persona_exists(name: str) -> str:
    return f"A persona named {name!r} already exists. Choose another name."


def library_full(limit: int) -> str:
    return f"Your library is full ({limit} personas). Remove one first."


def persona_built_in(name: str) -> str:
    return f"{name!r} is built in and can't be changed."


def bad_persona_name(limit: int) -> str:
    return f"A persona's name must have 1 to {limit} characters."


# --- Settings


def no_setting(names: Sequence[str]) -> str:
    return f"Name a setting to change: {', '.join(f'{name}=...' for name in names)}."


def not_a_choice(name: str, choices: Sequence[str]) -> str:
    return f"{name} must be one of: {', '.join(choices)}."


def not_a_whole_number(name: str, greatest: int, otherwise: str) -> str:
    return f"{name} must be a whole number from 0 to {greatest:,}, or {otherwise}."
