"""`PARLEY_QUANTIZE`: whether and how the weights become 8 bits, by device."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any

import transformers
from transformers.utils import is_bitsandbytes_available, is_torchao_available

from bot.engine.cpu import int8_linear
from bot.engine.cpu.int8_linear import Int8Linear
from bot.engine.cpu.lean_model import LeanGemma

log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def own_kernels() -> ModuleType | None:
    """`fused_model.py`, or None where its kernels can't be had: no numba, another CPU or OpenMP."""
    try:
        from bot.engine.cpu import fused_model

        if fused_model.works():
            return fused_model
        reason = "they are not exact here"
    except Exception as error:  # whatever numba, LLVM or the loader may say: there is another way
        reason = str(error)
    log.warning("Parley's own 8-bit kernels can't run here; slower ones serve instead: %s", reason)
    return None


def packs(config: Any, block_size: int) -> bool:
    """Do a head and a block of K/V suit Parley's own attention?"""
    fused = own_kernels()
    return fused is not None and bool(fused.FusedGemma.can_run(config, block_size))


def in_8_bits(text_model: Any, head: Any, block_size: int) -> tuple[LeanGemma, Int8Linear]:
    """The decoder layers and the LM head of a model for which `on_cpu` said yes."""
    if (fused := own_kernels()) is None:
        return LeanGemma(text_model, Int8Linear), Int8Linear(head.weight, single=False)
    own = fused.FusedLinear
    if packs(text_model.config, block_size):
        return fused.FusedGemma(text_model), own(head.weight)
    return LeanGemma(text_model, own), own(head.weight)


def on_cpu(wanted: str, config: Any, say: Callable[[str], None]) -> bool:
    """Whether the runner is to use 8 bits (int8_linear.py).

    Args:
        wanted: "none", "int8", or "auto" (if it is possible, without a word if not).
        config: the text model's.
        say: tells the operator.
    """
    if wanted == "none":
        return False
    if LeanGemma.fits(config) and (own_kernels() or int8_linear.works()):
        return True
    if wanted == "int8":
        say(
            "PARLEY_QUANTIZE=int8: this CPU (or PyTorch) has no exact 8-bit kernels; "
            "the weights stay as they are"
        )
    return False


def on_cuda(wanted: str, say: Callable[[str], None]) -> Any | None:
    """transformers' configuration for loading 8-bit weights; None: load them as they are.

    Not run on a GPU yet. bitsandbytes first: with a threshold of 0 its activations are scaled per
    token, so that a reply doesn't depend on who else is in the batch.
    """
    if wanted != "int8":
        return None
    if is_bitsandbytes_available():
        return transformers.BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)
    if is_torchao_available():
        from torchao.quantization import (  # type: ignore[import-not-found, unused-ignore]
            Int8WeightOnlyConfig,
        )

        return transformers.TorchAoConfig(Int8WeightOnlyConfig())
    say(
        "PARLEY_QUANTIZE=int8 needs bitsandbytes or torchao on CUDA, and neither is installed; "
        "the weights stay as they are (pip install bitsandbytes)"
    )
    return None
