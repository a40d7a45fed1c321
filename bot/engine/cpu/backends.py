"""The ways in which a CPU computes the decoder layers; see attention/registry.py.

`propose_fused`: all layers in one call of Parley's own 8-bit kernels. `propose_lean`: 8-bit linear
layers (Parley's own, else PyTorch's) and portable attention. `propose_packed`: transformers'
modules with bfloat16 weights laid out once.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import nn

from bot.engine.attention.base import (
    BackendChoice,
    BackendQuery,
    BackendRejected,
    ComputeLogits,
    DecoderLayers,
    Rejection,
)
from bot.engine.attention.module_layers import ModuleLayers, module_logits
from bot.engine.attention.sdpa import SdpaBackend
from bot.engine.cpu import bf16_packing, int8_linear
from bot.engine.cpu.int8_linear import Int8Linear
from bot.engine.cpu.int16_attention import Int16Backend
from bot.engine.cpu.lean_model import LeanGemma

log = logging.getLogger(__name__)

_INT8 = "int8"


def propose_fused(query: BackendQuery) -> BackendChoice:
    """Parley's own kernels for all of a layer, attention included."""
    _require_int8(query)
    fused = require_kernels()
    if not fused.FusedGemma.can_run(query.config, query.block_size):
        raise BackendRejected(
            f"heads of {query.config.head_dim} and K/V blocks of {query.block_size} tokens are not "
            "both multiples of 16"
        )

    def build_layers(text_model: Any, head: Any) -> tuple[DecoderLayers, ComputeLogits]:
        layers = fused.FusedGemma(text_model)
        text_model.layers = nn.ModuleList()  # their weights are in the kernels' layout now
        return layers, fused.FusedLinear(head.weight).unscaled_product

    return BackendChoice(
        Int16Backend(query.config, query.block_size),
        build_layers,
        load_dtype=_int8_load_dtype(query),
        weights=_INT8,
    )


def propose_lean(query: BackendQuery) -> BackendChoice:
    """8-bit linear layers around portable attention, with few operators a layer."""
    _require_int8(query)
    rejections: tuple[Rejection, ...] = ()
    try:
        linear = require_kernels().FusedLinear
        load_dtype = _int8_load_dtype(query)
        head_options = {}
    except BackendRejected as answer:
        if not int8_linear.kernels_are_exact():
            raise BackendRejected("PyTorch has no exact 8-bit kernels for this CPU") from answer
        linear, load_dtype, head_options = Int8Linear, query.dtype, {"single": False}
        rejections = (Rejection("Parley's 8-bit linear layers", str(answer)),)

    def build_layers(text_model: Any, head: Any) -> tuple[DecoderLayers, ComputeLogits]:
        layers = LeanGemma(text_model, linear)
        text_model.layers = nn.ModuleList()
        return layers, linear(head.weight, **head_options).unscaled_product

    return BackendChoice(
        SdpaBackend(query.config, load_dtype, query.block_size),
        build_layers,
        load_dtype,
        weights=_INT8,
        rejections=rejections,
    )


def propose_packed(query: BackendQuery) -> BackendChoice:
    """transformers' modules, their bfloat16 weights reordered once instead of in every call."""
    if query.dtype != torch.bfloat16:
        raise BackendRejected(f"it is for bfloat16, not {query.dtype}", is_expected=True)
    if not bf16_packing.can_pack():
        raise BackendRejected("PyTorch can't pack bfloat16 weights here")

    def build_layers(text_model: Any, head: Any) -> tuple[DecoderLayers, ComputeLogits]:
        packed_head = bf16_packing.pack_model(text_model, head)
        logits = module_logits(text_model.config, packed_head, head.weight.device)
        return ModuleLayers(text_model), logits

    return BackendChoice(
        SdpaBackend(query.config, query.dtype, query.block_size),
        build_layers,
        query.dtype,
        weights="bfloat16",
    )


def require_kernels() -> ModuleType:
    """`fused_model.py`, whose kernels run here and are exact.

    Raises:
        BackendRejected: why they can't run: no numba, another CPU, another OpenMP, wrong sums.
    """
    kernels, reason = load_kernels()
    if kernels is None:
        raise BackendRejected(reason)
    return kernels


@lru_cache(maxsize=1)
def load_kernels() -> tuple[ModuleType | None, str]:
    """`fused_model.py` if its kernels run here and are exact; else None and the reason."""
    try:
        from bot.engine.cpu import fused_model

        if fused_model.kernels_are_exact():
            return fused_model, ""
        return None, "their sums are not exact on this CPU"
    except ModuleNotFoundError as error:
        if error.name in ("numba", "llvmlite"):
            return None, "numba is not installed (pip install numba)"
        return None, str(error)
    except Exception as error:  # whatever numba, LLVM or the loader may raise
        log.debug("Parley's own kernels can't run", exc_info=True)
        return None, f"{type(error).__name__}: {error}"


def _require_int8(query: BackendQuery) -> None:
    if query.quantize not in (_INT8, "auto"):
        is_expected = query.quantize == "none"
        raise BackendRejected(f"PARLEY_QUANTIZE={query.quantize}", is_expected=is_expected)
    if not LeanGemma.supports_config(query.config):
        raise BackendRejected("the model isn't plain Gemma 3: biases, soft caps or no GELU")


def _int8_load_dtype(query: BackendQuery) -> torch.dtype:
    """Half as big where nobody minds: hardly anything computes in it."""
    return query.dtype if query.dtype_is_set else torch.bfloat16
