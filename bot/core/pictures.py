"""Chooses the pictures of a conversation's next prompt and loads their bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bot.core.ports import TurnStore
from bot.core.records import StoredAttachment, Turn
from bot.engine.api import EngineInfo, Image, Message


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """Limits of one prompt: pictures, their bytes, and their tokens (None: no limit)."""

    count: int
    total_bytes: int
    tokens: int | None = None


def limit_to_context(limits: PictureLimits, info: EngineInfo, budget: int) -> PictureLimits:
    """Give pictures at most half of a prompt's `budget` (tokens), and none to a text-only model."""
    if not info.sees_images:
        return PictureLimits(0, 0)
    if info.image_tokens <= 0:
        return limits
    fitting = budget // 2 // info.image_tokens
    return replace(limits, count=min(limits.count, fitting), tokens=budget // 2)


async def load_pictures(
    store: TurnStore,
    turns: Sequence[Turn],
    limits: PictureLimits,
    count_tokens: Callable[[Sequence[Message]], int] | None = None,
) -> Mapping[int, Image]:
    """The pictures of the prompt, by attachment id, within the limits.

    The newest turn's come first, then those that it names ("what was in chart.png?"), then the
    newest of the others; within a turn those sent first. The rest are named only.
    """
    images: dict[int, Image] = {}
    by_digest: dict[str, Image] = {}
    left, tokens = limits.total_bytes, limits.tokens
    for attachment in _wanted_first(turns):
        if len(images) >= limits.count:
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
        # A smaller older picture must not replace a newer one.
        if len(image.data) > left:
            break
        if tokens is not None and count_tokens is not None:
            tokens -= count_tokens([Message("user", (image,))])
            if tokens < 0:
                break
        left -= len(image.data)
        images[attachment.id] = image
    return images


def _wanted_first(turns: Sequence[Turn]) -> list[StoredAttachment]:
    if not turns:
        return []
    newest, *older = (_attachments(turn) for turn in reversed(turns))
    past = [attachment for turn in older for attachment in turn]
    question = " ".join(message.text for message in turns[-1].messages).casefold()
    # Of two files with the same name the newer is meant.
    named = {a.name.casefold(): a for a in reversed(past) if _is_named(a.name, question)}.values()
    ids = {attachment.id for attachment in named}
    return [*newest, *named, *(a for a in past if a.id not in ids)]


def _attachments(turn: Turn) -> list[StoredAttachment]:
    return [attachment for message in turn.messages for attachment in message.attachments]


def _is_named(name: str, question: str) -> bool:
    """Whether a question names a file: with its extension, or without if the name is too long to
    be an everyday word."""
    name = name.casefold()
    stem = name.rpartition(".")[0]
    return (len(name) > 2 and name in question) or (len(stem) > 4 and stem in question)
