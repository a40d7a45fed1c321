"""The ways in which a GPU computes the decoder layers; see attention/registry.py.

`propose_triton`: Parley's own Triton kernels. They are tried on the device first, against plain
PyTorch.
"""

from __future__ import annotations

import torch

from bot.engine.attention.base import BackendChoice, BackendQuery, BackendRejected, Rejection

_OLDEST = (8, 0)  # Ampere: what the kernels' sizes are compiled and tested for


def propose_triton(query: BackendQuery) -> BackendChoice:
    """One attention kernel for every step, and fused layers around it."""
    if query.spread:
        raise BackendRejected("the layers are spread over several devices", is_expected=True)
    if query.device.type == "cuda":
        capability = torch.cuda.get_device_capability(query.device)
        if capability < _OLDEST:
            raise BackendRejected(
                f"it needs compute capability 8.0 (Ampere), the card has "
                f"{capability[0]}.{capability[1]}"
            )
    head_dim = query.config.head_dim
    if head_dim < 16 or head_dim & (head_dim - 1):
        raise BackendRejected(f"heads of {head_dim} are no power of two")
    try:
        from bot.engine.cuda import fused_model, kernel_check, triton_backend
    except ModuleNotFoundError as error:
        raise BackendRejected(f"{error.name} is not installed (pip install triton)") from None
    kernel_check.check_kernels(query)
    unsupported = fused_model.FusedGemma.unsupported(query.config)
    return BackendChoice(
        triton_backend.TritonBackend(query.config, query.device, query.dtype, query.block_size),
        triton_backend.build_layers,
        load_dtype=query.dtype,
        weights=str(query.dtype).removeprefix("torch."),
        records_graphs=True,
        rejections=(Rejection("fused layers", unsupported),) if unsupported else (),
    )
