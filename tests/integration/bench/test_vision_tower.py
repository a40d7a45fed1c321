"""A text-only model gets a vision tower for the workload with pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import Gemma3ForConditionalGeneration

from bot.bench import vision_tower
from bot.bench.driver import play_trace
from bot.bench.errors import BenchFailed
from bot.bench.systems.base import Setup
from bot.bench.systems.parley import Parley
from bot.bench.workloads import WORKLOADS
from bot.engine.model.loading import LocalEngineConfig
from tests.support import models


@pytest.fixture(params=["text-only", "small vision tower"])
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Setup:
    """Gemma's own geometry takes minutes on a busy machine: an eighth of it is enough here."""
    monkeypatch.setattr(vision_tower, "_IMAGE_SIDE", 112)
    monkeypatch.setattr(vision_tower, "_SOFT_TOKENS", 16)
    folder = models.save_tiny(tmp_path / "model", sees=request.param != "text-only")
    engine = LocalEngineConfig(
        model=str(folder), dtype="float32", device="cpu", kv_memory_mib=16, max_context=1024
    )
    return Setup(engine, str(folder), threads=1, scratch=str(tmp_path), model="tiny")


async def test_the_model_takes_pictures_and_keeps_its_text_weights(setup: Setup) -> None:
    said: list[str] = []
    got = vision_tower.with_vision_tower(setup, "images", said.append)
    assert "random vision tower" in got.model
    seeing = Gemma3ForConditionalGeneration.from_pretrained(got.folder, dtype=torch.float32)
    text_weights, _ = vision_tower._text_weights(Path(setup.folder))
    for name, weight in text_weights.items():
        assert torch.equal(seeing.model.language_model.state_dict()[name], weight.float()), name
    system = Parley(got)
    await system.start()
    try:
        replies = await play_trace(system, WORKLOADS["images"].phases(1, 0, 0.02)[0])
    finally:
        await system.stop()
    assert [reply.turn for reply in replies] == [1, 2, 3]
    assert replies[0].prompt_tokens > 16
    assert replies[1].cached_tokens >= 16  # the picture's too
    vision_tower.with_vision_tower(setup, "images", said.append)
    assert len(said) == 1  # the second time it was there already


def test_other_workloads_keep_their_model(setup: Setup) -> None:
    assert vision_tower.with_vision_tower(setup, "steady", print) is setup


def test_a_text_only_model_of_the_hub_is_refused(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(setup.folder)
    monkeypatch.setattr(AutoConfig, "from_pretrained", lambda _: config)
    hub = replace(setup, folder="google/gemma-3-1b-it", model="google/gemma-3-1b-it")
    with pytest.raises(BenchFailed, match="can't see pictures"):
        vision_tower.with_vision_tower(hub, "images", print)
