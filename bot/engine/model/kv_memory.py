"""Sizes the K/V pool by the memory there is."""

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
_SMALLEST_CONTEXT = 64  # tokens


def build_block_manager(config: LocalEngineConfig, loaded: LoadedModel) -> tuple[BlockManager, int]:
    """The block manager for a loaded model, and the longest context that it can hold.

    A sliding group needs only the window of each conversation, so the longer the context, the
    smaller its share of blocks: enough for two windows per full context, and at least a quarter.

    Raises:
        ModelLoadError: the budget doesn't hold even a short conversation.
    """
    text, attention = loaded.text_model.config, loaded.choice.attention
    block_size = attention.block_size
    num_sliding = sum(kind == "sliding_attention" for kind in text.layer_types)
    num_full = len(text.layer_types) - num_sliding
    context = min(config.max_context, loaded.max_positions)
    image_tokens = loaded.tokenizer.image_tokens
    max_chunk = max(config.max_step_tokens, image_tokens.num_soft_tokens if image_tokens else 0)
    window: int = text.sliding_window or context
    sliding_share = min(1.0, max(0.25, 2 * window / context))
    token_bytes = attention.bytes_per_token * (num_full + sliding_share * num_sliding)
    budget = _kv_budget(config, loaded, 2 * context * token_bytes)
    num_blocks = int(budget / token_bytes) // block_size
    min_sliding = -(-(window + max_chunk) // block_size) + 1
    groups = []
    if num_full:
        groups.append(LayerGroup(None, BlockPool(num_blocks)))
    if num_sliding:
        sliding_blocks = min(num_blocks, max(int(sliding_share * num_blocks), min_sliding))
        groups.append(LayerGroup(window, BlockPool(sliding_blocks)))
    manager = BlockManager(
        block_size, tuple(groups), max_chunk_tokens=max_chunk, prefix_cache=config.prefix_cache
    )
    capacity = manager.max_sequence_length() if num_full else context
    if capacity < min(_SMALLEST_CONTEXT, context):
        min_mib = int(context * token_bytes / MIB) + 1
        raise ModelLoadError(
            f"PARLEY_KV_MEMORY_MIB={config.kv_memory_mib} holds only {capacity} tokens: "
            f"set at least {min_mib} for a context of {context}"
        )
    if capacity < context:
        config.report_progress(
            f"the KV cache holds only {capacity} tokens, so the context is limited to that"
        )
    return manager, min(context, capacity)


def _kv_budget(config: LocalEngineConfig, loaded: LoadedModel, two_contexts: float) -> float:
    """Bytes for keys and values. `two_contexts`: what two full conversations take."""
    if config.kv_memory_mib:
        return config.kv_memory_mib * MIB
    if loaded.device.type == "cuda":
        free: Any = torch.cuda.mem_get_info(loaded.device)[0]
        return float(free * _CUDA_SHARE)
    available = float(psutil.virtual_memory().available)
    return min(max(_CPU_DEFAULT, two_contexts), available / 2)
