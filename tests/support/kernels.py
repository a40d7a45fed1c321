"""What the tests of Parley's own kernels share."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest
import torch

from bot.engine.cpu.int8_linear import Int8Linear


def has(feature: str) -> bool:
    """Can this CPU do that, in LLVM's words?"""
    try:
        from llvmlite import binding
    except ImportError:
        return False
    return bool(binding.get_host_cpu_features().get(feature))


def can_run() -> bool:
    """Has this machine all that the kernels need?"""
    try:
        ctypes.CDLL(None).GOMP_parallel  # noqa: B018
    except (AttributeError, TypeError, OSError):
        return False
    return has("avx512vnni") or has("avx2")


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """No gradients, and as many threads afterwards as before; for a module that imports it."""
    threads = torch.get_num_threads()
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class PlainLinear(Int8Linear):
    """The same in whole numbers that float32 holds, on any machine."""

    def _lay_out(self, whole: torch.Tensor, single: bool) -> None:
        self._whole = whole.float()

    def unscaled_product(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scale = rows.abs().amax(-1, keepdim=True) / 127
        return (rows / scale).round() @ self._whole.t() * self._scales, scale
