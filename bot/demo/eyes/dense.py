"""What lies in each patch of a picture: dense truth that teaches the tower far quicker than words.

A picture has one shape's name but sixty-four patches, and most of what makes a shape hard to name
is to tell its outline from the ground in any pair of colors. So the tower is told outlines first.
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
CONTRAST = 36  # levels of 255 between a thing and the ground, at least; grain has fewer
_KIND, _GROUND = list(CLASSES).index("kind"), list(CLASSES).index("ground")
_PHOTO, _GLYPH = (CLASSES["kind"].index(kind) for kind in ("photo", "glyph"))


def contents(batch: Pictures) -> tuple[Tensor, Tensor, Tensor]:
    """For every patch [n, patches] its thing, its color and whether a thing's middle lies in it.

    A thing of `THINGS` is the ground.
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
    """How much of each cell of each patch a thing covers, and for which pictures that is known.

    Returns:
        [n, patches, CELLS * CELLS] float32 from 0 to 1, and [n] bool.
    """
    size = batch.pixels.shape[1]
    where = (np.arange(size) + 0.5) / size
    near = np.zeros((len(batch), size, size), bool)
    # Shapes stay within their disc; a glyph's corners reach out of it.
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
    """Which points of a square grid lie within each spot, `reach` radii wide: [n, down, across]."""
    across = (axis - spots[:, :1]) / (spots[:, 2:3] * reach[:, None])
    down = (axis - spots[:, 1:2]) / (spots[:, 3:4] * reach[:, None])
    is_inside: np.ndarray = down[:, :, None] ** 2 + across[:, None] ** 2 < 1
    return is_inside


def _grounds(pixels: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The middling color of some pixels away from things, [n, 1, 1, 3]; else the corner's."""
    colors = pixels[:, 0, 0].astype(np.int16)
    for row, (some, taken) in enumerate(zip(pixels[:, ::4, ::4], near[:, ::4, ::4], strict=True)):
        free = some[~taken]
        if len(free) >= 10:
            colors[row] = np.median(free, axis=0)
    return colors[:, None, None]
