"""The playground's store: channels, posts and pictures in tables of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer, selectinload

from bot.records.playground import (
    Channel,
    NameTaken,
    Post,
    Reply,
    ReplyState,
    Summary,
    Upload,
)
from bot.storage.database import Database
from bot.storage.playground_tables import (
    PlaygroundChannelRow,
    PlaygroundPostRow,
    PlaygroundUploadRow,
)

# A post comes with its pictures' particulars, never with their bytes.
_WITH_UPLOADS = selectinload(PlaygroundPostRow.uploads).options(defer(PlaygroundUploadRow.data))


class PlaygroundStore:
    """`bot.platforms.playground.ports.WorkspaceStore` on SQLAlchemy."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- channels

    async def seed(self, channels: Sequence[str], people: Sequence[str]) -> None:
        """Make these channels where there is none at all, and everybody's direct messages."""
        async with self._database.write() as session:
            rows = (await session.scalars(select(PlaygroundChannelRow))).all()
            if not any(row.kind == "channel" for row in rows):
                session.add_all(PlaygroundChannelRow(kind="channel", name=n) for n in channels)
                await session.flush()
            have = {row.name for row in rows if row.kind == "dm"}
            session.add_all(
                PlaygroundChannelRow(kind="dm", name=name) for name in people if name not in have
            )

    async def channels(self) -> list[Channel]:
        """All channels and direct messages, oldest first."""
        async with self._database.read() as session:
            rows = await session.scalars(
                select(PlaygroundChannelRow).order_by(PlaygroundChannelRow.id)
            )
            return [_channel(row) for row in rows]

    async def channel(self, channel_id: int) -> Channel | None:
        """One channel."""
        async with self._database.read() as session:
            row = await session.get(PlaygroundChannelRow, channel_id)
            return _channel(row) if row else None

    async def add_channel(self, name: str) -> Channel:
        """Make a channel. Raises NameTaken."""
        row = PlaygroundChannelRow(kind="channel", name=name)
        try:
            async with self._database.write() as session:
                session.add(row)
        except IntegrityError as error:
            raise NameTaken(name) from error
        return _channel(row)

    async def rename_channel(self, channel_id: int, name: str) -> Channel | None:
        """Rename a channel. Raises NameTaken."""
        try:
            async with self._database.write() as session:
                row = await session.get(PlaygroundChannelRow, channel_id)
                if row is None:
                    return None
                row.name = name
        except IntegrityError as error:
            raise NameTaken(name) from error
        return _channel(row)

    # --- reading posts

    async def page(self, channel_id: int, before: int | None, limit: int) -> list[Post]:
        """The newest root posts (older than `before`), oldest first."""
        query = (
            select(PlaygroundPostRow)
            .where(
                PlaygroundPostRow.channel_id == channel_id, PlaygroundPostRow.thread_id.is_(None)
            )
            .order_by(PlaygroundPostRow.id.desc())
            .limit(limit)
            .options(_WITH_UPLOADS)
        )
        if before is not None:
            query = query.where(PlaygroundPostRow.id < before)
        async with self._database.read() as session:
            rows = (await session.scalars(query)).all()
            return [_post(row) for row in reversed(rows)]

    async def thread(self, root: int) -> list[Post]:
        """A thread's replies, oldest first."""
        async with self._database.read() as session:
            rows = await session.scalars(
                select(PlaygroundPostRow)
                .where(PlaygroundPostRow.thread_id == root)
                .order_by(PlaygroundPostRow.id)
                .options(_WITH_UPLOADS)
            )
            return [_post(row) for row in rows]

    async def summaries(self, roots: Sequence[int]) -> Mapping[int, Summary]:
        """Of those roots that have replies."""
        if not roots:
            return {}
        of_roots = PlaygroundPostRow.thread_id.in_(roots)
        newest = select(func.max(PlaygroundPostRow.id)).where(of_roots)
        async with self._database.read() as session:
            authors = await session.execute(
                select(
                    PlaygroundPostRow.thread_id,
                    PlaygroundPostRow.author,
                    func.count(),
                )
                .where(of_roots)
                .group_by(PlaygroundPostRow.thread_id, PlaygroundPostRow.author)
                .order_by(func.min(PlaygroundPostRow.id))
            )
            counts: dict[int, dict[str, int]] = {}
            for root, author, count in authors:
                counts.setdefault(int(root or 0), {})[author] = count
            last = await session.scalars(
                select(PlaygroundPostRow)
                .where(PlaygroundPostRow.id.in_(newest.group_by(PlaygroundPostRow.thread_id)))
                .options(_WITH_UPLOADS)
            )
            posts = {row.thread_id: _post(row) for row in last}
        return {
            root: Summary(root, sum(by.values()), tuple(by), posts.get(root))
            for root, by in counts.items()
        }

    async def post(self, post_id: int) -> Post | None:
        """One post."""
        async with self._database.read() as session:
            return await _load(session, post_id)

    async def reply_to_turn(self, turn_id: int) -> Post | None:
        """The post that carries a turn's reply."""
        async with self._database.read() as session:
            row = await session.scalar(
                select(PlaygroundPostRow)
                .where(PlaygroundPostRow.turn_id == turn_id)
                .options(_WITH_UPLOADS)
            )
            return _post(row) if row else None

    # --- changing posts

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
        row = PlaygroundPostRow(channel_id=channel_id, thread_id=thread, author=author, text=text)
        if reply is not None:
            _set_reply(row, reply)
        async with self._database.write() as session:
            session.add(row)
            await session.flush()
            if uploads:
                await session.execute(
                    update(PlaygroundUploadRow)
                    .where(
                        PlaygroundUploadRow.id.in_(uploads),
                        PlaygroundUploadRow.owner == author,
                        PlaygroundUploadRow.post_id.is_(None),
                    )
                    .values(post_id=row.id)
                )
            await session.refresh(row, ["uploads"])
            return _post(row)

    async def edit_post(self, post_id: int, text: str) -> Post | None:
        """Another text, marked as edited."""
        async with self._database.write() as session:
            row = await session.get(PlaygroundPostRow, post_id)
            if row is None or row.removed:
                return None
            row.text, row.edited = text, True
            await session.flush()
            return await _load(session, post_id)

    async def save_reply(self, post_id: int, text: str, reply: Reply) -> Post | None:
        """The text and state of a reply."""
        async with self._database.write() as session:
            row = await session.get(PlaygroundPostRow, post_id)
            if row is None:
                return None
            row.text = text
            _set_reply(row, reply)
            await session.flush()
            return await _load(session, post_id)

    async def save_text(self, post_id: int, text: str) -> None:
        """The text so far of a reply that is being written."""
        async with self._database.write() as session:
            await session.execute(
                update(PlaygroundPostRow).where(PlaygroundPostRow.id == post_id).values(text=text)
            )

    async def interrupt_replies(self, error: str) -> int:
        """End the replies that a stopped process left unfinished; how many."""
        async with self._database.write() as session:
            ended = await session.scalars(
                update(PlaygroundPostRow)
                .where(PlaygroundPostRow.reply_state == ReplyState.RUNNING)
                .values(reply_state=ReplyState.FAILED, error=error)
                .returning(PlaygroundPostRow.id)
            )
            return len(ended.all())

    async def remove_post(self, post_id: int) -> list[int]:
        """Delete a post with its pictures; a root with replies stays as an empty shell.

        Returns the ids that are gone: with the last reply an empty root goes as well.
        """
        async with self._database.write() as session:
            removed = await _remove(session, post_id)
        await self._database.scrub()
        return removed

    # --- pictures

    async def add_upload(
        self, owner: str, name: str, content_type: str, data: bytes, width: int, height: int
    ) -> Upload:
        """Keep a picture that isn't sent yet."""
        row = PlaygroundUploadRow(
            owner=owner,
            name=name,
            content_type=content_type,
            size=len(data),
            width=width,
            height=height,
            data=data,
        )
        async with self._database.write() as session:
            session.add(row)
        return _upload(row)

    async def upload(self, upload_id: int) -> Upload | None:
        """A picture, without its bytes."""
        async with self._database.read() as session:
            row = await session.get(
                PlaygroundUploadRow, upload_id, options=[defer(PlaygroundUploadRow.data)]
            )
            return _upload(row) if row else None

    async def upload_data(self, upload_id: int) -> bytes | None:
        """A picture's bytes."""
        async with self._database.read() as session:
            return await session.scalar(
                select(PlaygroundUploadRow.data).where(PlaygroundUploadRow.id == upload_id)
            )

    async def unsent_uploads(self, owner: str) -> list[Upload]:
        """The pictures somebody uploaded and hasn't sent."""
        async with self._database.read() as session:
            rows = await session.scalars(
                select(PlaygroundUploadRow)
                .where(PlaygroundUploadRow.owner == owner, PlaygroundUploadRow.post_id.is_(None))
                .order_by(PlaygroundUploadRow.id)
                .options(defer(PlaygroundUploadRow.data))
            )
            return [_upload(row) for row in rows]

    async def drop_upload(self, upload_id: int) -> None:
        """Delete a picture that isn't sent."""
        async with self._database.write() as session:
            await session.execute(
                delete(PlaygroundUploadRow).where(
                    PlaygroundUploadRow.id == upload_id, PlaygroundUploadRow.post_id.is_(None)
                )
            )
        await self._database.scrub()

    async def prune_uploads(self, before: datetime) -> int:
        """Delete what was uploaded before then and never sent; how many."""
        async with self._database.write() as session:
            deleted = await session.scalars(
                delete(PlaygroundUploadRow)
                .where(
                    PlaygroundUploadRow.post_id.is_(None), PlaygroundUploadRow.created_at < before
                )
                .returning(PlaygroundUploadRow.id)
            )
            return len(deleted.all())


async def _load(session: AsyncSession, post_id: int) -> Post | None:
    row = await session.scalar(
        select(PlaygroundPostRow)
        .where(PlaygroundPostRow.id == post_id)
        .options(_WITH_UPLOADS)
        .execution_options(populate_existing=True)
    )
    return _post(row) if row else None


async def _remove(session: AsyncSession, post_id: int) -> list[int]:
    row = await session.get(PlaygroundPostRow, post_id)
    if row is None:
        return []
    if await _has_replies(session, post_id):
        row.text, row.removed = "", True
        await session.execute(
            delete(PlaygroundUploadRow).where(PlaygroundUploadRow.post_id == post_id)
        )
        return []
    removed, root = [post_id], row.thread_id
    await session.delete(row)
    await session.flush()
    if root is not None and not await _has_replies(session, root):
        shell = await session.get(PlaygroundPostRow, root)
        if shell is not None and shell.removed:
            await session.delete(shell)
            removed.append(root)
    return removed


async def _has_replies(session: AsyncSession, root: int) -> bool:
    reply_id = await session.scalar(
        select(PlaygroundPostRow.id).where(PlaygroundPostRow.thread_id == root).limit(1)
    )
    return reply_id is not None


def _set_reply(row: PlaygroundPostRow, reply: Reply) -> None:
    row.turn_id = reply.turn_id
    row.asker = reply.asker
    row.reply_state = reply.state
    row.notes = list(reply.notes)
    row.error = reply.error


def _channel(row: PlaygroundChannelRow) -> Channel:
    return Channel(row.id, "dm" if row.kind == "dm" else "channel", row.name)


def _upload(row: PlaygroundUploadRow) -> Upload:
    return Upload(
        id=row.id,
        owner=row.owner,
        post_id=row.post_id,
        name=row.name,
        content_type=row.content_type,
        size=row.size,
        width=row.width,
        height=row.height,
    )


def _post(row: PlaygroundPostRow) -> Post:
    reply = None
    if row.turn_id is not None:
        reply = Reply(
            turn_id=row.turn_id,
            asker=row.asker or "",
            state=ReplyState(row.reply_state or ReplyState.DONE),
            notes=tuple(row.notes),
            error=row.error,
        )
    return Post(
        id=row.id,
        channel_id=row.channel_id,
        thread=row.thread_id,
        author=row.author,
        text=row.text,
        at=row.at,
        edited=row.edited,
        removed=row.removed,
        uploads=tuple(_upload(upload) for upload in row.uploads),
        reply=reply,
    )
