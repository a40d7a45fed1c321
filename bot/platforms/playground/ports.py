"""What the playground asks of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from bot.records.playground import Channel, Post, Reply, Summary, Upload


class WorkspaceStore(Protocol):
    """The playground's own tables. Each method is one transaction."""

    async def seed(self, channels: Sequence[str], people: Sequence[str]) -> None:
        """Create these channels if there are none, and each person's direct messages."""
        ...

    async def channels(self) -> list[Channel]:
        """All channels and direct messages, oldest first."""
        ...

    async def channel(self, channel_id: int) -> Channel | None:
        """One channel."""
        ...

    async def add_channel(self, name: str) -> Channel:
        """Raises NameTaken."""
        ...

    async def rename_channel(self, channel_id: int, name: str) -> Channel | None:
        """None if there is no such channel. Raises NameTaken."""
        ...

    async def page(self, channel_id: int, before: int | None, limit: int) -> list[Post]:
        """The newest root posts (older than the post `before`), oldest first."""
        ...

    async def thread(self, root: int) -> list[Post]:
        """A thread's replies, oldest first."""
        ...

    async def summaries(self, roots: Sequence[int]) -> Mapping[int, Summary]:
        """The summaries of those roots that have replies."""
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
        """Add a post. Those of `uploads` that are the author's and unsent become part of it."""
        ...

    async def edit_post(self, post_id: int, text: str) -> Post | None:
        """Replace the text and mark the post as edited; None if there is no such post."""
        ...

    async def save_reply(self, post_id: int, text: str, reply: Reply) -> Post | None:
        """Store the text and state of a reply; None if there is no such post."""
        ...

    async def save_text(self, post_id: int, text: str) -> None:
        """Store the text so far of a reply that is being written."""
        ...

    async def interrupt_replies(self, error: str) -> int:
        """Mark the replies that a stopped process left unfinished as failed; how many."""
        ...

    async def remove_post(self, post_id: int) -> list[int]:
        """Delete a post with its uploads; a root with replies stays as a placeholder.

        Returns the ids of the deleted posts: with the last reply its placeholder goes, too.
        """
        ...

    async def add_upload(
        self, owner: str, name: str, content_type: str, data: bytes, width: int, height: int
    ) -> Upload:
        """Store a file that is not sent yet."""
        ...

    async def upload(self, upload_id: int) -> Upload | None:
        """A file, without its bytes."""
        ...

    async def upload_data(self, upload_id: int) -> bytes | None:
        """A file's bytes."""
        ...

    async def unsent_uploads(self, owner: str) -> list[Upload]:
        """The files that a person uploaded and has not sent."""
        ...

    async def drop_upload(self, upload_id: int) -> None:
        """Delete a file that is not sent."""
        ...

    async def prune_uploads(self, before: datetime) -> int:
        """Delete the files uploaded before then and never sent; how many."""
        ...
