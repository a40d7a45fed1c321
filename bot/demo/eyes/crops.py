"""Crops a quarter of the picture's size, on which training is several times as fast.

The tower's first layers attend only to neighbors, so they can learn on four patches a side instead
of eight. A small thing is cropped out of its picture; for a large one, the whole picture is shrunk
to half its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .pictures import Pictures
from .render import SIZE
from .tower import GRID, PATCH, to_pixels

SIDE = 4  # patches
PIXELS = SIDE * PATCH
LARGEST = 20  # radius in pixels; the picture of a larger thing is shrunk instead


def crops(stream: Iterator[Pictures], seed: int) -> Iterator[Pictures]:
    """One crop of every picture, with spots in fractions of the crop."""
    rng = np.random.default_rng(seed)
    for batch in stream:
        yield cut(batch, rng)


def cut(batch: Pictures, rng: np.random.Generator) -> Pictures:
    """A crop around one thing of each picture, or the picture at half size."""
    pixels = np.empty((len(batch), PIXELS, PIXELS, 3), np.uint8)
    spots = batch.spots.copy()
    for row, picture in enumerate(batch.pixels):
        count = int((spots[row, :, 2] > 0).sum())
        chosen = spots[row, rng.integers(count)] * SIZE if count else None
        if chosen is not None and chosen[2:].max() > LARGEST:
            quads = picture.reshape(PIXELS, 2, PIXELS, 2, 3).astype(np.uint16)
            pixels[row] = quads.sum((1, 3)) // 4
            continue
        if chosen is None:
            corner = rng.integers(0, SIZE - PIXELS + 1, 2)
        else:
            room = np.maximum(4, PIXELS / 2 - chosen[2:])
            middle = chosen[:2] + rng.uniform(-1, 1, 2) * room
            corner = np.clip(np.round(middle - PIXELS / 2), 0, SIZE - PIXELS).astype(int)
        x, y = corner
        pixels[row] = picture[y : y + PIXELS, x : x + PIXELS]
        spots[row, :, :2] = (spots[row, :, :2] * SIZE - corner) / PIXELS
        spots[row, :, 2:] *= SIZE / PIXELS
    return Pictures(pixels, batch.labels, spots, batch.inside)


def look_at_crops(eyes: nn.ModuleDict, pictures: np.ndarray, depth: int) -> tuple[Tensor, ...]:
    """Hidden states of the first `depth` layers for crops at random positions in a picture."""
    tower: Any = eyes["vision_tower"]
    embeddings = tower.embeddings
    weight = embeddings.position_embedding.weight
    corners = torch.randint(0, GRID - SIDE + 1, (2, len(pictures), 1))
    steps = torch.arange(SIDE)
    down = (corners[0] + steps)[:, :, None] * GRID
    places = (down + (corners[1] + steps)[:, None, :]).flatten(1)
    patches = embeddings.patch_embedding(to_pixels(pictures).to(weight.dtype))
    seen = [patches.flatten(2).transpose(1, 2) + weight[places]]
    for layer in tower.encoder.layers[:depth]:
        seen.append(layer(seen[-1], attention_mask=None))
    return tuple(seen)
