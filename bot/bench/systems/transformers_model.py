"""What the two transformers peers share: the model, and prompts made exactly as Parley's are."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import torch
import transformers
from PIL import Image as PILImage
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

from bot.bench.systems.base import Setup
from bot.engine.api import Message
from bot.engine.model.loading import quickest_on_cpu
from bot.engine.prompt import Prompt
from bot.engine.text.tokenizer import ChatTokenizer, ImageTokens

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def chat_tokenizer(folder: str) -> ChatTokenizer:
    """Parley's prompt builder, so that all systems get the same token ids."""
    settings = AutoConfig.from_pretrained(folder)
    images = None
    if settings.model_type == "gemma3":
        images = ImageTokens(
            start_id=settings.boi_token_index,
            end_id=settings.eoi_token_index,
            soft_id=settings.image_token_index,
            num_soft_tokens=settings.mm_tokens_per_image,
        )
    vocabulary = settings.get_text_config().vocab_size
    return ChatTokenizer(AutoTokenizer.from_pretrained(folder), images, vocabulary)


class TransformersModel:
    """A model as `from_pretrained` gives it, with its own default attention (SDPA)."""

    def __init__(self, setup: Setup) -> None:
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(setup.threads)
        self.tokenizer = chat_tokenizer(setup.folder)
        sees = self.tokenizer.image_tokens is not None
        family = (
            transformers.Gemma3ForConditionalGeneration if sees else transformers.Gemma3ForCausalLM
        )
        device = {} if setup.device == "cpu" else {"device_map": {"": setup.device}}
        # Parley's weights may be in 8 bits: then what is quickest here.
        quick = quickest_on_cpu() if setup.device == "cpu" else torch.bfloat16
        dtype = _DTYPES.get(setup.dtype, quick)
        self.model: Any = family.from_pretrained(setup.folder, dtype=dtype, **device).eval()
        self._processor = AutoImageProcessor.from_pretrained(setup.folder) if sees else None

    def prompt(self, messages: Sequence[Message]) -> Prompt:
        """Token ids and pictures of these messages."""
        return self.tokenizer.build_prompt(messages)

    def inputs(self, prompts: Sequence[Prompt]) -> dict[str, torch.Tensor]:
        """`generate`'s arguments for a batch, padded on the left."""
        longest = max(len(prompt.ids) for prompt in prompts)
        ids = torch.zeros(len(prompts), longest, dtype=torch.int64)
        mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            pad = longest - len(prompt.ids)
            ids[row, pad:] = torch.tensor(prompt.ids)
            mask[row, pad:] = 1
            for span in prompt.spans:
                types[row, pad + span.start : pad + span.end] = 1
        found = {"input_ids": ids, "attention_mask": mask}
        if self._processor is not None and self.tokenizer.image_tokens is not None:
            # A soft token that the model itself wrote in an earlier reply stands for no picture.
            ids[(ids == self.tokenizer.image_tokens.soft_id) & (types == 0)] = 0
            found["token_type_ids"] = types
            if pictures := [image for prompt in prompts for image in prompt.images]:
                decoded = [PILImage.open(io.BytesIO(i.data)).convert("RGB") for i in pictures]
                values = self._processor(decoded, return_tensors="pt", do_pan_and_scan=False)
                found["pixel_values"] = torch.as_tensor(values["pixel_values"])
        return {name: value.to(self.model.device) for name, value in found.items()}
