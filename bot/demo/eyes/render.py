"""Renders simple pictures with labels from a seed, for training and evaluating the tower."""

from __future__ import annotations

import functools
import io
import math
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont

from bot.demo.eyes.scene import COLORS, COUNTS, GLYPHS, SHAPES, UNKNOWN, Scene, Spot

SIZE = 96  # the tower's input, pixels a side
RGB = tuple[int, int, int]
Point = tuple[float, float]
KINDS = {"shapes": 66, "glyph": 16, "plain": 4, "mixed": 5, "photo": 9}
# Colors that are hard to tell apart are never used together.
CLOSE = (
    {"red", "orange"}, {"orange", "yellow"}, {"orange", "brown"}, {"red", "brown"},
    {"pink", "purple"}, {"black", "brown"}, {"white", "pink"}, {"blue", "purple"},
    {"red", "pink"}, {"green", "cyan"}, {"white", "cyan"}, {"white", "yellow"},
)  # fmt: skip
FONTS = (
    "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono-Bold.ttf",
    "LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf", "LiberationSerif-Bold.ttf",
)  # fmt: skip


def render(rng: random.Random, kind: str | None = None) -> tuple[Image.Image, Scene, list[Spot]]:
    """One picture of ``SIZE`` x ``SIZE`` pixels, resized as the processor does, with its labels."""
    image, scene, spots = draw(rng, kind)
    return image.resize((SIZE, SIZE), Image.Resampling.BILINEAR), scene, spots


def draw(rng: random.Random, kind: str | None = None) -> tuple[Image.Image, Scene, list[Spot]]:
    """One picture of random size (90 to 400 pixels), with its labels."""
    kind = kind or rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
    long = rng.randint(110, 260) if rng.random() < 0.9 else 400
    short = round(long / rng.choice((1, 1, 1.25, 4 / 3, 1.5)) * rng.uniform(0.95, 1))
    size = (long, short) if rng.random() < 0.7 else (short, long)
    if kind == "photo":
        scene = Scene("photo", "several", UNKNOWN, UNKNOWN, UNKNOWN)
        return _spoil(_photo(rng, size), rng), scene, []
    ground = rng.choice(list(COLORS)) if rng.random() < 0.6 else rng.choice(("white", "black"))
    image = _ground(rng, size, ground)
    makers: dict[str, Callable[..., tuple[Scene, list[Spot]]]] = {
        "shapes": _shapes,
        "glyph": _glyph,
        "mixed": _mixed,
    }
    spots: list[Spot]
    if kind == "plain":
        scene, spots = Scene("plain", "no", ground, "nothing", ground), []
    else:
        scene, spots = makers[kind](rng, image, ground)
    return _spoil(image, rng), scene, spots


def _shade(rng: random.Random, name: str, jitter: int = 10) -> RGB:
    base = ImageColor.getrgb(rng.choice(COLORS[name]))
    if rng.random() < 0.5:
        return base[0], base[1], base[2]
    red, green, blue = (min(255, max(0, c + rng.randint(-jitter, jitter))) for c in base[:3])
    return red, green, blue


def _other(rng: random.Random, ground: str) -> str:
    return rng.choice([c for c in COLORS if c != ground and {c, ground} not in CLOSE])


def _ground(rng: random.Random, size: tuple[int, int], name: str) -> Image.Image:
    first = _shade(rng, name)
    if rng.random() < 0.15:  # a soft gradient between two shades of the same name
        second = tuple(min(255, max(0, c + rng.randint(-14, 14))) for c in first)
        ramp = Image.linear_gradient("L").resize(size)
        return Image.composite(Image.new("RGB", size, first), Image.new("RGB", size, second), ramp)
    image = Image.new("RGB", size, first)
    if rng.random() < 0.08:  # a thin frame, which isn't the background
        frame = _shade(rng, rng.choice(list(COLORS)))
        box = (0, 0, size[0] - 1, size[1] - 1)
        ImageDraw.Draw(image).rectangle(box, outline=frame, width=rng.randint(1, 4))
    return image


def _places(rng: random.Random, size: tuple[int, int], count: int) -> list[tuple[Point, float]]:
    """Centers and one radius in pixels such that the ``count`` discs do not overlap."""
    width, height = size
    side = min(size)
    largest = {1: 0.44, 2: 0.25, 3: 0.21, 4: 0.19, 5: 0.17}[count]
    smallest = {1: 0.14, 2: 0.12, 3: 0.11, 4: 0.1, 5: 0.1}[count]
    radius = side * rng.uniform(smallest, largest)
    for _ in range(200):
        centers: list[Point] = []
        for _ in range(count):
            x = rng.uniform(radius * 1.05, width - radius * 1.05)
            y = rng.uniform(radius * 1.05, height - radius * 1.05)
            if all(math.dist((x, y), c) > radius * 2.15 for c in centers):
                centers.append((x, y))
        if len(centers) == count:
            return [(center, radius) for center in centers]
        radius = max(side * 0.09, radius * 0.98)
    raise ValueError(f"no room for {count} shapes in {size}")


def _shapes(rng: random.Random, image: Image.Image, ground: str) -> tuple[Scene, list[Spot]]:
    count = rng.choices((1, 2, 3, 4, 5), weights=(40, 15, 15, 15, 15))[0]
    name, color = rng.choice(SHAPES), _other(rng, ground)
    fill, spots = _shade(rng, color), []
    turn = rng.uniform(-180, 180)
    for center, radius in _places(rng, image.size, count):
        scale = radius * rng.uniform(0.85, 1)
        shape(rng, image, name, center, scale, turn + rng.uniform(-10, 10), fill)
        spots.append(_spot(image, center, scale, name, color))
    return Scene("shapes", COUNTS[count], color, name, ground), spots


def _mixed(rng: random.Random, image: Image.Image, ground: str) -> tuple[Scene, list[Spot]]:
    spots = []
    places = _places(rng, image.size, rng.randint(2, 5))
    for name, (center, radius) in zip(rng.sample(SHAPES, len(places)), places, strict=True):
        color = _other(rng, ground)
        shape(rng, image, name, center, radius, rng.uniform(-180, 180), _shade(rng, color))
        spots.append(_spot(image, center, radius, name, color))
    return Scene("mixed", "several", UNKNOWN, "shapes", ground), spots


def _glyph(rng: random.Random, image: Image.Image, ground: str) -> tuple[Scene, list[Spot]]:
    text, color = rng.choice(GLYPHS), _other(rng, ground)
    side = min(image.size)
    font = _font(rng.choice(FONTS), round(side * rng.uniform(0.5, 1.0)))
    left, top, right, bottom = font.getbbox(text)
    x = (image.width - (right - left)) / 2 + side * rng.uniform(-0.12, 0.12)
    y = (image.height - (bottom - top)) / 2 + side * rng.uniform(-0.12, 0.12)
    ImageDraw.Draw(image).text((x - left, y - top), text, font=font, fill=_shade(rng, color))
    center = (x + (right - left) / 2, y + (bottom - top) / 2)
    spot = _spot(image, center, (bottom - top) / 2, text, color)
    return Scene("glyph", "one", color, text, ground), [spot]


@functools.cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.truetype(name, size)
    except OSError:  # not installed: use Pillow's default font
        return ImageFont.load_default(size)


def _spot(image: Image.Image, center: Point, radius: float, thing: str, color: str) -> Spot:
    width, height = image.size
    return Spot(
        center[0] / width, center[1] / height, radius / width, radius / height, thing, color
    )


def shape(
    rng: random.Random,
    image: Image.Image,
    name: str,
    center: Point,
    radius: float,
    turn: float,
    fill: RGB,
) -> None:
    """Draw one shape inside the disc; upright shapes are rotated by only a few degrees."""
    upright = name in {"square", "diamond", "heart", "rectangle", "oval", "cross"}
    angle = math.radians(rng.uniform(-14, 14) if upright else turn)
    if name in {"rectangle", "oval"} and rng.random() < 0.4:
        angle += math.pi / 2
    mask = Image.new("L", image.size, 0)
    pen = ImageDraw.Draw(mask)
    for points, ink in _outline(rng, name):
        cos, sin = math.cos(angle), math.sin(angle)
        placed = [
            (center[0] + radius * (x * cos - y * sin), center[1] + radius * (x * sin + y * cos))
            for x, y in points
        ]
        pen.polygon(placed, fill=ink)
    if rng.random() < 0.6:
        mask = mask.filter(ImageFilter.GaussianBlur(0.6))
    image.paste(fill, (0, 0), mask)


def _arc(radius: float = 1.0, dx: float = 0.0, squash: float = 1.0) -> list[Point]:
    steps = [i * math.tau / 40 for i in range(40)]
    return [(dx + radius * math.cos(t), squash * radius * math.sin(t)) for t in steps]


def _outline(rng: random.Random, name: str) -> list[tuple[list[Point], int]]:
    """Polygons in the unit disc, painted in order: 255 paints, 0 erases."""
    if name == "circle":
        return [(_arc(), 255)]
    if name == "oval":
        return [(_arc(squash=rng.uniform(0.36, 0.48)), 255)]
    if name == "ring":
        return [(_arc(), 255), (_arc(rng.uniform(0.5, 0.72)), 0)]
    if name == "moon":
        return [(_arc(), 255), (_arc(rng.uniform(0.8, 0.9), rng.uniform(0.4, 0.55)), 0)]
    if name == "square":
        return [([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)], 255)]
    if name == "rectangle":
        half = rng.uniform(0.28, 0.4)
        return [([(-0.95, -half), (0.95, -half), (0.95, half), (-0.95, half)], 255)]
    if name == "diamond":
        half = rng.uniform(0.6, 0.72)
        return [([(0, -1), (half, 0), (0, 1), (-half, 0)], 255)]
    if name == "triangle":
        base = rng.uniform(0.75, 0.95)
        return [([(0, -1), (base, 0.75), (-base, 0.75)], 255)]
    if name == "star":
        inner = rng.uniform(0.38, 0.46)
        radii = [1.0 if i % 2 == 0 else inner for i in range(10)]
        turns = [math.pi * i / 5 - math.pi / 2 for i in range(10)]
        pairs = zip(radii, turns, strict=True)
        return [([(r * math.cos(t), r * math.sin(t)) for r, t in pairs], 255)]
    if name == "heart":
        return [([_heart(i * math.tau / 48) for i in range(48)], 255)]
    arm = rng.uniform(0.24, 0.36)
    if name == "cross":
        upright = [(-arm, -1.0), (arm, -1.0), (arm, 1.0), (-arm, 1.0)]
        return [(upright, 255), ([(y, x) for x, y in upright], 255)]
    head = rng.uniform(0.0, 0.25)  # an arrow
    shaft = arm * 0.8
    tip = [(head, -0.75), (1.0, 0.0), (head, 0.75), (head, shaft)]
    return [([(-1, shaft), (-1, -shaft), (head, -shaft), *tip], 255)]


def _heart(t: float) -> Point:
    x = 16 * math.sin(t) ** 3
    y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
    return x / 17, -(y + 2.5) / 16


def _photo(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """A fake photograph: octaves of colored noise, hills, soft blobs, grain."""
    noise = np.random.default_rng(rng.getrandbits(32))
    total = np.full((size[1], size[0], 3), rng.uniform(60, 190))
    tint = noise.uniform(0.2, 1, 3)
    strength = rng.uniform(60, 150)
    for octave in range(rng.randint(2, 6)):
        cells = 2 ** (octave + 1)
        gray, color = (
            noise.uniform(-1, 1, (cells, cells, 1)),
            noise.uniform(-1, 1, (cells, cells, 3)),
        )
        layer = gray * tint + color * rng.uniform(0, 0.6)
        small = Image.fromarray(((layer + 1.6) / 3.2 * 255).clip(0, 255).astype(np.uint8))
        big = np.asarray(small.resize(size, Image.Resampling.BICUBIC), dtype=float)
        total += (big / 127.5 - 1) * strength
        strength *= rng.uniform(0.45, 0.85)
    image = Image.fromarray(total.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    if rng.random() < 0.5:  # a horizon of hills
        steps, level = 12, size[1] * rng.uniform(0.4, 0.75)
        ridge = [
            (size[0] * i / steps, level + size[1] * rng.uniform(-0.12, 0.12))
            for i in range(steps + 1)
        ]
        dark = tuple(int(v) for v in noise.integers(10, 150, 3))
        pen.polygon([(0, size[1]), *ridge, (size[0], size[1])], fill=dark)
    for _ in range(rng.choice((0, 0, 2, 6, 12))):
        x, y, r = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(4, size[1] / 4)
        fill = tuple(int(v) for v in noise.integers(0, 255, 3))
        pen.ellipse((x - r, y - r * rng.uniform(0.4, 1.4), x + r, y + r), fill=fill)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3)))
    grain = noise.normal(0, rng.uniform(0, 14), (size[1], size[0], 1))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def _spoil(image: Image.Image, rng: random.Random) -> Image.Image:
    """Degrade the picture like real ones: noise, blur, JPEG artifacts."""
    if rng.random() < 0.15:
        noise = np.random.default_rng(rng.getrandbits(32))
        shape_ = (image.height, image.width, 3)
        grain = noise.normal(0, rng.uniform(1, 8), shape_)
        image = Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
    if rng.random() < 0.1:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    if rng.random() < 0.2:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(45, 92))
        image = Image.open(buffer).convert("RGB")
    return image
