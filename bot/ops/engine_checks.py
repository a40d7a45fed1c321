"""The engine's line in `parley doctor`: the backend that will run, and why not a faster one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bot.engine.api import ModelLoadError
from bot.engine.model.loading import LocalEngineConfig, choose_engine_backend, find_device
from bot.platforms.base import Finding

#: The text model of the demo, whose configuration is on disk only after the first start.
_DEMO_SHAPES = {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256}


def check_backend(config: LocalEngineConfig) -> Finding:
    """Choose the backend as the engine will, by the model's shapes. Blocking; loads no weights."""
    shapes = _load_shapes(config.model)
    if shapes is None:
        return Finding("engine", True, "the backend is chosen when the model has been downloaded")
    try:
        device = find_device(config)
        choice = choose_engine_backend(config, shapes, device)
    except ModelLoadError as error:
        return Finding("engine", False, str(error))
    detail = f"{choice.name} backend on {device}, {choice.weights} weights"
    if slower := choice.slower_than_expected:
        detail += f"; slower than it could be: {'; '.join(map(str, slower))}"
    return Finding("engine", True, detail)


def _load_shapes(model: str) -> Any | None:
    """The text model's configuration; None if it is not on this machine yet."""
    from transformers import AutoConfig, Gemma3TextConfig

    if model == "demo":
        return Gemma3TextConfig(**_DEMO_SHAPES)
    folder = Path(model).expanduser()
    source = str(folder) if folder.is_dir() else model
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError):
        return None
    return config.get_text_config()
