"""What the playground keeps, as plain data, and the contract of the store that keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

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


class WorkspaceStore(Protocol):
    """The playground's own tables. Each method is one transaction."""

    async def seed(self, channels: Sequence[str], people: Sequence[str]) -> None:
        """Make these channels where there is none at all, and everybody's direct messages."""
        ...

    async def channels(self) -> list[Channel]:
        """All channels and direct messages, oldest first."""
        ...

    async def channel(self, channel_id: int) -> Channel | None:
        """One channel."""
        ...

    async def add_channel(self, name: str) -> Channel:
        """Make a channel. Raises NameTaken."""
        ...

    async def rename_channel(self, channel_id: int, name: str) -> Channel | None:
        """Rename a channel. Raises NameTaken."""
        ...

    async def page(self, channel_id: int, before: int | None, limit: int) -> list[Post]:
        """The newest root posts (older than `before`), oldest first."""
        ...

    async def thread(self, root: int) -> list[Post]:
        """A thread's replies, oldest first."""
        ...

    async def summaries(self, roots: Sequence[int]) -> Mapping[int, Summary]:
        """Of those roots that have replies."""
        ...

    async def post(self, post_id: int) -> Post | None:
        """One post."""
        ...

    async def reply_to_turn(self, turn_id: int) -> Post | None:
        """The post that carries a turn's reply."""
        ...

    async def add_post(
        self,
        channel_id: int,
        thread: int | None,
        author: str,
        text: str,
        uploads: Sequence[int] = (),
        reply: Reply | None = None,
    ) -> Post:
        """Write a post down. `uploads` that are the author's and unsent become part of it."""
        ...

    async def edit_post(self, post_id: int, text: str) -> Post | None:
        """Another text, marked as edited."""
        ...

    async def save_reply(self, post_id: int, text: str, reply: Reply) -> Post | None:
        """The text and state of a reply."""
        ...

    async def save_text(self, post_id: int, text: str) -> None:
        """The text so far of a reply that is being written."""
        ...

    async def interrupt_replies(self, error: str) -> int:
        """End the replies that a stopped process left unfinished; how many."""
        ...

    async def remove_post(self, post_id: int) -> list[int]:
        """Delete a post with its pictures; a root with replies stays as an empty shell.

        Returns the ids that are gone: with the last reply an empty root goes as well.
        """
        ...

    async def add_upload(
        self, owner: str, name: str, content_type: str, data: bytes, width: int, height: int
    ) -> Upload:
        """Keep a picture that isn't sent yet."""
        ...

    async def upload(self, upload_id: int) -> Upload | None:
        """A picture, without its bytes."""
        ...

    async def upload_data(self, upload_id: int) -> bytes | None:
        """A picture's bytes."""
        ...

    async def unsent_uploads(self, owner: str) -> list[Upload]:
        """The pictures somebody uploaded and hasn't sent."""
        ...

    async def drop_upload(self, upload_id: int) -> None:
        """Delete a picture that isn't sent."""
        ...

    async def prune_uploads(self, before: datetime) -> int:
        """Delete what was uploaded before then and never sent; how many."""
        ...
