"""The page's HTTP endpoints under /playground/api, in JSON."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from bot.core.commands import parsing
from bot.core.ports import BadImage, FileReader
from bot.core.records import NormalizedImage
from bot.platforms.playground import texts
from bot.platforms.playground.messages import Messages
from bot.platforms.playground.people import Person
from bot.platforms.playground.refusal import Refused
from bot.platforms.playground.requests import (
    acting_person,
    body,
    file_name,
    id_field,
    ids_field,
    json_body,
    path_id,
    text_field,
)
from bot.platforms.playground.text import channel_name, read_message
from bot.platforms.playground.views import channel_view, notice_view, post_view, upload_view
from bot.platforms.playground.workspace import Workspace
from bot.records.playground import DOCUMENT, Post, Upload

MAX_MESSAGE = 8000  # characters
MAX_UPLOADS = 8  # files in one message
MAX_UNSENT = 3 * MAX_UPLOADS  # files of one person, in all tabs' composers together

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"RIFF", "image/webp"),
)


class Api:
    def __init__(
        self,
        workspace: Workspace,
        messages: Messages,
        files: FileReader,
        max_upload_bytes: int,
    ) -> None:
        self._workspace = workspace
        self._messages = messages
        self._files = files
        self._max_upload_bytes = max_upload_bytes

    # --- channels

    async def add_channel(self, request: web.Request) -> web.Response:
        """`POST channels {name}`."""
        acting_person(request)
        name = channel_name(text_field(await json_body(request), "name", 200))
        channel = await self._workspace.add_channel(name)
        return web.json_response({"channel": channel_view(channel)}, status=201)

    async def rename_channel(self, request: web.Request) -> web.Response:
        """`PATCH channels/{id} {name}`."""
        channel = await self._workspace.channel(path_id(request), acting_person(request))
        name = channel_name(text_field(await json_body(request), "name", 200))
        renamed = await self._workspace.rename_channel(channel, name)
        return web.json_response({"channel": channel_view(renamed)})

    # --- messages

    async def write(self, request: web.Request) -> web.Response:
        """`POST channels/{id}/messages {text, thread?, uploads?}`.

        `notice` is an answer that only this person sees; a private command has no `message`.
        """
        person = acting_person(request)
        channel = await self._workspace.channel(path_id(request), person)
        values = await json_body(request)
        text = text_field(values, "text", MAX_MESSAGE)
        uploads = ids_field(values, "uploads", MAX_UPLOADS)
        root = await self._root(person, channel.id, id_field(values, "thread"))
        post, notice = await self._messages.write(person, channel, root, text, uploads)
        return web.json_response(
            {
                "message": post_view(post) if post else None,
                "mentions_parley": read_message(text).calls_bot,
                "notice": notice_view(notice) if notice else None,
            },
            status=201 if post else 200,
        )

    async def edit(self, request: web.Request) -> web.Response:
        """`PATCH messages/{id} {text}`."""
        person, post = await self._post(request)
        text = text_field(await json_body(request), "text", MAX_MESSAGE)
        edited, notice = await self._messages.edit(person, post, text)
        return web.json_response(
            {"message": post_view(edited), "notice": notice_view(notice) if notice else None}
        )

    async def delete(self, request: web.Request) -> web.Response:
        """`DELETE messages/{id}`."""
        person, post = await self._post(request)
        await self._messages.delete(person, post)
        return web.json_response({})

    async def stop(self, request: web.Request) -> web.Response:
        """`POST messages/{id}/stop`."""
        person, post = await self._post(request)
        return _notice_response(await self._messages.press(person, post, "stop"))

    async def regenerate(self, request: web.Request) -> web.Response:
        """`POST messages/{id}/regenerate`."""
        person, post = await self._post(request)
        return _notice_response(await self._messages.press(person, post, "regenerate"))

    async def complete(self, request: web.Request) -> web.Response:
        """`GET complete?text=/pers`: how a command can continue."""
        acting_person(request)
        completions = parsing.complete(request.query.get("text", "")[:MAX_MESSAGE])
        return web.json_response(
            {"completions": [{"text": c.text, "help": c.help} for c in completions]}
        )

    # --- pictures and other files

    async def add_upload(self, request: web.Request) -> web.Response:
        """`POST uploads?name=…`, the body is the file.

        A picture is stored normalized. A file with text is stored as it is, and read again when it
        is sent. Anything else is refused.
        """
        person = acting_person(request)
        if len(await self._workspace.store.unsent_uploads(person.id)) >= MAX_UNSENT:
            raise Refused(429, texts.TOO_MANY_UNSENT)
        limit = self._max_upload_bytes
        data = await body(request, limit, texts.file_too_large(limit / 2**20))
        try:
            content = await self._files.read_file(data)
        except BadImage as reason:
            raise Refused(415, texts.unusable_file(reason)) from reason
        kind, width, height = DOCUMENT, 0, 0
        if isinstance(content, NormalizedImage):
            data, width, height = content.data, content.width, content.height
            kind = _content_type(data)
        name = file_name(request)
        upload = await self._workspace.store.add_upload(person.id, name, kind, data, width, height)
        return web.json_response({"upload": upload_view(upload)}, status=201)

    async def show_upload(self, request: web.Request) -> web.Response:
        """`GET uploads/{id}`: the file, for those who may see its message.

        Only normalized pictures are served inline; a browser must not render anything else.
        """
        person = acting_person(request)
        upload = await self._upload(path_id(request), person)
        data = await self._workspace.store.upload_data(upload.id)
        if data is None:
            raise Refused(404, texts.NO_FILE)
        return web.Response(
            body=data,
            content_type=upload.content_type,
            headers={
                "Content-Disposition": "attachment"
                if upload.content_type == DOCUMENT
                else "inline",
                "Cache-Control": "private, max-age=86400, immutable",
            },
        )

    async def drop_upload(self, request: web.Request) -> web.Response:
        """`DELETE uploads/{id}`: remove a file before it is sent."""
        person = acting_person(request)
        upload = await self._upload(path_id(request), person)
        if upload.owner != person.id or upload.post_id is not None:
            raise Refused(403, texts.NOT_YOUR_UPLOAD)
        await self._workspace.store.drop_upload(upload.id)
        return web.json_response({})

    # --- looking up rows

    async def _post(self, request: web.Request) -> tuple[Person, Post]:
        person = acting_person(request)
        return person, await self._workspace.post(path_id(request), person)

    async def _root(self, person: Person, channel_id: int, thread: int | None) -> Post | None:
        if thread is None:
            return None
        root = await self._workspace.post(thread, person)
        if root.channel_id != channel_id or root.thread is not None:
            raise Refused(400, texts.NO_THREAD)
        return root

    async def _upload(self, upload_id: int, person: Person) -> Upload:
        """A file that the person may see: their own unsent one, or one on a visible message."""
        upload = await self._workspace.store.upload(upload_id)
        if upload is None or (upload.post_id is None and upload.owner != person.id):
            raise Refused(404, texts.NO_FILE)
        if upload.post_id is not None:
            await self._workspace.post(upload.post_id, person)
        return upload


def _notice_response(reply: Any) -> web.Response:
    return web.json_response({"notice": notice_view(reply) if reply else None})


def _content_type(data: bytes) -> str:
    """The type of a normalized picture. Raises Refused (415) for anything else."""
    for magic, content_type in _MAGIC:
        if data.startswith(magic):
            return content_type
    raise Refused(415, texts.UNKNOWN_FORMAT)
