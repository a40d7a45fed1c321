"""The text models of google/gemma-3-*-it, from their config.json."""

from __future__ import annotations

from typing import Any

_ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    "full_attention": {"rope_type": "default", "rope_theta": 1_000_000.0},
}
_ROPE_LONG = {
    **_ROPE,
    "full_attention": {"rope_type": "linear", "rope_theta": 1_000_000.0, "factor": 8.0},
}


def _shape(
    hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, head_dim: int,
    window: int, *, vocabulary: int = 262_208, scalar: int = 256, long: bool = True,
) -> dict[str, Any]:  # fmt: skip
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "sliding_window": window,
        "query_pre_attn_scalar": scalar,
        "rope_parameters": _ROPE_LONG if long else _ROPE,
        "max_position_embeddings": 131_072 if long else 32_768,
    }


SHAPES: dict[str, dict[str, Any]] = {
    "270m": _shape(640, 2048, 18, 4, 1, 256, 512, vocabulary=262_144, long=False),
    "1b": _shape(1152, 6912, 26, 4, 1, 256, 512, vocabulary=262_144, long=False),
    "4b": _shape(2560, 10_240, 34, 8, 4, 256, 1024),
    "12b": _shape(3840, 15_360, 48, 16, 8, 256, 1024),
    "27b": _shape(5376, 21_504, 62, 32, 16, 128, 1024, scalar=168),
}
"""Keyword arguments of `Gemma3TextConfig`, by size."""
