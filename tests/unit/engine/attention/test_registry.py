"""One choice, in order of speed, with the reason for every better backend that doesn't serve."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bot.engine.attention import registry
from bot.engine.attention.base import BackendChoice, BackendQuery, BackendRejected, Rejection
from bot.engine.attention.registry import (
    choose_backend,
    log_choice,
    register_backend,
    registered_backends,
    unregister_backend,
)
from bot.engine.cpu import backends, bf16_packing, int8_linear
from tests.support import models, toy_backend

CPU = torch.device("cpu")


def choose(dtype: torch.dtype = torch.float32, **options: Any) -> BackendChoice:
    changes = options.pop("config", {})
    return choose_backend(models.text_config(64, **changes), CPU, dtype, **options)


def reasons(choice: BackendChoice) -> dict[str, str]:
    return {rejection.name: rejection.reason for rejection in choice.slower_than_expected}


@pytest.fixture
def no_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "load_kernels", lambda: (None, "numba is not installed"))


@pytest.fixture
def added() -> Iterator[list[str]]:
    """Backends to remove again."""
    names: list[str] = []
    yield names
    for name in names:
        unregister_backend(name)


def test_every_registered_function_can_be_imported() -> None:
    assert len(registered_backends()) >= 5
    for registration in registered_backends():
        assert callable(registration.load_propose())


def test_a_device_is_offered_its_own_backends_fastest_first() -> None:
    assert [one.name for one in registered_backends("cuda")] == ["triton", "varlen", "sdpa"]
    assert [one.name for one in registered_backends("mps")] == ["sdpa"]
    ranks = [one.rank for one in registered_backends("cpu")]
    assert ranks == sorted(ranks)


def test_a_backend_is_one_registration() -> None:
    with toy_backend.registered():
        choice = choose()
        assert (choice.name, choice.attention.block_size) == ("toy", toy_backend.BLOCK_SIZE)
        with pytest.raises(ValueError, match="toy"):
            register_backend("toy", toy_backend.propose, rank=1)
    assert choose().name == "sdpa"


def test_settings_that_ask_for_something_slower_are_no_surprise() -> None:
    choice = choose(quantize="none")
    assert choice.name == "sdpa"
    assert choice.slower_than_expected == ()
    assert [rejection.name for rejection in choice.rejections] == [
        "int16", "lean-int8", "packed-bf16",
    ]  # fmt: skip
    assert choice.rejections[0].reason == "PARLEY_QUANTIZE=none"


def test_a_format_that_a_cpu_has_no_kernels_for_is_a_surprise() -> None:
    assert set(reasons(choose(quantize="int4"))) == {"int16", "lean-int8"}


@pytest.mark.skipif(not backends.load_kernels()[0], reason="this machine can't run the kernels")
class TestOwnKernels:
    def test_fused_layers_are_the_best_of_a_cpu(self) -> None:
        choice = choose(quantize="int8")
        assert (choice.name, choice.weights, choice.rejections) == ("int16", "int8", ())
        assert choice.attention.bytes_per_token == 2 * 2 * (16 * 2 + 4)

    def test_the_checkpoint_is_loaded_small_unless_a_dtype_is_set(self) -> None:
        for quantize in ("int8", "auto"):
            assert choose(quantize=quantize, dtype_is_set=False).load_dtype == torch.bfloat16
            assert choose(quantize=quantize, dtype_is_set=True).load_dtype == torch.float32

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"config": {"head_dim": 24}}, "heads of 24"),
            ({"block_size": 8}, "blocks of 8 tokens"),
        ],
    )
    def test_sizes_that_do_not_divide_take_portable_attention(
        self, options: dict[str, Any], reason: str
    ) -> None:
        choice = choose(quantize="int8", **options)
        assert (choice.name, choice.weights) == ("lean-int8", "int8")
        assert reason in reasons(choice)["int16"]
        assert choice.attention.block_size == options.get("block_size", 16)


def test_kernels_that_can_not_run_are_named_with_the_reason(
    no_numba: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_linear, "kernels_are_exact", lambda: True)
    choice = choose(quantize="int8")
    assert (choice.name, choice.weights) == ("lean-int8", "int8")
    assert reasons(choice) == {
        "int16": "numba is not installed",
        "Parley's 8-bit linear layers": "numba is not installed",
    }
    monkeypatch.setattr(int8_linear, "kernels_are_exact", lambda: False)
    choice = choose(quantize="auto")
    assert (choice.name, choice.weights) == ("sdpa", "float32")
    assert "exact" in reasons(choice)["lean-int8"]


def test_inexact_kernels_do_not_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    fused_model = pytest.importorskip("bot.engine.cpu.fused_model", exc_type=Exception)
    monkeypatch.setattr(fused_model, "kernels_are_exact", lambda: False)
    kernels, reason = backends.load_kernels.__wrapped__()
    assert kernels is None
    assert "not exact" in reason


def test_a_model_that_is_not_plain_gemma_3_keeps_its_modules() -> None:
    choice = choose(quantize="int8", config={"attention_bias": True})
    assert choice.name == "sdpa"
    assert set(reasons(choice)) == {"int16", "lean-int8"}


def test_bfloat16_on_a_cpu_is_packed_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bf16_packing, "can_pack", lambda: True)
    assert choose(torch.bfloat16).name == "packed-bf16"
    monkeypatch.setattr(bf16_packing, "can_pack", lambda: False)
    choice = choose(torch.bfloat16)
    assert (choice.name, list(reasons(choice))) == ("sdpa", ["packed-bf16"])


def test_a_backend_that_crashes_is_rejected_and_the_next_one_serves(added: list[str]) -> None:
    def crash(_: BackendQuery) -> BackendChoice:
        raise OSError("no C compiler")

    register_backend("broken", crash, rank=0)
    register_backend("missing", "bot.engine.nowhere:propose", rank=1)
    added += ["broken", "missing"]
    choice = choose()
    assert choice.name == "sdpa"
    assert reasons(choice)["broken"] == "OSError: no C compiler"
    assert "nowhere" in reasons(choice)["missing"]


def test_no_backend_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registrations", {})
    with pytest.raises(BackendRejected):
        choose()


def test_a_rejection_is_logged_as_loud_as_it_is_unexpected(
    caplog: pytest.LogCaptureFixture, added: list[str]
) -> None:
    def refuse(_: BackendQuery) -> BackendChoice:
        raise BackendRejected("its numbers are wrong")

    register_backend("fast", refuse, rank=0)
    added.append("fast")
    with caplog.at_level(logging.INFO, "bot.engine.attention.registry"):
        log_choice(choose(quantize="none"))
    levels = {record.getMessage(): record.levelno for record in caplog.records}
    (loud,) = [text for text, level in levels.items() if level == logging.WARNING]
    assert loud == "backend sdpa serves instead of the faster fast: its numbers are wrong"
    assert levels["backend int16 isn't used: PARLEY_QUANTIZE=none"] == logging.INFO


def test_a_rejection_reads_as_name_and_reason() -> None:
    assert str(Rejection("triton", "no C compiler")) == "triton: no C compiler"
