"""A model that sees as Gemma does, for the workload with pictures, where the one at hand doesn't.

The demo's own eyes are so small that a picture costs it no more than a sentence. Here its weights
are real, and its eyes are not: a vision tower with random weights and Gemma 3's own geometry (896 x
896 pixels, 256 soft tokens). It sees nothing sensible, but it costs what a tower of its size costs,
and that is all the workload measures.
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
_SIZE, _PATCH, _SOFT_TOKENS = 896, 14, 256
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def model_that_sees(setup: Setup, workload: str, say: Callable[[str], None]) -> Setup:
    """The setup as it is, or for `images` one whose model takes pictures of Gemma's geometry.

    Raises:
        BenchFailed: the model is text-only and no local folder, so it can't be given eyes.
    """
    if workload != "images":
        return setup
    from transformers import AutoConfig

    settings = AutoConfig.from_pretrained(setup.folder)
    if settings.model_type == "gemma3":
        if settings.vision_config.image_size >= _SIZE:
            return setup
        settings = settings.text_config
    source = Path(setup.folder)
    if not source.is_dir():
        raise BenchFailed(f"PARLEY_MODEL={setup.model} can't see pictures: use a model that can")
    target = Path(setup.scratch) / f"{source.name}-eyes"
    if not (target / "model.safetensors").is_file():
        say("giving the model a vision tower with random weights ...")
        _build(source, target, settings)
    return replace(
        setup,
        folder=str(target),
        model=f"{setup.model} with a random vision tower ({_LAYERS} layers of {_HIDDEN})",
        engine=replace(setup.engine, model=str(target), locate=None, text_only=False),
    )


def _build(source: Path, target: Path, text: Any) -> None:
    """Write the folder; it appears under its name only when complete."""
    import torch
    from transformers import (
        AutoTokenizer,
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        SiglipVisionConfig,
    )
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    tokenizer = AutoTokenizer.from_pretrained(source)
    words, generation = _text_weights(source)
    config = Gemma3Config(
        text_config=text,
        vision_config=SiglipVisionConfig(
            hidden_size=_HIDDEN,
            intermediate_size=4 * _HIDDEN,
            num_hidden_layers=_LAYERS,
            num_attention_heads=_HEADS,
            image_size=_SIZE,
            patch_size=_PATCH,
        ),
        mm_tokens_per_image=_SOFT_TOKENS,
        boi_token_index=_id_of(tokenizer, "<start_of_image>"),
        eoi_token_index=_id_of(tokenizer, "<end_of_image>"),
        # Where the text model never learnt of it, the first id that its matrix lacks.
        image_token_index=_id_of(tokenizer, "<image_soft_token>", text.vocab_size),
    )
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config).to(torch.bfloat16)
    model.model.language_model.load_state_dict(words)
    model.tie_weights()
    model.generation_config = generation
    work = target.with_name(f"{target.name}-{os.getpid()}")
    try:
        model.save_pretrained(work)
        Gemma3ImageProcessorPil(size={"height": _SIZE, "width": _SIZE}).save_pretrained(work)
        for name in _TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, work / name)
        shutil.rmtree(target, ignore_errors=True)
        work.replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _text_weights(folder: Path) -> tuple[dict[str, Any], Any]:
    """The text model's weights, bfloat16, and the generation settings."""
    import torch
    from transformers import AutoConfig, Gemma3ForCausalLM, Gemma3ForConditionalGeneration

    if AutoConfig.from_pretrained(folder).model_type == "gemma3":
        seeing = Gemma3ForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
        return seeing.model.language_model.state_dict(), seeing.generation_config
    blind = Gemma3ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    return blind.model.state_dict(), blind.generation_config


def _id_of(tokenizer: Any, token: str, otherwise: int | None = None) -> int:
    found = tokenizer.get_vocab().get(token, otherwise)
    if found is None:
        raise BenchFailed(
            f"the model's tokenizer has no {token}: use a model that can see pictures"
        )
    return int(found)
