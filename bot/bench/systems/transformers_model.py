"""The model and prompts that the transformers peers share; prompts are the same as Parley's."""

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
from bot.engine.model.loading import fastest_cpu_dtype
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
    """A model as `from_pretrained` loads it, with the default attention (SDPA)."""

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
        # If Parley's weights are int8, peers use the fastest dtype of this device.
        quick = fastest_cpu_dtype() if setup.device == "cpu" else torch.bfloat16
        dtype = _DTYPES.get(setup.dtype, quick)
        self.model: Any = family.from_pretrained(setup.folder, dtype=dtype, **device).eval()
        self._processor = AutoImageProcessor.from_pretrained(setup.folder) if sees else None

    def build_prompt(self, messages: Sequence[Message]) -> Prompt:
        return self.tokenizer.build_prompt(messages)

    def model_inputs(self, prompts: Sequence[Prompt]) -> dict[str, torch.Tensor]:
        """Arguments of `generate()` for a left-padded batch."""
        longest = max(len(prompt.ids) for prompt in prompts)
        ids = torch.zeros(len(prompts), longest, dtype=torch.int64)
        mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            pad = longest - len(prompt.ids)
            ids[row, pad:] = torch.tensor(prompt.ids)
            mask[row, pad:] = 1
            for span in prompt.spans:
                types[row, pad + span.start : pad + span.end] = 1
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._processor is not None and self.tokenizer.image_tokens is not None:
            # A soft token the model generated in an earlier reply doesn't stand for a picture.
            ids[(ids == self.tokenizer.image_tokens.soft_id) & (types == 0)] = 0
            inputs["token_type_ids"] = types
            if pictures := [image for prompt in prompts for image in prompt.images]:
                decoded = [PILImage.open(io.BytesIO(i.data)).convert("RGB") for i in pictures]
                values = self._processor(decoded, return_tensors="pt", do_pan_and_scan=False)
                inputs["pixel_values"] = torch.as_tensor(values["pixel_values"])
        return {name: value.to(self.model.device) for name, value in inputs.items()}
