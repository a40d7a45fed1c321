"""A prompt as the engine passes it around; pure data."""

from __future__ import annotations

from dataclasses import dataclass, field

from bot.engine.api import Image


@dataclass(frozen=True, slots=True)
class ImageSpan:
    """Where one picture's soft tokens lie in a prompt: `start <= position < end`."""

    start: int
    length: int
    digest: str

    @property
    def end(self) -> int:
        """The position behind the last soft token."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt ready for the model: token ids and, in order of appearance, its pictures (crops of
    pictures are pictures here)."""

    ids: tuple[int, ...]
    spans: tuple[ImageSpan, ...] = ()
    images: tuple[Image, ...] = field(default=(), repr=False)
