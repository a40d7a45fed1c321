"""Tests on the pretend GPU; `make gpu-dry-run` runs them, an ordinary run doesn't collect them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

collect_ignore_glob = [] if os.environ.get("PRETEND_GPU") else ["test_*.py"]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test marked `own_process` spoils something, a capture for example: it gets a process."""
    if pyfuncitem.get_closest_marker("own_process") is None or os.environ.get("OWN_PROCESS"):
        return None
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", pyfuncitem.nodeid],
        env={**os.environ, "OWN_PROCESS": "1"},
        cwd=pyfuncitem.config.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    return True
