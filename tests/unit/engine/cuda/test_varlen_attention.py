"""The varlen kernel is tried before it is relied on, and the reason is given where it isn't."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bot.engine.attention.base import BackendQuery, BackendRejected
from bot.engine.attention.registry import choose_backend
from bot.engine.cuda import varlen_attention
from tests.support import models
from tests.support.engine import emulated_varlen_attn


def query(**changes: Any) -> BackendQuery:
    config = models.text_config(64, num_attention_heads=4, num_key_value_heads=2, head_dim=64)
    values = {"device": torch.device("cpu"), "dtype": torch.bfloat16, **changes}
    return BackendQuery(config, **values)


def rejection(**changes: Any) -> str:
    with pytest.raises(BackendRejected) as caught:
        varlen_attention.propose_varlen(query(**changes))
    return str(caught.value)


def test_the_smallest_blocks_that_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen_attention, "varlen_attn", emulated_varlen_attn)
    assert varlen_attention.propose_varlen(query()).attention.block_size == 16

    def flash_2(q: Any, keys: Any, *rest: Any, **options: Any) -> Any:
        if keys.shape[1] % 256:
            raise RuntimeError("Paged KV cache block size must be divisible by 256\nC++ stack")
        return emulated_varlen_attn(q, keys, *rest, **options)

    monkeypatch.setattr(varlen_attention, "varlen_attn", flash_2)
    choice = varlen_attention.propose_varlen(query())
    assert choice.attention.block_size == 256
    assert choice.records_graphs


def test_a_kernel_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_window(*args: Any, **options: Any) -> Any:
        return emulated_varlen_attn(*args, **{**options, "window_size": (-1, 0)})

    monkeypatch.setattr(varlen_attention, "varlen_attn", no_window)
    reason = rejection()
    assert "with blocks of 16 tokens: its numbers are wrong, by up to" in reason
    assert "with blocks of 256 tokens: its numbers are wrong, by up to" in reason


def test_a_kernel_that_refuses_says_why_for_each_block_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("must be both set or both not set\nC++ stack trace")

    monkeypatch.setattr(varlen_attention, "varlen_attn", refuse)
    assert rejection() == (
        "with blocks of 16 tokens: must be both set or both not set; "
        "with blocks of 256 tokens: must be both set or both not set"
    )


def test_no_kernel_in_this_pytorch_or_on_this_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rejection()  # a CPU has none
    monkeypatch.setattr(varlen_attention, "varlen_attn", None)
    assert "torch.nn.attention.varlen" in rejection()


def test_float32_is_expected_to_be_slower_only_where_it_was_asked_for() -> None:
    for is_set in (True, False):
        with pytest.raises(BackendRejected) as caught:
            varlen_attention.propose_varlen(query(dtype=torch.float32, dtype_is_set=is_set))
        assert caught.value.is_expected == is_set


def test_layers_on_several_devices_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen_attention, "varlen_attn", emulated_varlen_attn)
    choice = varlen_attention.propose_varlen(query(spread=True))
    assert not choice.records_graphs
    (slower,) = choice.slower_than_expected
    assert "several devices" in slower.reason


def test_on_cuda_the_portable_backend_serves_where_the_kernel_is_rejected() -> None:
    """No GPU is needed to choose: the kernel's trial fails, and that is the reason given."""
    ask = query(device=torch.device("cuda"))
    choice = choose_backend(ask.config, ask.device, ask.dtype, dtype_is_set=False)
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert choice.name == "sdpa"
    assert [slower.name for slower in choice.slower_than_expected] == ["triton", "varlen"]
