"""The loss of the fixed text: computed by the engine, equal to the reference model's own."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
import torch

from bot.bench import loss
from bot.bench.errors import BenchFailed
from bot.bench.systems.base import Setup
from bot.engine.batcher import LocalEngine
from bot.engine.model.loading import LocalEngineConfig
from tests.support import models


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> LocalEngineConfig:
    folder = models.save_tiny(tmp_path_factory.mktemp("tiny"), sees=False)
    return LocalEngineConfig(
        model=str(folder), dtype="float32", device="cpu", kv_memory_mib=8, max_context=512
    )


def reference(piece: tuple[int, ...]) -> tuple[float, int]:
    """Summed cross-entropy of everything behind the context, by the model alone."""
    ids = torch.tensor([piece])
    with torch.inference_mode():
        logits = models.tiny_text_model()(ids).logits[0]
    chances = torch.log_softmax(logits[loss._CONTEXT_TOKENS - 1 : -1].float(), -1)
    targets = ids[0, loss._CONTEXT_TOKENS :]
    return -float(chances.gather(1, targets[:, None]).sum()), len(targets)


async def test_the_engine_scores_as_the_model_does(config: LocalEngineConfig) -> None:
    generator = torch.Generator().manual_seed(1)
    pieces = [
        tuple(torch.randint(20, 300, (length,), generator=generator).tolist())
        for length in (24, 40, 33)
    ]
    engine = LocalEngine(config)
    await engine.start()
    try:
        running: Any = engine._running
        got, count = loss.score_pieces(running.worker, pieces)
        assert running.worker.scheduler.is_idle
    finally:
        await engine.stop()
    wanted = [reference(piece) for piece in pieces]
    assert count == sum(tokens for _, tokens in wanted)
    assert got == pytest.approx(sum(nats for nats, _ in wanted) / count, abs=1e-4)


async def test_what_is_not_finite_is_no_loss(config: LocalEngineConfig) -> None:
    engine = LocalEngine(config)
    await engine.start()
    try:
        worker: Any = engine._running.worker  # type: ignore[union-attr]
        layers = worker.runner.layers
        forward = layers.forward
        layers.forward = lambda *inputs: forward(*inputs) * float("nan")
        with pytest.raises(BenchFailed, match="NaN"):
            loss.score_pieces(worker, [tuple(range(20, 60))])
    finally:
        await engine.stop()


def test_the_report_compares_int8_with_none(
    config: LocalEngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "_loss_in_process", lambda config, _: (_FAKE[config.quantize], 1000))
    report = loss.measure_loss(Setup(config, config.model, threads=1, model="tiny"), lambda _: None)
    assert report["workload"] == "loss"
    assert [row["quantize"] for row in report["results"]] == ["none", "int8"]
    assert report["difference_nats"] == pytest.approx(0.03)
    assert "| int8 | 1000 | 2.5300 | +0.0300 |" in loss.loss_table(report)


_FAKE = {"none": 2.5, "int8": 2.53}


def test_the_fixed_text_is_long_enough() -> None:
    """A thousand words: enough for the difference to mean something."""
    words = files("bot.bench").joinpath("prose.txt").read_text(encoding="utf-8").split()
    assert len(words) > 900
