"""Adds a vision tower of Gemma's geometry to a model without one, for the `images` workload.

The demo's own vision tower is so small that a picture costs no more than a sentence. The model
built here keeps the text weights and gets a tower with random weights and Gemma 3's geometry (896 x
896 pixels, 256 soft tokens). It recognizes nothing, but costs what a tower of its size costs, which
is all the workload measures.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.bench.errors import BenchFailed
from bot.bench.systems.base import Setup

_HIDDEN, _LAYERS, _HEADS = 384, 6, 6
_IMAGE_SIDE, _PATCH_SIDE, _SOFT_TOKENS = 896, 14, 256
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def with_vision_tower(setup: Setup, workload: str, say: Callable[[str], None]) -> Setup:
    """For `images`, a setup whose model takes pictures of Gemma's geometry; otherwise `setup`.

    Raises:
        BenchFailed: the model is text-only and not a local folder, so no tower can be added.
    """
    if workload != "images":
        return setup
    from transformers import AutoConfig

    settings = AutoConfig.from_pretrained(setup.folder)
    if settings.model_type == "gemma3":
        if settings.vision_config.image_size >= _IMAGE_SIDE:
            return setup
        settings = settings.text_config
    source = Path(setup.folder)
    if not source.is_dir():
        raise BenchFailed(f"PARLEY_MODEL={setup.model} can't see pictures: use a model that can")
    target = Path(setup.scratch) / f"{source.name}-eyes"
    if not (target / "model.safetensors").is_file():
        say("adding a vision tower with random weights to the model ...")
        _build_model(source, target, settings)
    return replace(
        setup,
        folder=str(target),
        model=f"{setup.model} with a random vision tower ({_LAYERS} layers of {_HIDDEN})",
        engine=replace(setup.engine, model=str(target), locate=None, text_only=False),
    )


def _build_model(source: Path, target: Path, text: Any) -> None:
    """Write the model folder; rename it into place once it is complete."""
    import torch
    from transformers import (
        AutoTokenizer,
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        SiglipVisionConfig,
    )
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    tokenizer = AutoTokenizer.from_pretrained(source)
    text_weights, generation = _text_weights(source)
    config = Gemma3Config(
        text_config=text,
        vision_config=SiglipVisionConfig(
            hidden_size=_HIDDEN,
            intermediate_size=4 * _HIDDEN,
            num_hidden_layers=_LAYERS,
            num_attention_heads=_HEADS,
            image_size=_IMAGE_SIDE,
            patch_size=_PATCH_SIDE,
        ),
        mm_tokens_per_image=_SOFT_TOKENS,
        boi_token_index=_token_id(tokenizer, "<start_of_image>"),
        eoi_token_index=_token_id(tokenizer, "<end_of_image>"),
        # A text-only tokenizer may lack it: then the first id beyond the embedding matrix.
        image_token_index=_token_id(tokenizer, "<image_soft_token>", text.vocab_size),
    )
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config).to(torch.bfloat16)
    model.model.language_model.load_state_dict(text_weights)
    model.tie_weights()
    model.generation_config = generation
    work = target.with_name(f"{target.name}-{os.getpid()}")
    try:
        model.save_pretrained(work)
        Gemma3ImageProcessorPil(size={"height": _IMAGE_SIDE, "width": _IMAGE_SIDE}).save_pretrained(
            work
        )
        for name in _TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, work / name)
        shutil.rmtree(target, ignore_errors=True)
        work.replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _text_weights(folder: Path) -> tuple[dict[str, Any], Any]:
    """The text model's weights in bfloat16, and its generation config."""
    import torch
    from transformers import AutoConfig, Gemma3ForCausalLM, Gemma3ForConditionalGeneration

    if AutoConfig.from_pretrained(folder).model_type == "gemma3":
        multimodal = Gemma3ForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
        return multimodal.model.language_model.state_dict(), multimodal.generation_config
    text_only = Gemma3ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    return text_only.model.state_dict(), text_only.generation_config


def _token_id(tokenizer: Any, token: str, default: int | None = None) -> int:
    token_id = tokenizer.get_vocab().get(token, default)
    if token_id is None:
        raise BenchFailed(
            f"the model's tokenizer has no {token}: use a model that can see pictures"
        )
    return int(token_id)
