"""Pan and scan: which crops of a picture the model also sees, by Gemma 3's own rule.

A picture of any shape is resized to a square of 896 pixels a side. Crops show parts of it at a
larger scale: more detail, at the cost of a full set of soft tokens each.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from PIL import Image as PILImage

from bot.engine.api import Image

PanAndScan: TypeAlias = Literal["off", "auto", "on"]
Box: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom, in pixels

# `auto` crops pictures with at least this ratio of sides, or whose longer side exceeds the model's
# by this factor: resizing them to a square would lose small detail.
_ELONGATED = 2.0
_HIGH_RESOLUTION = 1.5

# What `Gemma3Processor` falls back on: the checkpoints say null.
_MIN_CROP, _MAX_CROPS, _MIN_RATIO = 256, 4, 1.2


@dataclass(frozen=True, slots=True)
class Crop(Image):
    """A part of a picture: the picture's bytes with a digest of its own."""

    box: Box = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class CropRule:
    """When and how pictures are cropped. Lengths in pixels."""

    mode: PanAndScan
    side: int = 896  # of the vision tower's input
    min_crop: int = _MIN_CROP
    max_crops: int = _MAX_CROPS
    min_ratio: float = _MIN_RATIO

    @classmethod
    def from_processor(cls, mode: PanAndScan, processor: Any) -> CropRule:
        return cls(
            mode,
            processor.size["height"],
            processor.pan_and_scan_min_crop_size or _MIN_CROP,
            processor.pan_and_scan_max_num_crops or _MAX_CROPS,
            processor.pan_and_scan_min_ratio_to_activate or _MIN_RATIO,
        )

    def crop_image(self, image: Image) -> tuple[Crop, ...]:
        """The crops to add to a picture; reads only the picture's header."""
        if self.mode == "off":
            return ()
        try:
            with PILImage.open(io.BytesIO(image.data)) as opened:
                size = opened.size
        except Exception:  # decoding its pixels reports the error
            return ()
        return tuple(
            Crop(image.data, f"{image.digest}/{'-'.join(map(str, box))}", box)
            for box in self.crop_boxes(*size)
        )

    def crop_boxes(self, width: int, height: int) -> tuple[Box, ...]:
        """The boxes to crop from a picture of this size; empty if it isn't cropped."""
        longer, shorter = max(width, height), min(width, height)
        if not self._should_crop(longer, shorter):
            return ()
        # As `Gemma3ImageProcessor.pan_and_scan`: slices along the longer side.
        count = min(longer // self.min_crop, math.floor(longer / shorter + 0.5))
        count = min(self.max_crops, max(2, count))
        step = math.ceil(longer / count)
        if min(step, shorter) < self.min_crop:
            return ()
        slices = [(at, min(at + step, longer)) for at in range(0, step * count, step)]
        if width >= height:
            return tuple((start, 0, end, height) for start, end in slices)
        return tuple((0, start, width, end) for start, end in slices)

    def _should_crop(self, longer: int, shorter: int) -> bool:
        if self.mode == "off" or longer / shorter < self.min_ratio:
            return False
        return (
            self.mode == "on"
            or longer / shorter >= _ELONGATED
            or longer >= _HIGH_RESOLUTION * self.side
        )
