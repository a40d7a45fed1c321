"""Pictures for the workloads, drawn from a seed."""

from __future__ import annotations

import io
import random
from functools import lru_cache
from hashlib import sha256

from PIL import Image as PILImage
from PIL import ImageDraw

from bot.engine.api import Image

_SIZE = (640, 480)  # what a chat platform's preview has


@lru_cache(maxsize=64)
def picture(seed: int) -> Image:
    """Coloured rectangles and ellipses on a ground, as PNG; the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
    canvas = PILImage.new("RGB", _SIZE, _colour(rng))
    draw = ImageDraw.Draw(canvas)
    for _ in range(12):
        left, top = rng.randrange(_SIZE[0] - 40), rng.randrange(_SIZE[1] - 40)
        box = (left, top, left + rng.randrange(20, 240), top + rng.randrange(20, 240))
        (draw.rectangle if rng.random() < 0.5 else draw.ellipse)(box, fill=_colour(rng))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return Image(data=buffer.getvalue(), digest=sha256(buffer.getvalue()).hexdigest())


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)
