"""Which pictures of a conversation go into its next prompt, and their bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bot.core.ports import Store
from bot.core.records import StoredAttachment, Turn
from bot.engine.api import EngineInfo, Image


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """How many pictures and bytes of pictures one prompt takes."""

    count: int
    total_bytes: int


def limit_to_context(limits: PictureLimits, info: EngineInfo, budget: int) -> PictureLimits:
    """At most half of a prompt's `budget` (tokens) is for pictures; none if the model is blind."""
    if not info.sees_images:
        return PictureLimits(0, 0)
    if info.image_tokens <= 0:
        return limits
    fitting = budget // 2 // info.image_tokens
    return PictureLimits(min(limits.count, fitting), limits.total_bytes)


async def load_pictures(
    store: Store, turns: Sequence[Turn], limits: PictureLimits
) -> Mapping[int, Image]:
    """The pictures that go into the prompt, by attachment id, within the limits.

    The newest turn's come first, within a turn those sent first; the others are named only.
    """
    shown: dict[int, Image] = {}
    by_digest: dict[str, Image] = {}
    left = limits.total_bytes
    for attachment in _newest_first(turns):
        if len(shown) >= limits.count:
            break
        digest = attachment.digest
        if digest is None:
            continue
        image = by_digest.get(digest)
        if image is None:
            data = await store.image(digest)
            if data is None:
                continue
            image = by_digest[digest] = Image(data, digest)
        if len(image.data) > left:
            break  # older ones are not let in before newer ones because they are smaller
        left -= len(image.data)
        shown[attachment.id] = image
    return shown


def _newest_first(turns: Sequence[Turn]) -> Iterator[StoredAttachment]:
    for turn in reversed(turns):
        for message in turn.messages:
            yield from message.attachments
