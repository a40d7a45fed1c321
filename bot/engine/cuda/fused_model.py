"""Gemma 3's decoder layers on a GPU in ten kernels a layer.

Four matrix products (q, k and v are one, gate and up another), attention and the merge of its
splits, and the kernels of `layer_kernels.py`. Decode steps and steps with chunks run the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from bot.engine.cuda.layer_kernels import add_norm, gelu_mul, norm_rope_write, rms_norm

Linear = Callable[[torch.Tensor], torch.Tensor]
"""[T, in] to [T, out]."""


class PagedPool(Protocol):
    """What the layers need of a layer's `LayerKV` (triton_backend.py)."""

    @property
    def key_cache(self) -> torch.Tensor: ...
    @property
    def value_cache(self) -> torch.Tensor: ...
    @property
    def slot_mapping(self) -> torch.Tensor: ...

    def attend_written(self, queries: torch.Tensor, scale: float) -> torch.Tensor: ...


@dataclass(frozen=True, slots=True)
class _Layer:
    """One decoder layer; the norms' weights are float32 and have their 1 added."""

    kind: int
    scale: float
    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear
    head_norms: torch.Tensor  # [2, head_dim]: q's and k's
    post_attention_norm: torch.Tensor
    pre_mlp_norm: torch.Tensor
    post_mlp_norm: torch.Tensor
    next_norm: torch.Tensor  # the next layer's first, or the model's last


class FusedGemma:
    """See `DecoderLayers`: those of a `Gemma3TextModel`, which lies on one device."""

    def __init__(self, text_model: Any) -> None:
        self._eps = float(text_model.config.rms_norm_eps)
        layers = text_model.layers
        self._kinds = sorted({layer.self_attn.layer_type for layer in layers})
        device = layers[0].input_layernorm.weight.device
        self._frequencies, self._rope_scales = _rope_settings(
            text_model.rotary_emb, self._kinds, device
        )
        self._first_norm = _norm_weight(layers[0].input_layernorm)
        next_norms = [*(layer.input_layernorm for layer in layers[1:]), text_model.norm]
        self._layers = [
            self._layer(layer, next_norm)
            for layer, next_norm in zip(layers, next_norms, strict=True)
        ]

    @staticmethod
    def unsupported(config: Any) -> str:
        """Why a text configuration isn't the plain Gemma 3 that this computes; "" if it is."""
        if config.attention_bias:
            return "attention_bias is set"
        if config.attn_logit_softcapping is not None:
            return "attn_logit_softcapping is set"
        if config.hidden_activation != "gelu_pytorch_tanh":
            return f"hidden_activation is {config.hidden_activation}"
        if any(rope["rope_type"] == "dynamic" for rope in config.rope_parameters.values() if rope):
            return "rope_type is dynamic"
        return ""

    def bind_pools(self, pools: Sequence[PagedPool]) -> None:
        pass

    def forward(
        self, embeds: torch.Tensor, positions: torch.Tensor, pools: Sequence[PagedPool]
    ) -> torch.Tensor:
        cos, sin = self._rope(positions)
        residual = embeds.clone(memory_format=torch.contiguous_format)
        hidden = rms_norm(residual, self._first_norm, self._eps)
        for layer, pool in zip(self._layers, pools, strict=True):
            queries = norm_rope_write(
                layer.qkv(hidden),
                layer.head_norms,
                cos[:, layer.kind],
                sin[:, layer.kind],
                pool.slot_mapping,
                pool.key_cache,
                pool.value_cache,
                self._eps,
            )
            attended = pool.attend_written(queries, layer.scale).flatten(1)
            hidden = add_norm(
                layer.out(attended),
                residual,
                layer.post_attention_norm,
                layer.pre_mlp_norm,
                self._eps,
            )
            hidden = add_norm(
                layer.down(gelu_mul(layer.gate_up(hidden))),
                residual,
                layer.post_mlp_norm,
                layer.next_norm,
                self._eps,
            )
        return hidden

    def _rope(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines [T, kinds, head_dim / 2] float32, for every kind of layer at once."""
        angles = positions[:, None, None].float() * self._frequencies
        cos, sin = angles.cos(), angles.sin()
        if self._rope_scales is not None:
            cos, sin = cos * self._rope_scales, sin * self._rope_scales
        return cos, sin

    def _layer(self, layer: Any, next_norm: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        head_norms = [_norm_weight(attention.q_norm), _norm_weight(attention.k_norm)]
        return _Layer(
            kind=self._kinds.index(attention.layer_type),
            scale=float(attention.scaling),
            qkv=pack_linears(attention.q_proj, attention.k_proj, attention.v_proj),
            out=attention.o_proj,
            gate_up=pack_linears(mlp.gate_proj, mlp.up_proj),
            down=mlp.down_proj,
            head_norms=torch.stack(head_norms),
            post_attention_norm=_norm_weight(layer.post_attention_layernorm),
            pre_mlp_norm=_norm_weight(layer.pre_feedforward_layernorm),
            post_mlp_norm=_norm_weight(layer.post_feedforward_layernorm),
            next_norm=_norm_weight(next_norm),
        )


def _rope_settings(
    rotary: Any, kinds: list[str], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Inverse frequencies [kinds, head_dim / 2], and factors [kinds, 1] unless all are 1."""
    frequencies = torch.stack([getattr(rotary, f"{kind}_inv_freq") for kind in kinds])
    scales = [float(getattr(rotary, f"{kind}_attention_scaling")) for kind in kinds]
    factors = None if set(scales) == {1.0} else torch.tensor(scales, device=device)[:, None]
    return frequencies.to(device, torch.float32), factors


def pack_linears(*modules: Any) -> Linear:
    """One product in place of several of the same rows: [T, in] to their outputs side by side.

    The modules' own weights become views of the packed ones, so that nothing is held twice.
    Modules that aren't plain linear layers (quantized ones) are called one by one.
    """
    if any(type(module) is not nn.Linear for module in modules):
        return lambda rows: torch.cat([module(rows) for module in modules], -1)
    packed = torch.cat([module.weight.detach() for module in modules])
    end = 0
    for module in modules:
        start, end = end, end + module.out_features
        module.weight.data = packed[start:end]
    return lambda rows: nn.functional.linear(rows, packed)


def _norm_weight(norm: Any) -> torch.Tensor:
    """The factor of Gemma's norm: float32, with its 1 added."""
    weight: torch.Tensor = norm.weight.detach().float() + 1
    return weight.contiguous()
