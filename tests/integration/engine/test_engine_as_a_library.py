"""The engine as a library: what the docs show runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import models

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_tiny(tmp_path_factory.mktemp("tiny"), sees=False)


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=280, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_in_the_docs(folder: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "batcher.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found
    code = found[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 11
    assert "google/gemma-3-4b-it" in code
    script = tmp_path / "example.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        + code.replace("google/gemma-3-4b-it", str(folder))
    )
    assert run(str(script))


def test_the_module(folder: Path) -> None:
    out = run("-m", "bot.engine", str(folder), "hello", "the user")
    assert out.startswith("> hello\n")
    assert "\n> the user\n" in out
