"""What Parley remembers: conversations, turns, pictures, personas; plain data, no SQL."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from bot.core.events import ThreadKey


class TurnState(StrEnum):
    """Where a turn is on its way. `accepted` and `answering` are work still owed."""

    ACCEPTED = "accepted"
    ANSWERING = "answering"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class NormalisedImage:
    """A picture ready for the model: encoded RGB bytes (PNG, JPEG or WebP) and their SHA-256."""

    data: bytes = field(repr=False)
    digest: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class StoredAttachment:
    """A file on a stored message. `digest` names the picture's bytes once they are stored;
    `problem` says why there are none ("too large, 31 MB, limit 20 MB"); neither: not read yet."""

    id: int
    name: str
    digest: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class UserMessage:
    """One message of a person, as stored."""

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


@dataclass(frozen=True, slots=True)
class Accepted:
    """What `Store.accept` made of a message. `merged`: it joined a turn that waited already."""

    turn_id: int
    message_id: int
    attachment_ids: tuple[int, ...]  # in the order of the event's attachments
    merged: bool


@dataclass(frozen=True, slots=True)
class SamplingOverrides:
    """The sampling settings a persona carries; None inherits the setting of the operator."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    max_new_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class PersonaVersion:
    """A persona as somebody set it on a scope. `text is None`: cleared, so it inherits again."""

    id: int
    scope: ThreadKey
    text: str | None
    sampling: SamplingOverrides
    name: str | None  # of the library's persona it was copied from
    set_by_id: str
    set_by_name: str
    at: datetime


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
