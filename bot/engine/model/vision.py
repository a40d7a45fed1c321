"""Pictures to soft-token embeddings: each distinct picture goes through the tower once."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any

import torch
from PIL import Image as PILImage

from bot.engine.api import Image
from bot.engine.text.pan_and_scan import Crop

_AT_ONCE = 4  # pictures in one pass: more would hold up those who decode


class Vision:
    """The image processor, the vision tower and a cache of its results.

    Args:
        model: a `Gemma3ForConditionalGeneration`.
        processor: its image processor.
        cache_bytes: features are kept up to this size, least recently used out first.
    """

    def __init__(self, model: Any, processor: Any, cache_bytes: int) -> None:
        self._model = model
        self._processor = processor
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._size = 0
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="parley-image")
        self.passes = 0  # pictures that went through the tower

    def prepare(self, images: Sequence[Image]) -> dict[str, Future[torch.Tensor]]:
        """Start decoding and resizing, on threads, those whose features aren't cached."""
        wanted = {image.digest: image for image in images if self.find(image.digest) is None}
        return {digest: self._pool.submit(self.pixels, i) for digest, i in wanted.items()}

    def pixels(self, image: Image) -> torch.Tensor:
        """Encoded bytes to pixel values [channels, height, width], float32.

        Raises:
            ValueError: the bytes are no picture.
        """
        try:
            picture = PILImage.open(io.BytesIO(image.data)).convert("RGB")
            if isinstance(image, Crop):
                picture = picture.crop(image.box)
        except Exception as error:
            raise ValueError(f"a picture can't be decoded: {error}") from error
        # Crops are pictures of their own here: each is always `mm_tokens_per_image` tokens.
        values = self._processor(images=[picture], return_tensors="pt", do_pan_and_scan=False)[
            "pixel_values"
        ]
        found: torch.Tensor = torch.as_tensor(values)[0]
        return found

    def find(self, digest: str) -> torch.Tensor | None:
        """Cached features [soft tokens, hidden]."""
        with self._lock:
            found = self._cache.get(digest)
            if found is not None:
                self._cache.move_to_end(digest)
            return found

    def look(self, wanted: dict[str, torch.Tensor | Image]) -> dict[str, torch.Tensor | Exception]:
        """Features of pictures by digest, or why there are none; cached ones aren't computed.

        Args:
            wanted: by digest, pixel values or (slower) the picture itself.
        """
        found: dict[str, torch.Tensor | Exception] = {}
        pixels: dict[str, torch.Tensor] = {}
        for digest, picture in wanted.items():
            if (rows := self.find(digest)) is not None:
                found[digest] = rows
                continue
            try:
                pixels[digest] = self.pixels(picture) if isinstance(picture, Image) else picture
            except ValueError as error:
                found[digest] = error
        return found | self._try(pixels)

    def _try(self, pixels: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | Exception]:
        """All at once; if that raises, one by one, so that only the bad one has no features."""
        if not pixels:
            return {}
        found: dict[str, torch.Tensor | Exception] = {}
        try:
            found |= self.compute(pixels)
        except Exception as error:
            if len(pixels) == 1:
                return dict.fromkeys(pixels, error)
            for digest, values in pixels.items():
                found |= self._try({digest: values})
        return found

    @torch.inference_mode()
    def compute(self, pixels: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run the tower over distinct pictures, a few at a time, and cache the results.

        Returns:
            Features [soft tokens, hidden] in the model's dtype, by digest.
        """
        found: dict[str, torch.Tensor] = {}
        digests = list(pixels)
        for at in range(0, len(digests), _AT_ONCE):
            some = digests[at : at + _AT_ONCE]
            tower = self._model.model.vision_tower
            batch = torch.stack([pixels[d] for d in some]).to(tower.device, tower.dtype)
            features = self._model.get_image_features(batch).pooler_output
            self.passes += len(some)
            for digest, rows in zip(some, features, strict=True):
                found[digest] = rows.clone()
                self._keep(digest, found[digest])
        return found

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _keep(self, digest: str, rows: torch.Tensor) -> None:
        with self._lock:
            self._size += rows.nbytes
            if (old := self._cache.pop(digest, None)) is not None:
                self._size -= old.nbytes
            self._cache[digest] = rows
            while self._size > self._cache_bytes and self._cache:
                _, gone = self._cache.popitem(last=False)
                self._size -= gone.nbytes
