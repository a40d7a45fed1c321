"""A tokenized prompt, as the engine passes it around."""

from __future__ import annotations

from dataclasses import dataclass, field

from bot.engine.api import Image


@dataclass(frozen=True, slots=True)
class ImageSpan:
    """Where one picture's soft tokens lie in a prompt: positions `start` to `end` - 1."""

    start: int
    length: int
    digest: str

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids and, in order of appearance, the pictures among them (a crop counts as one)."""

    ids: tuple[int, ...]
    spans: tuple[ImageSpan, ...] = ()
    images: tuple[Image, ...] = field(default=(), repr=False)
