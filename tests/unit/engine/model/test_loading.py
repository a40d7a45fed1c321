"""Every way in which loading fails says, in one line, which setting to change and how."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from huggingface_hub import errors

from bot.engine.api import ModelLoadError
from bot.engine.cpu import backends, int8_linear
from bot.engine.model import loading
from bot.engine.model.loading import LocalEngineConfig, load_model
from tests.support import models


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_tiny(tmp_path_factory.mktemp("seeing"), sees=True)


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_tiny(tmp_path_factory.mktemp("blind"), sees=False)


def config(model: Path | str, **changes: Any) -> LocalEngineConfig:
    return LocalEngineConfig(model=str(model), **{"device": "cpu", "dtype": "float32", **changes})


def line(config: LocalEngineConfig) -> str:
    with pytest.raises(ModelLoadError) as caught:
        load_model(config)
    text = str(caught.value)
    assert "\n" not in text
    return text


def copy(folder: Path, to: Path, **config_changes: Any) -> Path:
    shutil.copytree(folder, to)
    path = to / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config_changes}))
    return to


def test_both_families_load(seeing: Path, blind: Path) -> None:
    one, two = load_model(config(seeing)), load_model(config(blind))
    assert (type(one.model).__name__, one.image_processor is not None) == (
        "Gemma3ForConditionalGeneration",
        True,
    )
    assert (type(two.model).__name__, two.image_processor) == ("Gemma3ForCausalLM", None)
    tokenizer = models.tiny_tokenizer()
    assert one.stop_ids == two.stop_ids == {1, tokenizer.convert_tokens_to_ids("<end_of_turn>")}


def test_text_only_has_no_tower_and_the_same_weights(seeing: Path) -> None:
    whole, text = load_model(config(seeing)), load_model(config(seeing, text_only=True))
    assert not any("vision" in name for name, _ in text.model.named_parameters())
    ids = torch.arange(20, 40)[None]
    with torch.inference_mode():
        assert torch.equal(whole.model(ids).logits, text.model(ids).logits)


def test_stop_ids_of_the_generation_config_come_on_top(blind: Path, tmp_path: Path) -> None:
    folder = copy(blind, tmp_path / "m")
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, 33]}')
    assert {1, 33} < load_model(config(folder)).stop_ids


def test_auto_dtype_and_device(blind: Path) -> None:
    loaded = load_model(config(blind, device="auto", dtype="auto"))
    assert loaded.dtype in (torch.bfloat16, torch.float32)
    assert str(loaded.device) == "cpu" or torch.cuda.is_available()


def test_device_map(blind: Path) -> None:
    """accelerate's dispatch; only one device here, the path is the same."""
    loaded = load_model(config(blind, device_map="auto"))
    assert loaded.text_model.layers[0].self_attn.q_proj.weight.device.type in ("cpu", "cuda")


def test_locate_gives_the_folder(blind: Path) -> None:
    loaded = load_model(config("demo", locate=lambda: blind))
    assert loaded.name == "demo"


def test_locate_fails() -> None:
    def fail() -> str:
        raise RuntimeError("free some space")

    assert line(config("demo", locate=fail)) == "PARLEY_MODEL=demo: free some space"


def test_progress_is_told(blind: Path) -> None:
    told: list[str] = []
    load_model(config(blind, progress=told.append))
    assert any("loading" in t for t in told)


def test_a_slower_backend_than_expected_is_a_warning_and_in_the_info(
    blind: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backends, "load_kernels", lambda: (None, "numba is not installed"))
    monkeypatch.setattr(int8_linear, "kernels_are_exact", lambda: False)
    with caplog.at_level(logging.WARNING, "bot.engine"):
        loaded = load_model(config(blind, quantize="int8"))
    info = loaded.engine_info(512)
    assert (info.backend, info.dtype) == ("sdpa", "float32")
    assert info.rejected_backends[0] == "int16: numba is not installed"
    said = [record.getMessage() for record in caplog.records]
    assert "backend sdpa serves instead of the faster int16: numba is not installed" in said
    assert len(said) == len(info.rejected_backends) == 2


def test_no_such_folder() -> None:
    assert "no such folder" in line(config("/nowhere/model"))
    assert "no such folder" in line(config("./nowhere"))


def test_folder_without_config(tmp_path: Path) -> None:
    assert "no config.json" in line(config(tmp_path))


def test_not_a_gemma_3(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert "gpt2 model, not Gemma 3" in line(config(tmp_path))


def test_missing_weights(blind: Path, tmp_path: Path) -> None:
    folder = copy(blind, tmp_path / "m")
    (folder / "model.safetensors").unlink()
    assert "is missing or unreadable" in line(config(folder))


def test_incomplete_weights(blind: Path, tmp_path: Path) -> None:
    folder = copy(blind, tmp_path / "m", num_hidden_layers=7,
                  layer_types=["sliding_attention"] * 6 + ["full_attention"])  # fmt: skip
    assert "lacks" in line(config(folder))


def test_pre_trained_is_refused(blind: Path, tmp_path: Path) -> None:
    folder = copy(blind, tmp_path / "gemma-3-4b-pt")
    said = line(config(folder))
    assert "gemma-3-4b-it" in said
    assert "PARLEY_ALLOW_PRETRAINED" in said
    assert load_model(config(folder, allow_pretrained=True))


def test_no_chat_template_is_pre_trained(blind: Path, tmp_path: Path) -> None:
    folder = copy(blind, tmp_path / "gemma-3-270m")
    (folder / "chat_template.jinja").unlink()
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings.pop("chat_template", None)
    path.write_text(json.dumps(settings))
    assert "gemma-3-270m-it" in line(config(folder))


def test_unknown_device_and_dtype(blind: Path) -> None:
    assert "PARLEY_DEVICE=banana" in line(config(blind, device="banana"))
    assert "PARLEY_DTYPE=int3" in line(config(blind, dtype="int3"))
    if not torch.cuda.is_available():
        assert "0 CUDA devices" in line(config(blind, device="cuda"))


def test_not_enough_memory(blind: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Little:
        available = 1000

    monkeypatch.setattr(psutil, "virtual_memory", Little)
    assert "doesn't fit in memory (it needs" in line(config(blind))


def test_hub_model_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("We couldn't connect") from errors.LocalEntryNotFoundError("offline")

    monkeypatch.setattr(loading.AutoConfig, "from_pretrained", refuse)
    assert "PARLEY_MODEL=demo" in line(config("google/gemma-3-4b-it"))
