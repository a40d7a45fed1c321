"""What the core asks of the outside: a store, a platform to answer on, a reader of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from bot.core.events import Author, MessageReceived, ThreadKey
from bot.core.records import (
    Accepted,
    NormalisedImage,
    PersonaVersion,
    SamplingOverrides,
    Turn,
    TurnState,
    TurnUsage,
)


class Store(Protocol):
    """The database, as the core sees it. Each method is one transaction."""

    async def accept(self, key: ThreadKey, event: MessageReceived) -> Accepted | None:
        """Claim the message and write it down as work, in one transaction.

        It joins the conversation's turn that is still `accepted`, or makes one. Attachments get
        rows without bytes. Returns None where (platform, workspace, channel, message id) has been
        claimed before: somebody delivered it twice.
        """
        ...

    async def set_attachment(
        self, attachment_id: int, image: NormalisedImage | None, problem: str | None
    ) -> None:
        """Give an attachment its bytes (stored once per digest) or the reason why it has none."""
        ...

    async def image(self, digest: str) -> bytes | None:
        """A stored picture's bytes."""
        ...

    async def next_turn(self, key: ThreadKey) -> Turn | None:
        """The conversation's oldest `accepted` turn, now `answering`; None when nothing waits."""
        ...

    async def reopen_turn(self, turn_id: int) -> Turn | None:
        """Make a finished or running turn `answering` again, its reply emptied (regenerate)."""
        ...

    async def save_reply(
        self,
        turn_id: int,
        state: TurnState,
        *,
        text: str = "",
        token_ids: Sequence[int] = (),
        finish_reason: str | None = None,
        posted: Sequence[str] = (),
        ref: str | None = None,
        usage: TurnUsage | None = None,
    ) -> None:
        """End a turn. A turn that was deleted meanwhile is left deleted."""
        ...

    async def set_posted(self, turn_id: int, posted: Sequence[str]) -> None:
        """Note where a reply stands on its platform, as soon as it stands there."""
        ...

    async def turn(self, turn_id: int) -> Turn | None:
        """One turn."""
        ...

    async def transcript(self, key: ThreadKey, before_turn: int | None = None) -> list[Turn]:
        """The conversation's finished turns that have a reply text, oldest first, those before
        `before_turn` only (also partial replies of stopped turns)."""
        ...

    async def unfinished(self) -> list[Turn]:
        """Turns still owed (`accepted`, `answering`), oldest first: what a crash left behind."""
        ...

    async def release_turn(self, turn_id: int) -> None:
        """Hand an `answering` turn back as `accepted` (shutdown, recovery)."""
        ...

    async def edit_message(self, key: ThreadKey, platform_id: str, text: str) -> Turn | None:
        """Change a stored message found by (platform, workspace, channel, id), in any thread;
        the turn it is in, or None if there is no such message."""
        ...

    async def delete_message(self, key: ThreadKey, platform_id: str) -> Turn | None:
        """Really delete a stored message with its attachments (and pictures nobody else uses);
        a turn without messages goes too. Returns the turn as it was before, or None."""
        ...

    async def has_conversation(self, key: ThreadKey) -> bool:
        """Whether the bot is in this thread."""
        ...

    async def reset(self, key: ThreadKey) -> int:
        """Really delete a conversation's turns, messages and pictures; how many turns."""
        ...

    async def personas(self, scopes: Sequence[ThreadKey]) -> Mapping[ThreadKey, PersonaVersion]:
        """The latest version on each scope that has one."""
        ...

    async def persona_history(self, scope: ThreadKey) -> list[PersonaVersion]:
        """All versions on a scope, newest first."""
        ...

    async def add_persona_version(
        self,
        scope: ThreadKey,
        text: str | None,
        sampling: SamplingOverrides,
        by: Author,
        name: str | None = None,
    ) -> PersonaVersion:
        """Set (or with None clear) a scope's persona; earlier versions stay."""
        ...


@dataclass(frozen=True, slots=True)
class FinishedReply:
    """How a reply ends. `notes` are short lines for its foot (history was cut, a file was bad);
    `error` is the one sentence for the person when it failed, with its reference id."""

    state: TurnState  # delivered, failed or cancelled
    text: str  # all of it, also what was written before
    notes: tuple[str, ...] = ()
    error: str | None = None


class ReplySink(Protocol):
    """One reply on its platform, from the first sign of life to its end.

    The core calls these one after another, never at once, and always ends with `finish`,
    also when it fails. How deltas appear (native stream, paced edits, one post) is the sink's.
    """

    async def waiting(self, ahead: int) -> None:
        """The reply is coming; `ahead` others are served first (0: it is next or being read)."""
        ...

    async def write(self, delta: str) -> None:
        """The reply grows by `delta`."""
        ...

    async def restart(self) -> None:
        """What was written is void (the question was edited); writing begins again."""
        ...

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        """The last word. Returns the platform's ids of the messages that carry the reply."""
        ...

    async def withdraw(self) -> None:
        """Take back what was posted (the question was deleted). Instead of `finish`."""
        ...


@runtime_checkable
class KnowsPosted(Protocol):
    """An optional ability of a ReplySink: it knows where the reply stands before it ends.

    The core asks after each call and stores it, so that a reply left half by a crash is replaced
    and not posted twice.
    """

    @property
    def posted(self) -> tuple[str, ...]:
        """The platform's ids of the messages that carry the reply so far."""
        ...


class ReplyTarget(Protocol):
    """A platform, as far as the core answers on it."""

    async def open_reply(self, turn: Turn) -> ReplySink:
        """Begin the reply to a turn at `turn.key`. When `turn.posted` is not empty (regenerate),
        the new reply takes the place of the old one."""
        ...


class ImageReader(Protocol):
    """Turns an uploaded file's bytes into a picture for the model, off the event loop."""

    async def read(self, data: bytes) -> NormalisedImage:
        """Decode and normalise. Raises BadImage with the reason in a few words."""
        ...


class BadImage(Exception):
    """The file is no picture that can be used; the text is the reason, for people."""


@dataclass(frozen=True, slots=True)
class CommandReply:
    """The answer to a command or a button; `private` is for the one who asked only."""

    text: str
    private: bool = True
    ok: bool = field(default=True)
