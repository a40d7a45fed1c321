"""How many blocks of K/V a memory budget buys."""

from __future__ import annotations

from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]
import torch

from bot.engine.api import ModelLoadError
from bot.engine.model.loading import LoadedModel, LocalEngineConfig
from bot.engine.schedule.block_manager import BlockManager, BlockPool, LayerGroup

MIB = 2**20
_CPU_DEFAULT = 512 * MIB
_CUDA_SHARE = 0.85  # of what the weights leave free; the rest is for activations
_SMALLEST_CONTEXT = 64


def build_blocks(config: LocalEngineConfig, loaded: LoadedModel) -> tuple[BlockManager, int]:
    """The block manager for a loaded model, and the context length that it can hold.

    A sliding group needs only its window per conversation, so it gets fewer blocks the longer the
    context is: for conversations of two windows on average, and at least a quarter.

    Raises:
        ModelLoadError: the budget holds not even a short conversation.
    """
    text = loaded.text_model.config
    size = loaded.choice.attention.block_size
    sliding = sum(kind == "sliding_attention" for kind in text.layer_types)
    full = len(text.layer_types) - sliding
    layer = loaded.choice.attention.bytes_per_token
    context = min(config.max_context, loaded.max_positions)
    images = loaded.tokenizer.image_tokens
    step = max(config.max_step_tokens, images.num_soft_tokens if images else 0)
    window: int = text.sliding_window or context
    share = min(1.0, max(0.25, 2 * window / context))
    budget = _budget(config, loaded, 2 * context * layer * (full + share * sliding))
    tokens = int(budget / (layer * (full + share * sliding)))
    blocks = tokens // size
    least = -(-(window + step) // size) + 1
    groups = []
    if full:
        groups.append(LayerGroup(None, BlockPool(blocks)))
    if sliding:
        groups.append(LayerGroup(window, BlockPool(min(blocks, max(int(share * blocks), least)))))
    manager = BlockManager(
        size, tuple(groups), max_chunk_tokens=step, prefix_cache=config.prefix_cache
    )
    capacity = manager.max_sequence_length() if full else context
    if capacity < min(_SMALLEST_CONTEXT, context):
        least_mib = int(context * layer * (full + share * sliding) / MIB) + 1
        raise ModelLoadError(
            f"PARLEY_KV_MEMORY_MIB={config.kv_memory_mib} holds only {capacity} tokens: "
            f"set at least {least_mib} for a context of {context}"
        )
    if capacity < context:
        config.say(f"the KV cache holds only {capacity} tokens, so the context is limited to that")
    return manager, min(context, capacity)


def _budget(config: LocalEngineConfig, loaded: LoadedModel, wanted: float) -> float:
    """Bytes for keys and values. `wanted`: two full conversations."""
    if config.kv_memory_mib:
        return config.kv_memory_mib * MIB
    if loaded.device.type == "cuda":
        free: Any = torch.cuda.mem_get_info(loaded.device)[0]
        return float(free * _CUDA_SHARE)
    return min(max(_CPU_DEFAULT, wanted), float(psutil.virtual_memory().available) / 2)
