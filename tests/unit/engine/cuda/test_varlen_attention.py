"""The paged kernel is tried before it is relied on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bot.engine.cuda import varlen_attention
from tests.support.engine import emulated_varlen_attn

CPU = torch.device("cpu")


def prepared() -> int | None:
    return varlen_attention.prepare(CPU, torch.bfloat16, 4, 2, 64)


def test_the_smallest_blocks_that_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen_attention, "varlen_attn", emulated_varlen_attn)
    assert prepared() == 16

    def flash_2(q: Any, keys: Any, *rest: Any, **options: Any) -> Any:
        if keys.shape[1] % 256:
            raise RuntimeError("Paged KV cache block size must be divisible by 256")
        return emulated_varlen_attn(q, keys, *rest, **options)

    monkeypatch.setattr(varlen_attention, "varlen_attn", flash_2)
    assert prepared() == 256


def test_a_kernel_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_window(*args: Any, **options: Any) -> Any:
        return emulated_varlen_attn(*args, **{**options, "window_size": (-1, 0)})

    monkeypatch.setattr(varlen_attention, "varlen_attn", no_window)
    assert prepared() is None


def test_no_kernel_here() -> None:
    """On a CPU there is none."""
    assert prepared() is None
