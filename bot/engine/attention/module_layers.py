"""transformers' own Gemma 3 layers, whose attention is a backend's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface

from bot.engine.attention.base import AttendingKV, ComputeLogits

_ATTENTION_NAME = "parley_paged"


class ModuleLayers:
    """The decoder layers of a `Gemma3TextModel` as they are; only their attention is switched."""

    def __init__(self, text_model: Any) -> None:
        self._model = text_model
        text_model.set_attn_implementation(_ATTENTION_NAME)

    def bind_pools(self, pools: Sequence[AttendingKV]) -> None:
        for layer, pool in zip(self._model.layers, pools, strict=True):
            layer.self_attn.parley_kv = pool

    def forward(
        self, embeds: torch.Tensor, positions: torch.Tensor, pools: Sequence[AttendingKV]
    ) -> torch.Tensor:
        """See `DecoderLayers`. The layers use the pools that were last bound."""
        hidden: torch.Tensor = self._model(
            inputs_embeds=embeds[None],
            position_ids=positions[None],
            # Plans take the place of masks; a dict keeps transformers from making some.
            attention_mask={"full_attention": None, "sliding_attention": None},
            use_cache=False,
        ).last_hidden_state[0]
        return hidden


def build_module_layers(text_model: Any, head: Any) -> tuple[ModuleLayers, ComputeLogits]:
    """A `BuildLayers`: the modules as they are."""
    return ModuleLayers(text_model), module_logits(text_model.config, head, head.weight.device)


def module_logits(config: Any, head: Any, device: torch.device) -> ComputeLogits:
    """The LM head as it is, on its device, and Gemma's soft cap where the model has one."""
    cap = getattr(config, "final_logit_softcapping", None)

    def compute_logits(hidden: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits = head(hidden.to(device))
        return (logits if cap is None else torch.tanh(logits / cap) * cap), None

    return compute_logits


def module_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in every layer.

    transformers gives [1, heads, T, head_dim] and takes [1, T, heads, head_dim].
    """
    rows = (states[0].transpose(0, 1) for states in (query, key, value))
    return module.parley_kv.attend(*rows, scaling)[None], None


AttentionInterface.register(_ATTENTION_NAME, module_attention)
