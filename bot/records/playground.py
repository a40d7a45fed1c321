"""Channels, posts and uploads of the playground."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

#: The content type of files that are not normalized pictures: browsers must not render them.
DOCUMENT = "application/octet-stream"


class ReplyState(StrEnum):
    """The state of one of Parley's replies."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel, or one person's direct messages with Parley; `name` is then the person's id."""

    id: int
    kind: Literal["channel", "dm"]
    name: str

    def visible_to(self, person_id: str) -> bool:
        """Only the person sees their direct messages."""
        return self.kind == "channel" or self.name == person_id

    @property
    def audience(self) -> str | None:
        """The one person who may see it; None for everyone."""
        return self.name if self.kind == "dm" else None


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture or a `DOCUMENT`, without its bytes. `post_id` is None until it is sent.

    `width` and `height` are a picture's pixels, else 0.
    """

    id: int
    owner: str
    post_id: int | None
    name: str
    content_type: str
    size: int  # bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What a post has in addition if it is Parley's reply to a turn."""

    turn_id: int
    asker: str
    state: ReplyState
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Post:
    """A message. `thread` is the id of its thread's root, None for one in the channel itself.

    `removed`: its author deleted it after others had replied; it stays as a placeholder.
    """

    id: int
    channel_id: int
    thread: int | None
    author: str
    text: str
    at: datetime
    edited: bool = False
    removed: bool = False
    uploads: tuple[Upload, ...] = ()
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """A thread, as shown below its root."""

    root: int
    replies: int
    people: tuple[str, ...]  # its authors, in order of their first post
    last: Post | None


class NameTaken(Exception):
    """Another channel has that name."""
