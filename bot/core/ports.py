"""The interfaces around the core: what it asks of stores, platforms and file readers, and what
adapters ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable

from bot.core.events import Author, Inbound, MessageReceived, PastMessage, ThreadKey
from bot.core.records import (
    Accepted,
    AuditEntry,
    Change,
    ChannelSettings,
    FileContent,
    LibraryPersona,
    NormalizedImage,
    PersonaVersion,
    Rating,
    ResetPoint,
    ResolvedPersona,
    SamplingOverrides,
    Turn,
    TurnState,
    TurnUsage,
    UsageSummary,
    WorkspaceOverview,
)


class TurnStore(Protocol):
    """Conversations as they are talked: messages, turns, attachments, replies. Each method is one
    transaction."""

    async def accept(self, key: ThreadKey, event: MessageReceived) -> Accepted | None:
        """Claim the message and write it down as work, in one transaction.

        It joins the conversation's turn that is still `accepted`, or makes one. Attachments get
        rows without bytes. Returns None where (platform, workspace, channel, message id) has been
        claimed before: somebody delivered it twice.
        """
        ...

    async def claim(self, key: ThreadKey, message_id: str) -> bool:
        """Claim a message that is not stored (a typed command); False if it was before."""
        ...

    async def add_earlier(
        self, key: ThreadKey, past: Sequence[PastMessage]
    ) -> tuple[tuple[int, ...], ...]:
        """Put what was said before the bot joined (oldest first) in front of the one turn that
        waits in a new conversation; that turn may get another id by it.

        Returns each message's attachment ids, or () where there are other turns, or none:
        then nothing is stored. Claims are not made.
        """
        ...

    async def set_attachment(
        self, attachment_id: int, content: FileContent | None, problem: str | None
    ) -> None:
        """Give an attachment its picture (bytes are stored once per digest) or its text, or the
        reason why it has neither."""
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

    async def release_turn(self, turn_id: int) -> None:
        """Hand an `answering` turn back as `accepted` (shutdown, recovery)."""
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

    async def rate(self, turn_id: int, user_id: str, rating: Rating) -> bool:
        """Store somebody's feedback on a reply, instead of their last; False if it is gone."""
        ...

    async def turn(self, turn_id: int) -> Turn | None:
        """One turn."""
        ...

    async def transcript(self, key: ThreadKey, before_turn: int | None = None) -> list[Turn]:
        """The conversation's finished turns that have a reply text, oldest first, those before
        `before_turn` only (also partial replies of stopped turns); and of what was said before
        the bot joined also what has none."""
        ...

    async def unfinished(self) -> list[Turn]:
        """Turns still owed (`accepted`, `answering`), oldest first: what a crash left behind."""
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

    async def conversation_of(self, channel: ThreadKey, posted: str) -> ThreadKey | None:
        """The conversation in this channel, or in a thread of it, to which a reply belongs that
        stands in the message `posted` (one of a turn's `posted`); None if there is none."""
        ...

    async def active_conversations(
        self, platform: str, workspace: str, since: datetime
    ) -> list[tuple[ThreadKey, str]]:
        """The conversations with a message since then, and their last message's platform id."""
        ...


class PersonaStore(Protocol):
    """Personas by scope, with their history, and each workspace's library of them. Each method is
    one transaction. Names in a library are unique whatever their case."""

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
        change: Change | None = None,
    ) -> PersonaVersion:
        """Set (or with None clear) a scope's persona; earlier versions stay."""
        ...

    async def workspace_personas(self, workspace: ThreadKey) -> list[PersonaVersion]:
        """The latest version on each scope of a workspace that has a persona now."""
        ...

    async def library(self, workspace: ThreadKey) -> list[LibraryPersona]:
        """A workspace's own personas, by name."""
        ...

    async def save_library_persona(
        self, workspace: ThreadKey, persona: LibraryPersona, change: Change
    ) -> None:
        """Add a persona to a workspace's library, or replace the one of this name."""
        ...

    async def remove_library_persona(self, workspace: ThreadKey, name: str, change: Change) -> bool:
        """Remove a persona from a workspace's library; False (and no audit) if it has none."""
        ...


class SettingsStore(Protocol):
    """What admins set by scope, who changed it, and what replies took. Each method is one
    transaction."""

    async def channel_settings(
        self, scopes: Sequence[ThreadKey]
    ) -> Mapping[ThreadKey, ChannelSettings]:
        """What is set on each of the scopes that has something set."""
        ...

    async def set_channel_settings(
        self, scope: ThreadKey, changed: ChannelSettings, change: Change
    ) -> None:
        """Replace a scope's settings."""
        ...

    async def workspace_settings(self, workspace: ThreadKey) -> Mapping[ThreadKey, ChannelSettings]:
        """What is set anywhere in a workspace."""
        ...

    async def audit(self, workspace: ThreadKey, limit: int) -> list[AuditEntry]:
        """The last changes in a workspace, newest first."""
        ...

    async def usage(
        self, workspace: ThreadKey, days: int, user_id: str | None = None
    ) -> UsageSummary:
        """What the replies of the last days took, everybody's or one person's."""
        ...


class RetentionStore(Protocol):
    """Deletes for good: on request, and what is past its retention. Each method is one
    transaction."""

    async def reset(self, key: ThreadKey, at: datetime) -> int:
        """Really delete a conversation's turns, messages and pictures, and set its reset point to
        `at`; how many turns."""
        ...

    async def forget(
        self,
        scope: ThreadKey,
        user_id: str | None = None,
        change: Change | None = None,
        *,
        at: datetime,
    ) -> int:
        """Really delete the turns below a scope (all channels and threads that it means), or
        only what one person wrote there and the replies to it; how many turns. The scope's reset
        point, or the person's there, is set to `at`.

        With a person their usage and feedback is made nobody's as well.
        """
        ...

    async def reset_points(
        self, key: ThreadKey, message_ids: Sequence[str]
    ) -> Sequence[ResetPoint]:
        """The reset points that concern a conversation at `key` into which these messages would
        be read: of its scopes, and of the threads that were opened from one of the messages."""
        ...

    async def shortest_retention(self) -> int | None:
        """The smallest retention that is set anywhere, in days, 0 aside; None: nothing is set."""
        ...

    async def conversations_before(self, before: datetime) -> list[ThreadKey]:
        """The conversations that have finished turns of before then."""
        ...

    async def delete_turns(self, key: ThreadKey, before: datetime) -> int:
        """Really delete a conversation's finished turns of before then; how many."""
        ...

    async def forget_claims(self, before: datetime) -> int:
        """Delete claims older than any platform repeats a delivery for; how many."""
        ...


class Store(TurnStore, PersonaStore, SettingsStore, RetentionStore, Protocol):
    """The four in one, as the composition root hands them to the service. Everything else asks
    for the port that it uses."""


class InboundHandler(Protocol):
    """Where an adapter hands what happens on its platform: `Service.handle`."""

    async def __call__(self, event: Inbound, /) -> CommandReply | None:
        """Take an event in. Returns soon: replies are written by tasks of their own.

        Returns the answer for the person who caused it, if there is one to give: to a command, a
        button, or a message that could not be accepted. Raises nothing.
        """
        ...


class CoreQueries(Protocol):
    """What adapters read of the core: for forms, autocomplete, App Home and catching up."""

    async def persona_at(self, key: ThreadKey) -> ResolvedPersona:
        """The persona in effect at a place."""
        ...

    async def library(self, key: ThreadKey) -> list[LibraryPersona]:
        """The personas that can be taken in a workspace: the built-in ones, then its own."""
        ...

    async def overview(self, workspace: ThreadKey) -> WorkspaceOverview:
        """A workspace at a glance, for its admins."""
        ...

    async def active_conversations(
        self, platform: str, workspace: str, since: datetime
    ) -> list[tuple[ThreadKey, str]]:
        """The conversations with a message since then, each with the platform's id of its last
        one: to read what was missed. A message that was accepted already is ignored when it
        comes again."""
        ...

    async def turn(self, turn_id: int) -> Turn | None:
        """One turn, None if it was deleted."""
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

    async def read(self, data: bytes) -> NormalizedImage:
        """Decode and normalize. Raises BadImage with the reason in a few words."""
        ...


class FileReader(Protocol):
    """Turns any attached file's bytes into a picture or a text, off the event loop."""

    async def read_file(self, data: bytes) -> FileContent:
        """Judge it by its bytes and read it. Raises BadImage with the reason in a few words."""
        ...


class BadImage(Exception):
    """The file is nothing that can be used; the text is the reason, for people."""


@dataclass(frozen=True, slots=True)
class CommandReply:
    """The answer to a command or a button; `private` is for the one who asked only."""

    text: str
    private: bool = True
    ok: bool = field(default=True)
