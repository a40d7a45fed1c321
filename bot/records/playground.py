"""Channels, posts and uploads of the playground."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

#: The content type of what is no picture of our own making: a browser must not try to show it.
DOCUMENT = "application/octet-stream"


class ReplyState(StrEnum):
    """Where one of Parley's posts is on its way."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel, or the direct messages of one person with Parley: `name` is then their id."""

    id: int
    kind: Literal["channel", "dm"]
    name: str

    def visible_to(self, person_id: str) -> bool:
        """Direct messages are their owner's alone."""
        return self.kind == "channel" or self.name == person_id

    @property
    def audience(self) -> str | None:
        """The one person who may see it; None: everybody."""
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
    """What is special about a post of Parley's that answers a turn."""

    turn_id: int
    asker: str
    state: ReplyState
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Post:
    """A message. `thread` is the id of the root it replies to, None for one in the channel itself.

    `removed`: its author deleted it while others had replied; only an empty shell is left.
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
    """A thread, as its root shows it."""

    root: int
    replies: int
    people: tuple[str, ...]  # who wrote in it, in order of appearance
    last: Post | None


class NameTaken(Exception):
    """Another channel has that name."""
