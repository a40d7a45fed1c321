"""Pictures for the workloads, drawn from a seed."""

from __future__ import annotations

import io
import random
from functools import lru_cache
from hashlib import sha256

from PIL import Image as PILImage
from PIL import ImageDraw

from bot.engine.api import Image

_PICTURE_SIZE = (640, 480)  # as large as a chat platform's preview


@lru_cache(maxsize=64)
def draw_picture(seed: int) -> Image:
    """A PNG of random colored rectangles and ellipses; the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
    canvas = PILImage.new("RGB", _PICTURE_SIZE, _random_color(rng))
    draw = ImageDraw.Draw(canvas)
    for _ in range(12):
        left, top = rng.randrange(_PICTURE_SIZE[0] - 40), rng.randrange(_PICTURE_SIZE[1] - 40)
        box = (left, top, left + rng.randrange(20, 240), top + rng.randrange(20, 240))
        (draw.rectangle if rng.random() < 0.5 else draw.ellipse)(box, fill=_random_color(rng))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return Image(data=buffer.getvalue(), digest=sha256(buffer.getvalue()).hexdigest())


def _random_color(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)
