"""What a training picture shows, and the words that the soft tokens use for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["shapes", "glyph", "plain", "mixed", "photo"]

SHAPES = (
    "circle", "square", "triangle", "star", "heart", "cross",
    "diamond", "rectangle", "oval", "ring", "moon", "arrow",
)  # fmt: skip
GLYPHS = tuple("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ")  # without I and O, which look like 1 and 0
UNKNOWN = "unknown"
THINGS = (*SHAPES, *GLYPHS, "shapes", "nothing", UNKNOWN)
COLORS = {
    "red": ("#ff0000", "#e02020", "#c81010", "#dc143c", "#b22222", "#f03c3c"),
    "orange": ("#ff8c00", "#ffa500", "#f57c00", "#ff7f2a"),
    "yellow": ("#ffff00", "#ffeb3b", "#ffe119", "#f5dc32", "#ffd700"),
    "green": ("#008000", "#00ff00", "#2e8b57", "#3cb44b", "#0a6414", "#66bb6a"),
    "blue": ("#0000ff", "#1e50dc", "#4169e1", "#000080", "#2196f3", "#3c64b4"),
    "purple": ("#800080", "#8a2be2", "#673ab7", "#6a1b9a", "#9932cc"),
    "pink": ("#ffc0cb", "#ff69b4", "#ff80c0", "#f48fb1", "#ff1493"),
    "brown": ("#8b4513", "#a0522d", "#6b4226", "#795548", "#5a3214"),
    "cyan": ("#00ffff", "#40e0d0", "#26c6da", "#00ced1"),
    "black": ("#000000", "#0a0a0a", "#191919"),
    "white": ("#ffffff", "#fafafa", "#f0f0f0"),
    "gray": ("#808080", "#999999", "#6e6e6e", "#a9a9a9"),
}
COUNTS = ("no", "one", "two", "three", "four", "five", "several")


@dataclass(frozen=True, slots=True)
class Scene:
    """The labels of one picture; words that don't apply are ``"unknown"`` or ``"nothing"``."""

    kind: Kind
    count: str  # one of COUNTS
    color: str  # of the foreground; for a plain picture, the background's
    thing: str  # one of THINGS
    ground: str  # color of the background


@dataclass(frozen=True, slots=True)
class Spot:
    """The position of one thing, in fractions of the picture, for dense supervision."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    thing: str
    color: str


# The soft tokens in reading order: a slot is either a fixed word or an attribute of the scene.
SLOTS: tuple[str, ...] = (
    "=picture", "=:", "kind", "count",
    "color", "thing", "=on", "=a",
    "ground", "=background", "=.", "count",
    "color", "thing", "ground", "=.",
)  # fmt: skip
CLASSES: dict[str, tuple[str, ...]] = {
    "kind": ("shapes", "glyph", "plain", "mixed", "photo"),
    "count": COUNTS,
    "color": (*COLORS, UNKNOWN),
    "thing": THINGS,
    "ground": (*COLORS, UNKNOWN),
}
# The word for Gemma, if it differs from the class's name.
SPOKEN = {"glyph": "character", "mixed": "various"}


def attribute(scene: Scene, name: str) -> str:
    """The class of ``scene`` for one of the keys of ``CLASSES``."""
    return str(getattr(scene, name))
