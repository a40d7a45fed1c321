"""Per-patch labels: dense supervision that trains the tower much faster than words alone.

A picture has one shape's name but sixty-four patches, and the hard part of naming a shape is
separating its outline from a background of any color. So the tower learns outlines first.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .pictures import Pictures
from .scene import CLASSES
from .tower import PATCH

THINGS, COLORS = len(CLASSES["thing"]), len(CLASSES["color"])
CELLS = 4  # a side of a patch, for its outline
CONTRAST = 36  # the least difference (of 255) between a thing and the background; noise has less
_KIND, _GROUND = list(CLASSES).index("kind"), list(CLASSES).index("ground")
_PHOTO, _GLYPH = (CLASSES["kind"].index(kind) for kind in ("photo", "glyph"))


def contents(batch: Pictures) -> tuple[Tensor, Tensor, Tensor]:
    """Each patch's thing, its color and whether it contains a thing's center, [n, patches] each.

    The thing `THINGS` is the background.
    """
    count, grid = len(batch), batch.pixels.shape[1] // PATCH
    middles = (np.arange(grid) + 0.5) / grid
    thing = np.full((count, grid * grid), THINGS)
    thing[batch.labels[:, _KIND] == _PHOTO] = THINGS - 1
    color = np.repeat(batch.labels[:, _GROUND, None], grid * grid, 1)
    middle = np.zeros((count, grid * grid), np.float32)
    for place in range(batch.spots.shape[1]):
        spot = batch.spots[:, place]
        rows = np.flatnonzero(spot[:, 2] > 0)
        inside = np.zeros((count, grid * grid), bool)
        inside[rows] = _within(spot[rows], middles, np.ones(len(rows))).reshape(
            len(rows), grid * grid
        )
        rows = rows[((spot[rows, :2] > 0) & (spot[rows, :2] < 1)).all(1)]
        cell = np.clip((spot[rows, :2] * grid).astype(int), 0, grid - 1)
        nearest = cell[:, 1] * grid + cell[:, 0]
        inside[rows, nearest] = True
        middle[rows, nearest] = 1
        thing = np.where(inside, batch.inside[:, place, :1], thing)
        color = np.where(inside, batch.inside[:, place, 1:], color)
    return torch.from_numpy(thing), torch.from_numpy(color), torch.from_numpy(middle)


def outlines(batch: Pictures) -> tuple[Tensor, Tensor]:
    """How much of each cell of each patch is covered by a thing, and which pictures have outlines.

    Returns:
        [n, patches, CELLS * CELLS] float32 from 0 to 1, and [n] bool.
    """
    size = batch.pixels.shape[1]
    where = (np.arange(size) + 0.5) / size
    near = np.zeros((len(batch), size, size), bool)
    # Shapes stay within their disc; a glyph's corners stick out of it.
    reach = np.where(batch.labels[:, _KIND] == _GLYPH, 1.45, 1.06)
    for place in range(batch.spots.shape[1]):
        rows = np.flatnonzero(batch.spots[:, place, 2] > 0)
        near[rows] |= _within(batch.spots[rows, place], where, reach[rows])
    gap = np.abs(batch.pixels.astype(np.int16) - _grounds(batch.pixels, near)).max(-1)
    covered = (gap > CONTRAST) & near
    step, grid = PATCH // CELLS, size // PATCH
    cells = covered.reshape(-1, grid, CELLS, step, grid, CELLS, step).mean((3, 6))
    cells = cells.transpose(0, 1, 3, 2, 4).reshape(len(batch), grid * grid, CELLS * CELLS)
    has_outline = torch.from_numpy(batch.labels[:, _KIND] != _PHOTO)
    return torch.from_numpy(cells.astype(np.float32)), has_outline


def _within(spots: np.ndarray, axis: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Which points of a square grid are within `reach` radii of each spot, [n, down, across]."""
    across = (axis - spots[:, :1]) / (spots[:, 2:3] * reach[:, None])
    down = (axis - spots[:, 1:2]) / (spots[:, 3:4] * reach[:, None])
    is_inside: np.ndarray = down[:, :, None] ** 2 + across[:, None] ** 2 < 1
    return is_inside


def _grounds(pixels: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The median color of pixels outside things, [n, 1, 1, 3]; if there are few, the corner's."""
    colors = pixels[:, 0, 0].astype(np.int16)
    for row, (some, taken) in enumerate(zip(pixels[:, ::4, ::4], near[:, ::4, ::4], strict=True)):
        free = some[~taken]
        if len(free) >= 10:
            colors[row] = np.median(free, axis=0)
    return colors[:, None, None]
