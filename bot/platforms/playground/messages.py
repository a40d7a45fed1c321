"""What people do with messages: each action is stored and shown, then handed to the core.

An answer that only the person should see is returned; everything else appears in the workspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from bot.core.commands import parsing
from bot.core.events import (
    Attachment,
    CommandInvoked,
    ControlPressed,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    ThreadKey,
)
from bot.core.ports import CommandReply, InboundHandler
from bot.platforms.playground import texts
from bot.platforms.playground.people import BOT, Person
from bot.platforms.playground.refusal import Refused
from bot.platforms.playground.text import read_message
from bot.platforms.playground.workspace import Workspace
from bot.records.playground import Channel, Post, Upload


class Messages:
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
        """Post a message, or run the command typed as one (then there is no post).

        Raises:
            Refused: 400 for an empty message or for uploads that aren't the author's.
        """
        thread = root.id if root else None
        if not uploads and parsing.looks_like_command(text):
            return None, await self._run_command(person, channel, thread, text)
        if not text and not uploads:
            raise Refused(400, texts.EMPTY_MESSAGE)
        await self._check_uploads(person, uploads)
        post = await self._workspace.add_post(channel, thread, person.id, text, uploads)
        return post, await self._handle(self._received(person, channel, root, post))

    async def edit(self, person: Person, post: Post, text: str) -> tuple[Post, CommandReply | None]:
        """Replace the text of the person's message. Raises Refused (400, 403, 404)."""
        _require_own(person, post)
        if not text and not post.uploads:
            raise Refused(400, texts.EMPTY_EDIT)
        edited = await self._workspace.edit_post(post, text)
        channel = await self._workspace.channel(post.channel_id, person)
        root = None if post.thread is None else await self._workspace.post(post.thread, person)
        message = self._received(person, channel, root, edited)
        event = MessageEdited(message.key, message.id, message.author, message.text, message)
        return edited, await self._handle(event)

    async def delete(self, person: Person, post: Post) -> None:
        """Delete the person's message. Raises Refused (403)."""
        _require_own(person, post)
        try:
            # The core cancels and withdraws a reply before its place is deleted.
            await self._handle(MessageDeleted(_post_key(post), str(post.id)))
        finally:
            await self._workspace.remove_post(post)

    async def press(
        self, person: Person, post: Post, action: Literal["stop", "regenerate"]
    ) -> CommandReply | None:
        """Press a button below a reply. Raises Refused (400) if the post is not a reply."""
        if post.reply is None:
            raise Refused(400, texts.NOT_A_REPLY)
        return await self._handle(
            ControlPressed(_post_key(post), person.author(), action, post.reply.turn_id)
        )

    async def _run_command(
        self, person: Person, channel: Channel, thread: int | None, text: str
    ) -> CommandReply | None:
        command = parsing.parse(text)
        if isinstance(command, parsing.CommandError):
            return CommandReply(command.text, ok=False)
        reply = await self._handle(
            CommandInvoked(
                key=_thread_key(channel.id, thread),
                author=person.author(),
                name=command.name,
                args=command.args,
                is_dm=channel.kind == "dm",
            )
        )
        if reply is None or reply.private:
            return reply
        await self._workspace.add_post(channel, thread, BOT.id, reply.text)
        return None

    async def _check_uploads(self, person: Person, uploads: Sequence[int]) -> None:
        unsent = {upload.id for upload in await self._workspace.store.unsent_uploads(person.id)}
        if not unsent.issuperset(uploads):
            raise Refused(400, texts.MISSING_UPLOAD)

    def _received(
        self, person: Person, channel: Channel, root: Post | None, post: Post
    ) -> MessageReceived:
        content = read_message(post.text)
        return MessageReceived(
            key=_post_key(post),
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


def _require_own(person: Person, post: Post) -> None:
    if post.author != person.id or post.removed:
        raise Refused(403, texts.NOT_YOUR_MESSAGE)


def _post_key(post: Post) -> ThreadKey:
    return _thread_key(post.channel_id, post.thread)


def _thread_key(channel_id: int, thread: int | None) -> ThreadKey:
    return ThreadKey("playground", "local", str(channel_id), "" if thread is None else str(thread))
