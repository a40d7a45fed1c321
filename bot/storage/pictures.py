"""What attachments hold: texts, and pictures stored once for as long as one refers to them."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from sqlalchemy import delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.records import FileContent, FileText, NormalisedImage
from bot.storage import rows
from bot.storage.models import AttachmentRow, ImageRow

#: How many digests go into one statement.
_BATCH = 500


async def attach(
    session: AsyncSession, attachment_id: int, content: FileContent | None, problem: str | None
) -> None:
    """Give an attachment its picture or text, or its problem. One that was deleted meanwhile
    stays so."""
    attachment = (
        await session.execute(
            select(AttachmentRow.digest).where(AttachmentRow.id == attachment_id).with_for_update()
        )
    ).first()
    if attachment is None:
        return
    digest = None
    if isinstance(content, NormalisedImage):
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


async def _store(session: AsyncSession, image: NormalisedImage) -> None:
    """Write the bytes, or hold on to those that are there: an update that changes nothing locks
    the row, so that nobody drops it as unused before we refer to it."""
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
    """Really delete those of these pictures that nothing refers to any more.

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
