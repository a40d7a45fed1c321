"""The Triton backend is tried before it is relied on, and the reason is given where it isn't."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from bot.engine.attention.base import BackendQuery, BackendRejected
from bot.engine.attention.registry import (
    choose_backend,
    log_choice,
    register_backend,
    unregister_backend,
)
from bot.engine.cuda import backends, kernel_check, layer_kernels, triton_attention
from tests.support import models
from tests.support.triton_interpreter import patch_once, real_bfloat16

patch_once()

CPU = torch.device("cpu")


def query(**changes: Any) -> BackendQuery:
    return replace(BackendQuery(models.text_config(64), CPU, torch.float32), **changes)


def rejection(**changes: Any) -> str:
    with pytest.raises(BackendRejected) as caught:
        backends.propose_triton(query(**changes))
    return str(caught.value)


@pytest.fixture
def no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_check, "check_kernels", lambda _: None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernels_pass_their_check(dtype: torch.dtype) -> None:
    with real_bfloat16():
        choice = backends.propose_triton(query(dtype=dtype))
    assert choice.attention.name == "triton"
    assert choice.records_graphs
    assert not choice.rejections


@pytest.mark.parametrize(
    ("module", "name", "reason"),
    [
        (kernel_check, "paged_attention", "attention of decode rows is wrong here"),
        (layer_kernels, "_add_norm", "the norm kernel is wrong here, by up to inf"),
        (layer_kernels, "gelu_mul", "the GELU kernel is wrong here"),
    ],
)
def test_a_kernel_that_is_wrong_is_not_used(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, reason: str
) -> None:
    kernel = getattr(module, name)

    def broken(*arguments: Any) -> Any:
        if name == "_add_norm":  # it doesn't write
            arguments[4].fill_(torch.nan)
            return None
        return kernel(*arguments).mul_(1.1)

    monkeypatch.setattr(module, name, broken)
    assert reason in rejection()


def test_rows_that_are_not_written_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the kernel of pytorch#194167, which writes every sequence over the first."""
    kernel = triton_attention.paged_attention

    def first_only(*arguments: Any) -> Any:
        *rest, output = arguments
        output[:1] = kernel(*rest)[:1]
        return output

    monkeypatch.setattr(kernel_check, "paged_attention", first_only)
    assert "attention of decode rows is wrong here, by up to inf" in rejection()


def test_splits_that_are_not_merged_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        def __getitem__(self, _: Any) -> Any:
            return lambda *_, **__: None

    monkeypatch.setattr(triton_attention, "merge_splits_kernel", Nothing())
    assert "attention of decode rows is wrong here, by up to inf" in rejection()


@pytest.mark.usefixtures("no_check")
def test_what_it_is_not_for() -> None:
    config = models.text_config(64)
    assert "several devices" in rejection(spread=True)
    config.head_dim = 48
    assert "no power of two" in rejection(config=config)


@pytest.mark.usefixtures("no_check")
def test_cards_before_ampere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert "the card has 7.5" in rejection(device=torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    assert backends.propose_triton(query(device=torch.device("cuda"))).attention.name == "triton"


def test_no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kernel_check", "triton_backend", "fused_model"):
        monkeypatch.delitem(sys.modules, f"bot.engine.cuda.{name}", raising=False)
        monkeypatch.delattr(f"bot.engine.cuda.{name}", raising=False)
    for name in ("triton_attention", "layer_kernels"):
        monkeypatch.delitem(sys.modules, f"bot.engine.cuda.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    assert rejection() == "triton is not installed (pip install triton)"


@pytest.mark.usefixtures("no_check")
def test_another_model_keeps_its_own_layers_and_says_so() -> None:
    config = models.text_config(64, attn_logit_softcapping=30.0)
    (refused,) = backends.propose_triton(query(config=config)).rejections
    assert str(refused) == "fused layers: attn_logit_softcapping is set"


@pytest.fixture
def offered_on_cpu() -> Iterator[None]:
    register_backend("triton-here", "bot.engine.cuda.backends:propose_triton", rank=0)
    yield
    unregister_backend("triton-here")


@pytest.mark.usefixtures("offered_on_cpu")
def test_a_rejection_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(_: BackendQuery) -> None:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(kernel_check, "check_kernels", no_compiler)
    with caplog.at_level(logging.WARNING):
        log_choice(choose_backend(models.text_config(64), CPU, torch.float32))
    assert "triton-here: RuntimeError: Failed to find C compiler" in caplog.text
