"""`PARLEY_QUANTIZE` on CUDA: the weights become 8 bits while they are loaded.

On a CPU the layers do it themselves; see cpu/backends.py.
"""

from __future__ import annotations

import logging
from typing import Any

import transformers
from transformers.utils import is_bitsandbytes_available, is_torchao_available

log = logging.getLogger(__name__)


def cuda_quantization(quantize: str) -> Any | None:
    """transformers' configuration for loading 8-bit weights; None: load them as they are.

    Not run on a GPU yet. bitsandbytes first: with a threshold of 0 its activations are scaled per
    token, so that a reply doesn't depend on who else is in the batch.
    """
    if quantize != "int8":
        return None
    if is_bitsandbytes_available():
        return transformers.BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)
    if is_torchao_available():
        from torchao.quantization import (  # type: ignore[import-not-found, unused-ignore]
            Int8WeightOnlyConfig,
        )

        return transformers.TorchAoConfig(Int8WeightOnlyConfig())
    log.warning(
        "PARLEY_QUANTIZE=int8 needs bitsandbytes or torchao on CUDA, and neither is installed; "
        "the weights stay as they are (pip install bitsandbytes)"
    )
    return None
