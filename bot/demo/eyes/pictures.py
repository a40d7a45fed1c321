"""Rendered pictures in bulk: arrays with labels on disk, and training batches of them.

python -m bot.demo.eyes.pictures --to build/pictures --sets 60      # 60 x 2,500 pictures
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .render import SIZE, render
from .scene import CLASSES, Scene, Spot, attribute

PER_SET = 2_500
#: The shares of kinds in training: pictures with several different things teach the most.
KINDS = {"shapes": 52, "glyph": 18, "plain": 3, "mixed": 20, "photo": 7}
SPOTS = 5  # the most things in one picture

_HEART = CLASSES["thing"].index("heart")
_GLYPH = CLASSES["kind"].index("glyph")


@dataclass(frozen=True, slots=True)
class Pictures:
    """Many pictures: pixels [n, side, side, 3] uint8, and what they show.

    `labels` [n, keys of CLASSES] int64; `spots` [n, SPOTS, 4] float32 holds x, y and the two radii
    (a radius of 0: no spot); `inside` [n, SPOTS, 2] int64 the spots' things and colors.
    """

    pixels: np.ndarray
    labels: np.ndarray
    spots: np.ndarray
    inside: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> Pictures:
        """A subset."""
        return Pictures(self.pixels[rows], self.labels[rows], self.spots[rows], self.inside[rows])


def labels_of(scene: Scene) -> list[int]:
    """The index of the scene's class for every key of `CLASSES`."""
    return [classes.index(attribute(scene, key)) for key, classes in CLASSES.items()]


def make(seed: str, count: int, kinds: dict[str, int] | None = None) -> Pictures:
    """Render `count` pictures; the same seed gives the same pictures. `kinds`: their shares."""
    rng = random.Random(seed)  # noqa: S311 - pictures, not secrets
    pixels = np.zeros((count, SIZE, SIZE, 3), np.uint8)
    labels = np.zeros((count, len(CLASSES)), np.int64)
    spots = np.zeros((count, SPOTS, 4), np.float32)
    inside = np.zeros((count, SPOTS, 2), np.int64)
    for row in range(count):
        kind = rng.choices(list(kinds), weights=list(kinds.values()))[0] if kinds else None
        image, scene, scene_spots = render(rng, kind)
        pixels[row], labels[row] = np.asarray(image), labels_of(scene)
        for place, spot in enumerate(scene_spots):
            spots[row, place] = spot.x, spot.y, spot.radius_x, spot.radius_y
            inside[row, place] = _inside(spot)
    return Pictures(pixels, labels, spots, inside)


def _inside(spot: Spot) -> tuple[int, int]:
    return CLASSES["thing"].index(spot.thing), CLASSES["color"].index(spot.color)


def save(pictures: Pictures, path: Path) -> None:
    """Write a set; the labels at `path` come last, so that readers find only complete sets."""
    np.save(_pixels_of(path), pictures.pixels)
    work = path.with_suffix(".part")
    with work.open("wb") as file:
        np.savez(file, labels=pictures.labels, spots=pictures.spots, inside=pictures.inside)
    work.rename(path)


def load(path: Path) -> Pictures:
    """Read a set; its pixels stay on disk until they are used."""
    with np.load(path) as truth:
        pixels = np.load(_pixels_of(path), mmap_mode="r")
        return Pictures(pixels, truth["labels"], truth["spots"], truth["inside"])


def _pixels_of(path: Path) -> Path:
    return path.with_suffix(".pixels.npy")


def load_all(folder: Path) -> list[Pictures]:
    """All training sets rendered so far."""
    return [load(path) for path in sorted(folder.glob("train-*.npz"))]


def join(parts: list[Pictures]) -> Pictures:
    """Concatenate in memory."""
    return Pictures(
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.spots for part in parts]),
        np.concatenate([part.inside for part in parts]),
    )


def batches(find: Callable[[], list[Pictures]], size: int, seed: int) -> Iterator[Pictures]:
    """Endless shuffled batches of randomly flipped and rotated pictures.

    A batch takes its pictures from a few sets, to limit the disk accesses. `find` is called before
    every epoch, since more sets may have been rendered by then.
    """
    rng = np.random.default_rng(seed)
    while True:
        sets = find()
        orders = [rng.permutation(len(pictures)) for pictures in sets]
        share = size // min(4, len(sets))
        pieces = [
            (number, order[at : at + share])
            for number, order in enumerate(orders)
            for at in range(0, len(order) - share + 1, share)
        ]
        together = size // share
        shuffled = rng.permutation(len(pieces))
        for at in range(0, len(pieces) - together + 1, together):
            chosen = [pieces[place] for place in shuffled[at : at + together]]
            yield turned(join([sets[n].take(np.sort(rows)) for n, rows in chosen]), rng)


def turned(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    """Flip and rotate by quarter turns; glyphs stay as they are, hearts upright."""
    pixels, spots = pictures.pixels.copy(), pictures.spots.copy()
    glyph = pictures.labels[:, 0] == _GLYPH
    heart = (pictures.inside[:, :, 0] == _HEART).any(axis=1)
    count = len(pictures)
    mirror = (rng.random(count) < 0.5) & ~glyph
    upend = (rng.random(count) < 0.5) & ~glyph & ~heart
    quarter = (rng.random(count) < 0.5) & ~glyph & ~heart
    pixels[mirror] = pixels[mirror][:, :, ::-1]
    spots[mirror, :, 0] = 1 - spots[mirror, :, 0]
    pixels[upend] = pixels[upend][:, ::-1]
    spots[upend, :, 1] = 1 - spots[upend, :, 1]
    pixels[quarter] = pixels[quarter].transpose(0, 2, 1, 3)
    spots[quarter] = spots[quarter][:, :, [1, 0, 3, 2]]
    return Pictures(pixels, pictures.labels, spots, pictures.inside)


def main(argv: list[str] | None = None) -> int:
    """Render sets from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bot.demo.eyes.pictures", description=__doc__)
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--sets", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="for several processes at once")
    options = parser.parse_args(argv)
    options.to.mkdir(parents=True, exist_ok=True)
    for number in range(options.first, options.sets, options.every):
        path = options.to / f"train-{number:03}.npz"
        if not path.exists():
            save(make(f"train-{number}", PER_SET, KINDS), path)
            print(path, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
