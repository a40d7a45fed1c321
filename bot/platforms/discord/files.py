"""The files of a Discord message: attachments, embeds, stickers, media components, links."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
import discord

from bot.core.events import Attachment
from bot.media.download import DownloadError, DownloadStatus, HostPolicy, download
from bot.platforms.discord import texts
from bot.platforms.discord.markup import media_of

_PICTURE_LINK = re.compile(r"https?://[^\s<>\"']+?\.(?:png|jpe?g|webp|gif)(?:\?[^\s<>\"']*)?", re.I)
_STICKERS = (discord.StickerFormatType.png, discord.StickerFormatType.apng)
_UNFURL_TRIES = 4
_UNFURL_WAIT_S = 1.0


class Files:
    """Finds a message's files; their bytes are downloaded when the core asks for them."""

    def __init__(
        self, session: aiohttp.ClientSession, policy: HostPolicy, *, max_bytes: int
    ) -> None:
        """`session`: from `bot.media.download.open_session` with the same policy."""
        self._session = session
        self._policy = policy
        self._max_bytes = max_bytes

    def of(self, message: Any, *, links: bool = False) -> tuple[Attachment, ...]:
        """The files of a message and of what it forwards.

        `links`: also pictures that its text links to; Discord adds their previews seconds later.
        """
        attachments = list(self._own(message, message))
        for snapshot in getattr(message, "message_snapshots", None) or ():
            attachments += self._own(snapshot, message)
        if links and not message.embeds:
            attachments += self._linked(message)
        return tuple(attachments)

    def attachment(self, given: discord.Attachment, message: Any | None = None) -> Attachment:
        """One uploaded file; `message`, if known, is fetched again when the file's URL expired."""
        return Attachment(
            given.filename,
            given.content_type or "",
            given.size,
            partial(self._uploaded, given, message),
        )

    def _own(self, source: Any, message: Any) -> Iterator[Attachment]:
        for given in source.attachments:
            yield self.attachment(given, message)
        for embed in source.embeds:
            for picture in (embed.image, embed.thumbnail):
                if url := picture.proxy_url or "":
                    yield self._at(url)
        for sticker in source.stickers:
            if sticker.format in _STICKERS:
                yield self._at(sticker.url, f"{sticker.name}.png")
        for media in media_of(source.components):
            if url := getattr(media, "proxy_url", None) or media.url:
                yield self._at(url)

    def _at(self, url: str, name: str | None = None) -> Attachment:
        return Attachment(name or _name(url), "", 0, partial(self._fetch, url))

    def _linked(self, message: Any) -> Iterator[Attachment]:
        for match in _PICTURE_LINK.finditer(message.content or ""):
            load = partial(self._unfurled, message, match[0])
            yield Attachment(_name(match[0]), "", 0, load)

    async def _fetch(self, url: str) -> bytes:
        return await download(
            url, policy=self._policy, session=self._session, max_bytes=self._max_bytes
        )

    async def _uploaded(self, given: discord.Attachment, message: Any | None) -> bytes:
        """An upload's bytes. Its signed URL expires; fetching the message again gives a new one."""
        try:
            return await self._fetch(given.url)
        except DownloadStatus as error:
            if message is None or error.status not in (401, 403, 404):
                raise
            fresh = await _fetch_message(message)
            renewed = next((a for a in _uploads(fresh) if a.id == given.id), None)
            if renewed is None:
                raise
            return await self._fetch(renewed.url)

    async def _unfurled(self, message: Any, link: str) -> bytes:
        """A linked picture from Discord's own proxy. Nothing is fetched from the link's host, which
        anybody could have chosen."""
        for _ in range(_UNFURL_TRIES):
            fresh = await _fetch_message(message)
            for embed in fresh.embeds if fresh is not None else ():
                proxy = embed.thumbnail.proxy_url or embed.image.proxy_url
                if embed.url == link and proxy:
                    return await self._fetch(proxy)
            await asyncio.sleep(_UNFURL_WAIT_S)
        raise DownloadError(texts.NO_PREVIEW)


def _uploads(message: Any | None) -> list[discord.Attachment]:
    if message is None:
        return []
    snapshots = getattr(message, "message_snapshots", None) or ()
    return [*message.attachments, *(a for s in snapshots for a in s.attachments)]


async def _fetch_message(message: Any) -> Any | None:
    try:
        return await message.channel.fetch_message(message.id)
    except (discord.HTTPException, AttributeError):
        return None


def _name(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])[:80] or texts.UNNAMED_PICTURE
    except ValueError:
        return texts.UNNAMED_PICTURE
