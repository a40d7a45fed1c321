"""`parley doctor` says which backend will run, and why a faster one won't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.app import checkers
from bot.config import Settings
from bot.engine.cpu import backends, int8_linear
from bot.engine.model.loading import LocalEngineConfig
from bot.ops.doctor import examine
from bot.ops.engine_checks import check_backend
from tests.support import models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_tiny(tmp_path_factory.mktemp("tiny"), sees=True)


def line(model: Path | str, **changes: Any) -> str:
    values = {"device": "cpu", "dtype": "float32", **changes}
    return str(check_backend(LocalEngineConfig(str(model), **values)))


def test_a_model_in_a_folder(folder: Path) -> None:
    assert line(folder) == "ok   engine: sdpa backend on cpu, float32 weights"


def test_a_faster_backend_that_does_not_run_is_named_with_the_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "load_kernels", lambda: (None, "numba is not installed"))
    monkeypatch.setattr(int8_linear, "kernels_are_exact", lambda: False)
    said = line(folder, quantize="int8")
    assert "slower than it could be: int16: numba is not installed; lean-int8: " in said


def test_the_demo_before_its_first_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder isn't there yet; heads of 256 fit the kernels, where those run."""
    monkeypatch.setattr(backends, "load_kernels", lambda: (None, "numba is not installed"))
    assert "int16: numba is not installed" in line("demo", quantize="auto")


def test_a_model_that_is_not_downloaded_yet() -> None:
    assert "downloaded" in line("google/gemma-3-no-such-model")


def test_a_device_that_is_not_there(folder: Path) -> None:
    assert "FAIL engine: PARLEY_DEVICE=banana" in line(folder, device="banana")
    assert "FAIL engine: PARLEY_DTYPE=int3" in line(folder, dtype="int3")


async def test_doctor_runs_it(folder: Path) -> None:
    settings = Settings(model=str(folder), device="cpu", http_port=0)
    lines = [line async for line in examine(settings, checkers())]
    assert [line.ok for line in lines if line.what == "engine"] == [True]
