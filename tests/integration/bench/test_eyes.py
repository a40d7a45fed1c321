"""A text-only model is given a vision tower for the workload with pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import Gemma3ForConditionalGeneration

from bot.bench import eyes
from bot.bench.driver import play
from bot.bench.errors import BenchFailed
from bot.bench.systems.base import Setup
from bot.bench.systems.parley import Parley
from bot.bench.workloads import WORKLOADS
from bot.engine.model.loading import LocalEngineConfig
from tests.support import models


@pytest.fixture(params=["blind", "small eyes"])
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Setup:
    """Gemma's own geometry takes minutes on a busy machine: an eighth of it is enough here."""
    monkeypatch.setattr(eyes, "_SIZE", 112)
    monkeypatch.setattr(eyes, "_SOFT_TOKENS", 16)
    folder = models.save_tiny(tmp_path / "model", sees=request.param != "blind")
    engine = LocalEngineConfig(
        model=str(folder), dtype="float32", device="cpu", kv_memory_mib=16, max_context=1024
    )
    return Setup(engine, str(folder), threads=1, scratch=str(tmp_path), model="tiny")


async def test_the_model_sees_and_speaks_with_its_own_weights(setup: Setup) -> None:
    said: list[str] = []
    got = eyes.model_that_sees(setup, "images", said.append)
    assert "random vision tower" in got.model
    seeing = Gemma3ForConditionalGeneration.from_pretrained(got.folder, dtype=torch.float32)
    known, _ = eyes._text_weights(Path(setup.folder))
    for name, weight in known.items():
        assert torch.equal(seeing.model.language_model.state_dict()[name], weight.float()), name
    system = Parley(got)
    await system.start()
    try:
        replies = await play(system, WORKLOADS["images"].phases(1, 0, 0.02)[0])
    finally:
        await system.stop()
    assert [reply.turn for reply in replies] == [1, 2, 3]
    assert replies[0].prompt_tokens > 16
    assert replies[1].cached_tokens >= 16  # the picture's too
    eyes.model_that_sees(setup, "images", said.append)
    assert len(said) == 1  # the second time it was there already


def test_other_workloads_keep_their_model(setup: Setup) -> None:
    assert eyes.model_that_sees(setup, "steady", print) is setup


def test_a_text_only_model_of_the_hub_is_refused(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoConfig

    known = AutoConfig.from_pretrained(setup.folder)
    monkeypatch.setattr(AutoConfig, "from_pretrained", lambda _: known)
    hub = replace(setup, folder="google/gemma-3-1b-it", model="google/gemma-3-1b-it")
    with pytest.raises(BenchFailed, match="can't see pictures"):
        eyes.model_that_sees(hub, "images", print)
