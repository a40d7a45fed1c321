"""The contents of attachments: texts, and pictures that are stored once per content."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from sqlalchemy import delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.records import FileContent, FileText, NormalizedImage
from bot.storage import rows
from bot.storage.models import AttachmentRow, ImageRow

#: Digests per statement.
_BATCH = 500


async def attach(
    session: AsyncSession, attachment_id: int, content: FileContent | None, problem: str | None
) -> None:
    """Set an attachment's picture, text or problem, unless it was deleted meanwhile."""
    attachment = (
        await session.execute(
            select(AttachmentRow.digest).where(AttachmentRow.id == attachment_id).with_for_update()
        )
    ).first()
    if attachment is None:
        return
    digest = None
    if isinstance(content, NormalizedImage):
        await _store(session, content)
        digest = content.digest
    await session.execute(
        update(AttachmentRow)
        .where(AttachmentRow.id == attachment_id)
        .values(
            digest=digest,
            text=content.text if isinstance(content, FileText) else None,
            note=content.note if content is not None else "",
            problem=problem,
        ),
        execution_options={"synchronize_session": False},
    )
    if attachment.digest is not None and attachment.digest != digest:
        await drop_unused(session, {attachment.digest})


async def _store(session: AsyncSession, image: NormalizedImage) -> None:
    """Insert the picture, or lock the existing row by an update that changes nothing, so that
    nobody drops it as unused before it is referred to."""
    insert = rows.upsert(
        session,
        ImageRow,
        digest=image.digest,
        data=image.data,
        width=image.width,
        height=image.height,
    )
    await session.execute(
        insert.on_conflict_do_update(
            index_elements=[ImageRow.digest], set_={"width": insert.excluded.width}
        )
    )


async def load(session: AsyncSession, digest: str) -> bytes | None:
    """A picture's bytes."""
    data: bytes | None = await session.scalar(
        select(ImageRow.data).where(ImageRow.digest == digest)
    )
    return data


async def drop_unused(session: AsyncSession, digests: Collection[str]) -> None:
    """Permanently delete those of these pictures that nothing refers to anymore.

    The lock comes first: it waits for whoever is about to refer to one, and the DELETE, a
    statement of its own, then sees that reference.
    """
    remaining = iter(sorted(digests))
    while batch := list(islice(remaining, _BATCH)):
        await session.execute(
            select(ImageRow.digest)
            .where(ImageRow.digest.in_(batch))
            .order_by(ImageRow.digest)
            .with_for_update()
        )
        await session.execute(
            delete(ImageRow).where(
                ImageRow.digest.in_(batch),
                ~exists().where(AttachmentRow.digest == ImageRow.digest),
            ),
            execution_options={"synchronize_session": False},
        )
