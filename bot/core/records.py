"""Stored records: conversations, turns, pictures, personas, settings. Plain data, no SQL."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeAlias

from bot.core.events import Author, ThreadKey

Rating: TypeAlias = Literal["good", "bad"]


class Mode(StrEnum):
    """When the bot answers."""

    MENTION = "mention"  # when addressed, and in threads it takes part in
    ALWAYS = "always"  # everything that isn't clearly meant for somebody else
    STRICT = "strict"  # only when mentioned, even in its own threads
    NEVER = "never"  # not at all


class TurnState(StrEnum):
    """A turn's state. `accepted` and `answering` turns are still owed."""

    ACCEPTED = "accepted"
    ANSWERING = "answering"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class NormalizedImage:
    """A picture ready for the model: encoded RGB bytes (PNG, JPEG or WebP) and their SHA-256.

    `note`: what of the file it does not show ("it's animated, and I see only the first frame").
    """

    data: bytes = field(repr=False)
    digest: str
    width: int
    height: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class FileText:
    """The text of a file; `note`: what of it is missing ("I read its first 9 of 30 pages")."""

    text: str = field(repr=False)
    note: str = ""


FileContent: TypeAlias = NormalizedImage | FileText


@dataclass(frozen=True, slots=True)
class StoredAttachment:
    """A file on a stored message. `digest` names the picture's bytes once they are stored; `text`
    is the text of a file that is no picture; `problem` says why there is neither ("too large,
    31 MB, limit 20 MB"); none of them: not read yet. `note` says what of it is not shown."""

    id: int
    name: str
    digest: str | None = None
    problem: str | None = None
    text: str | None = field(default=None, repr=False)
    note: str = ""


@dataclass(frozen=True, slots=True)
class UserMessage:
    """A stored message of a person."""

    id: int
    platform_id: str
    author_id: str
    author_name: str
    text: str
    attachments: tuple[StoredAttachment, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class Turn:
    """One user message (or a burst merged into one) and its reply, which is "" until there is one.

    `reply_token_ids` are the ids that the model generated, kept for exact reuse. `posted` are the
    platform's ids of the messages that carry the reply. `ref` is the reference id of a failure.
    """

    id: int
    conversation_id: int
    key: ThreadKey
    state: TurnState
    messages: tuple[UserMessage, ...]
    reply_text: str = ""
    reply_token_ids: tuple[int, ...] = ()
    finish_reason: str | None = None
    posted: tuple[str, ...] = ()
    ref: str | None = None

    @property
    def asker(self) -> str:
        """The id of the person who wrote last; "" if their message was deleted."""
        return self.messages[-1].author_id if self.messages else ""

    @property
    def question_id(self) -> str:
        """The platform's id of the last message; "" if it was deleted."""
        return self.messages[-1].platform_id if self.messages else ""


@dataclass(frozen=True, slots=True)
class ResetPoint:
    """What was said at a scope (or below it) until `at` was forgotten, and is not read again.

    `person`: the `person_hash` of the one whose messages it covers; "" covers everybody's.
    """

    scope: ThreadKey
    at: datetime
    person: str = ""


def person_hash(workspace: ThreadKey, user_id: str) -> str:
    """A hash that stands for a person: the record of a forgotten person must not name them."""
    whole = f"{workspace.platform}/{workspace.workspace}/{user_id}"
    return hashlib.sha256(whole.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result of `TurnStore.accept`. `merged`: the message joined a waiting turn."""

    turn_id: int
    message_id: int
    attachment_ids: tuple[int, ...]  # in the order of the event's attachments
    merged: bool


@dataclass(frozen=True, slots=True)
class SamplingOverrides:
    """A persona's sampling settings; None inherits the operator's."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    max_new_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class PersonaVersion:
    """A persona as set on a scope. `text is None`: cleared, so the scope inherits again."""

    id: int
    scope: ThreadKey
    text: str | None
    sampling: SamplingOverrides
    name: str | None  # of the library persona it was copied from
    set_by_id: str
    set_by_name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ResolvedPersona:
    """The persona in effect at a place. `source` is None where it is the built-in one."""

    text: str
    sampling: SamplingOverrides
    source: PersonaVersion | None


@dataclass(frozen=True, slots=True)
class TurnUsage:
    """What one reply took, for the usage table. Times in seconds."""

    turn_id: int
    platform: str
    workspace: str
    user_id: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    queue_s: float
    ttft_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """How the bot behaves at a scope. None inherits: thread, channel, workspace, operator.

    `retention_days`: days until a conversation's turns are deleted; 0 keeps them. `max_images`:
    pictures in one prompt, never more than the operator allows.
    """

    mode: Mode | None = None
    inline: bool | None = None
    answer_bots: bool | None = None
    retention_days: int | None = None
    max_images: int | None = None


@dataclass(frozen=True, slots=True)
class LibraryPersona:
    """A named persona to choose from: built in, or from a workspace's own library."""

    name: str
    text: str
    sampling: SamplingOverrides = SamplingOverrides()
    built_in: bool = False
    set_by_name: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """An entry for the audit trail, stored in the same transaction as the change."""

    by: Author
    action: str  # the command's name
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who changed what at a scope, and when."""

    id: int
    at: datetime
    scope: ThreadKey
    by_id: str
    by_name: str
    action: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """Usage of the last `days` in a workspace.

    `by_user`: (user id, replies, tokens read and written), the greatest first; `names` has the
    display names that are known. User id "" stands for people who were forgotten.
    """

    days: int
    replies: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    by_user: list[tuple[str, int, int]] = field(default_factory=list)
    names: Mapping[str, str] = field(default_factory=dict)
    good: int = 0  # feedback on replies that are still stored
    bad: int = 0


@dataclass(frozen=True, slots=True)
class WorkspaceOverview:
    """A workspace at a glance, for admins: personas, settings, usage, latest changes."""

    personas: list[PersonaVersion]  # the latest on each scope that has one now
    settings: Mapping[ThreadKey, ChannelSettings]  # as set, not resolved
    usage: UsageSummary  # of 30 days
    audit: list[AuditEntry]  # newest first
