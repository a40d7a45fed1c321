"""What people do with messages: write, edit, delete, command, stop; written down, then handed on.

The core is told after the page has shown it; what the core answers in private goes back to the
one who asked.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Literal

from bot.core.commands import parsing
from bot.core.events import (
    Attachment,
    CommandInvoked,
    ControlPressed,
    Inbound,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    ThreadKey,
)
from bot.core.ports import CommandReply, InboundHandler
from bot.platforms.playground.people import BOT, Person
from bot.platforms.playground.refusal import Refused
from bot.platforms.playground.text import read_message
from bot.platforms.playground.workspace import Workspace
from bot.records.playground import Channel, Post, Upload

log = logging.getLogger(__name__)

# "/persona", not "/usr/bin" and not "//".
_COMMAND = re.compile(r"/[a-z]+(?:\s|\Z)", re.IGNORECASE)


class Messages:
    """The actions of people, each ending in an event for the core."""

    def __init__(self, workspace: Workspace, handle: InboundHandler) -> None:
        self._workspace = workspace
        self._handle = handle

    async def write(
        self,
        person: Person,
        channel: Channel,
        root: Post | None,
        text: str,
        uploads: Sequence[int],
    ) -> tuple[Post | None, CommandReply | None]:
        """A message, or a command typed as one (then there is no post).

        Raises:
            Refused: 400 for an empty message or pictures that aren't the author's.
        """
        if not uploads and _COMMAND.match(text):
            return None, await self._run_command(person, channel, root, text)
        if not text and not uploads:
            raise Refused(400, "Write something first.")
        await self._check_uploads(person, uploads)
        thread = root.id if root else None
        post = await self._workspace.add_post(channel, thread, person.id, text, uploads)
        return post, await self._tell(self._received(person, channel, root, post))

    async def edit(self, person: Person, post: Post, text: str) -> tuple[Post, CommandReply | None]:
        """Another text for one's own message; what the core answers to it in private, if anything.

        Raises:
            Refused: 400, 403, 404.
        """
        _require_own(person, post)
        if not text and not post.uploads:
            raise Refused(400, "An empty message can't be kept: delete it instead.")
        edited = await self._workspace.edit_post(post, text)
        channel = await self._workspace.channel(post.channel_id, person)
        root = None if post.thread is None else await self._workspace.post(post.thread, person)
        message = self._received(person, channel, root, edited)
        event = MessageEdited(message.key, message.id, message.author, message.text, message)
        return edited, await self._tell(event)

    async def delete(self, person: Person, post: Post) -> None:
        """Delete one's own message. Raises Refused (403)."""
        _require_own(person, post)
        try:
            # First, so that a reply to it is cancelled and withdrawn before its place is gone.
            await self._tell(MessageDeleted(_key(post), str(post.id)))
        finally:
            await self._workspace.remove_post(post)

    async def press(
        self, person: Person, post: Post, action: Literal["stop", "regenerate"]
    ) -> CommandReply | None:
        """A button under a reply. Raises Refused (400) where there is none."""
        if post.reply is None:
            raise Refused(400, "That is not a reply of Parley's.")
        return await self._tell(
            ControlPressed(_key(post), person.author(), action, post.reply.turn_id)
        )

    async def _run_command(
        self, person: Person, channel: Channel, root: Post | None, text: str
    ) -> CommandReply | None:
        parsed = parsing.parse(text)
        if isinstance(parsed, parsing.CommandError):
            return CommandReply(parsed.text, ok=False)
        answer = await self._tell(
            CommandInvoked(
                key=_place(channel, root.id if root else None),
                author=person.author(),
                name=parsed.name,
                args=parsed.args,
                is_dm=channel.kind == "dm",
            )
        )
        if answer is None or answer.private:
            return answer
        thread = root.id if root else None
        await self._workspace.add_post(channel, thread, BOT.id, answer.text)
        return None

    async def _check_uploads(self, person: Person, uploads: Sequence[int]) -> None:
        unsent = {upload.id for upload in await self._workspace.store.unsent_uploads(person.id)}
        if not unsent.issuperset(uploads):
            raise Refused(400, "A picture is missing: it was sent already, or removed.")

    def _received(
        self, person: Person, channel: Channel, root: Post | None, post: Post
    ) -> MessageReceived:
        content = read_message(post.text)
        return MessageReceived(
            key=_key(post),
            id=str(post.id),
            author=person.author(),
            text=content.text,
            attachments=tuple(map(self._attachment, post.uploads)),
            is_dm=channel.kind == "dm",
            mentions_bot=content.calls_bot,
            mentions_everyone=content.calls_everyone,
            replies_to_bot=root is not None and root.author == BOT.id,
            addresses_other=content.addresses_other,
            at=post.at,
        )

    def _attachment(self, upload: Upload) -> Attachment:
        return Attachment(
            upload.name, upload.content_type, upload.size, partial(self._load, upload.id)
        )

    async def _load(self, upload_id: int) -> bytes:
        data = await self._workspace.store.upload_data(upload_id)
        if data is None:
            raise FileNotFoundError("the file was deleted")
        return data

    async def _tell(self, event: Inbound) -> CommandReply | None:
        """Hand an event to the core. Raises Refused (500) with a reference id when that fails."""
        try:
            return await self._handle(event)
        except Exception as error:
            ref = secrets.token_hex(4)
            log.exception("the core failed on %s, ref=%s", type(event).__name__, ref)
            raise Refused(
                500, f"Something went wrong on Parley's side (reference {ref})."
            ) from error


def _require_own(person: Person, post: Post) -> None:
    if post.author != person.id or post.removed:
        raise Refused(403, "You can change your own messages only.")


def _key(post: Post) -> ThreadKey:
    return _thread_key(post.channel_id, post.thread)


def _place(channel: Channel, thread: int | None) -> ThreadKey:
    return _thread_key(channel.id, thread)


def _thread_key(channel_id: int, thread: int | None) -> ThreadKey:
    return ThreadKey("playground", "local", str(channel_id), "" if thread is None else str(thread))
