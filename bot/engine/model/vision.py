"""Pictures to soft-token embeddings: each distinct picture goes through the vision tower once."""

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

_BATCH_SIZE = 4  # pictures in one pass of the tower: more would delay decoding sequences


class Vision:
    """The image processor, the vision tower and a cache of its features.

    Args:
        model: a `Gemma3ForConditionalGeneration`.
        processor: its image processor.
        cache_bytes: the cache's size; the least recently used features are dropped first.

    Attributes:
        num_encoded: pictures that went through the tower.
    """

    def __init__(self, model: Any, processor: Any, cache_bytes: int) -> None:
        self._model = model
        self._processor = processor
        self._max_bytes = cache_bytes
        self._cache: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._cached_bytes = 0
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="parley-image")
        self.num_encoded = 0

    def start_preprocessing(self, images: Sequence[Image]) -> dict[str, Future[torch.Tensor]]:
        """Decode and resize, on threads, the pictures whose features aren't cached; by digest."""
        uncached = {i.digest: i for i in images if self.get_cached(i.digest) is None}
        return {
            digest: self._threads.submit(self.preprocess_image, image)
            for digest, image in uncached.items()
        }

    def preprocess_image(self, image: Image) -> torch.Tensor:
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
        pixels: torch.Tensor = torch.as_tensor(values)[0]
        return pixels

    def get_cached(self, digest: str) -> torch.Tensor | None:
        """A picture's cached features [soft tokens, hidden]."""
        with self._lock:
            features = self._cache.get(digest)
            if features is not None:
                self._cache.move_to_end(digest)
            return features

    def encode_images(
        self, pictures: dict[str, torch.Tensor | Image]
    ) -> dict[str, torch.Tensor | Exception]:
        """Features by digest, or why there are none; cached ones aren't computed again.

        Args:
            pictures: by digest, pixel values or (slower) the picture itself.
        """
        features: dict[str, torch.Tensor | Exception] = {}
        pixels: dict[str, torch.Tensor] = {}
        for digest, picture in pictures.items():
            if (cached := self.get_cached(digest)) is not None:
                features[digest] = cached
                continue
            try:
                pixels[digest] = (
                    self.preprocess_image(picture) if isinstance(picture, Image) else picture
                )
            except ValueError as error:
                features[digest] = error
        return features | self._encode_or_isolate(pixels)

    def _encode_or_isolate(
        self, pixels: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor | Exception]:
        """Encode all at once; if that raises, one by one, so that only the bad one fails."""
        if not pixels:
            return {}
        features: dict[str, torch.Tensor | Exception] = {}
        try:
            features |= self.run_tower(pixels)
        except Exception as error:
            if len(pixels) == 1:
                return dict.fromkeys(pixels, error)
            for digest, values in pixels.items():
                features |= self._encode_or_isolate({digest: values})
        return features

    @torch.inference_mode()
    def run_tower(self, pixels: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run the tower over distinct pictures, a few at a time, and cache the features.

        Returns:
            Features [soft tokens, hidden] in the model's dtype, by digest.
        """
        features: dict[str, torch.Tensor] = {}
        digests = list(pixels)
        for first in range(0, len(digests), _BATCH_SIZE):
            batch = digests[first : first + _BATCH_SIZE]
            tower = self._model.model.vision_tower
            values = torch.stack([pixels[d] for d in batch]).to(tower.device, tower.dtype)
            encoded = self._model.get_image_features(values).pooler_output
            self.num_encoded += len(batch)
            for digest, rows in zip(batch, encoded, strict=True):
                features[digest] = rows.clone()
                self._cache_features(digest, features[digest])
        return features

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _cache_features(self, digest: str, features: torch.Tensor) -> None:
        with self._lock:
            self._cached_bytes += features.nbytes
            if (replaced := self._cache.pop(digest, None)) is not None:
                self._cached_bytes -= replaced.nbytes
            self._cache[digest] = features
            while self._cached_bytes > self._max_bytes and self._cache:
                _, evicted = self._cache.popitem(last=False)
                self._cached_bytes -= evicted.nbytes
