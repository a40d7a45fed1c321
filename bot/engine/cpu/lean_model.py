"""Gemma 3's text model with as few PyTorch operators per layer as possible, for CPU decoding.

transformers' modules run about 80 operators per layer, which for one row take longer than the
matrix products. Here q, k and v are one product, gate and up another, and q and k share their norm
and RoPE. Activations are float32: a CPU has no faster type for so few rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from bot.engine.attention.base import AttendingKV

Linear = Callable[[torch.Tensor], torch.Tensor]
"""[n, in] to [n, out], float32."""
MakeLinear = Callable[..., Linear]
"""Makes a linear layer of weights [out, in], stacked along `out`."""


@dataclass(slots=True)
class _Layer:
    """One decoder layer's weights; norms are float32 factors (Gemma's weight plus 1)."""

    kind: str
    scale: float
    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear
    before_attention: torch.Tensor
    after_attention: torch.Tensor
    before_mlp: torch.Tensor
    after_mlp: torch.Tensor
    head_norms: torch.Tensor  # [heads + kv_heads, head_dim]: q's for each head, then k's


class LeanGemma:
    """The decoder layers and the final norm of a `Gemma3TextModel`.

    Args:
        text_model: provides weights and settings; only its rotary embedding is kept.
        linear: makes the linear layers, e.g. `Int8Linear`.
    """

    def __init__(self, text_model: Any, linear: MakeLinear) -> None:
        config = text_model.config
        self._eps = torch.tensor(float(config.rms_norm_eps))
        self._num_heads: int = config.num_attention_heads
        self._num_kv_heads: int = config.num_key_value_heads
        self._head_dim: int = config.head_dim
        self._rotary = text_model.rotary_emb
        self._norm = _norm_factor(text_model.norm)
        self._layers = [self._build_layer(layer, linear) for layer in text_model.layers]
        self._kinds = sorted({layer.kind for layer in self._layers})

    @staticmethod
    def supports_config(config: Any) -> bool:
        """Whether the text config is plain Gemma 3: no biases, no soft caps, tanh GELU."""
        return (
            not config.attention_bias
            and config.attn_logit_softcapping is None
            and getattr(config, "final_logit_softcapping", None) is None
            and config.hidden_activation == "gelu_pytorch_tanh"
        )

    def bind_pools(self, pools: Sequence[Any]) -> None:
        """Do nothing: `forward` takes the pools."""

    def forward(
        self, embeds: torch.Tensor, positions: torch.Tensor, pools: Sequence[Any]
    ) -> torch.Tensor:
        """See `DecoderLayers`; the result is float32."""
        rows = embeds.float()
        rope = {kind: self._rope_tables(positions, kind) for kind in self._kinds}
        for layer, pool in zip(self._layers, pools, strict=True):
            cos, sin = rope[layer.kind]
            update = self._attention_block(
                layer, self._rms_norm(rows, layer.before_attention), cos, sin, pool
            )
            rows = torch.addcmul(rows, self._scale_to_unit_rms(update), layer.after_attention)
            update = self._mlp_block(layer, self._rms_norm(rows, layer.before_mlp))
            rows = torch.addcmul(rows, self._scale_to_unit_rms(update), layer.after_mlp)
        return self._rms_norm(rows, self._norm)

    def _attention_block(
        self,
        layer: _Layer,
        rows: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        pool: AttendingKV,
    ) -> torch.Tensor:
        both = self._num_heads + self._num_kv_heads
        split = layer.qkv(rows).view(len(rows), both + self._num_kv_heads, self._head_dim)
        heads = self._rms_norm(split[:, :both], layer.head_norms)
        # RoPE rotates halves: the roll swaps them, and the first half of `sin` is negated.
        heads = torch.addcmul(heads * cos, heads.roll(self._head_dim // 2, -1), sin)
        heads = heads.to(pool.dtype)
        queries, keys = heads[:, : self._num_heads], heads[:, self._num_heads :]
        attended = pool.attend(queries, keys, split[:, both:].to(pool.dtype), layer.scale)
        return layer.out(attended.flatten(1).float())

    def _mlp_block(self, layer: _Layer, rows: torch.Tensor) -> torch.Tensor:
        gate, up = layer.gate_up(rows).chunk(2, -1)
        return layer.down(functional.gelu(gate, approximate="tanh").mul_(up))

    def _rms_norm(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return self._scale_to_unit_rms(rows).mul_(weight)

    def _scale_to_unit_rms(self, rows: torch.Tensor) -> torch.Tensor:
        """Divide rows by their root mean square."""
        # PyTorch's rms_norm runs many small operators on a CPU; this is the minimum.
        length = torch.linalg.vector_norm(rows, 2, -1, keepdim=True)
        inv_rms = torch.addcmul(self._eps, length, length, value=1 / rows.shape[-1]).rsqrt_()
        return rows * inv_rms

    def _rope_tables(self, positions: torch.Tensor, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines [T, 1, head_dim]; the first half of the sines is negated."""
        like = torch.empty(0, dtype=torch.float32)
        cos, sin = self._rotary(like, positions[None], kind)
        sin = sin[0].clone()
        sin[:, : self._head_dim // 2].neg_()
        return cos[0][:, None], sin[:, None]

    def _build_layer(self, layer: Any, linear: MakeLinear) -> _Layer:
        attn, mlp = layer.self_attn, layer.mlp
        q, k = _norm_factor(attn.q_norm), _norm_factor(attn.k_norm)
        return _Layer(
            kind=attn.layer_type,
            scale=attn.scaling,
            qkv=linear(attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight),
            out=linear(attn.o_proj.weight),
            gate_up=linear(mlp.gate_proj.weight, mlp.up_proj.weight),
            down=linear(mlp.down_proj.weight),
            before_attention=_norm_factor(layer.input_layernorm),
            after_attention=_norm_factor(layer.post_attention_layernorm),
            before_mlp=_norm_factor(layer.pre_feedforward_layernorm),
            after_mlp=_norm_factor(layer.post_feedforward_layernorm),
            head_norms=torch.cat([q.expand(self._num_heads, -1), k.expand(self._num_kv_heads, -1)]),
        )


def _norm_factor(module: Any) -> torch.Tensor:
    """A Gemma norm's factor, its weight plus 1, as float32."""
    weight: torch.Tensor = module.weight.detach().float() + 1
    return weight
