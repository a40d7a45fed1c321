"""The recorded decode step runs without data: nothing in it waits, and its launches are few."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import gpu_ops
from benchmarks.gemma_shapes import SHAPES
from bot.engine.attention.module_layers import build_module_layers

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_step_of_the_4b(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["gpu_ops", "--model", "4b", "--json"])
    assert gpu_ops.main() == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["operators"] <= 450
    assert counts["nodes"] is None or counts["nodes"] <= 450


def test_every_layer_is_ten_launches() -> None:
    shallow, deep = (gpu_ops.count_operators(model, 16, 2048).total() for model in ("270m", "1b"))
    layers = SHAPES["1b"]["num_hidden_layers"] - SHAPES["270m"]["num_hidden_layers"]
    assert (deep - shallow) / layers == 10


def test_transformers_layers_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count notices what it is there for: norms in ten operators each."""
    monkeypatch.setattr(gpu_ops, "build_layers", build_module_layers)
    assert gpu_ops.count_operators("270m", 1, 2048).total() > 60 * 18


def test_what_waits_for_the_device_fails() -> None:
    with gpu_ops.counting(), pytest.raises(RuntimeError, match="meta"):
        torch.zeros(1, device="meta").item()
