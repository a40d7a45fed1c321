"""Every Triton kernel of every Gemma 3 is compiled for every card, and fits it. Nothing runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from benchmarks.gemma_shapes import SHAPES
from tests.support.triton_compile import ARCHITECTURES, SHARED_LIMITS

KERNELS = {
    "paged_attention_kernel",
    "merge_splits_kernel",
    "add_norm_kernel",
    "qkv_kernel",
    "gelu_mul_kernel",
    "write_kv_kernel",
}


def compiled(architecture: int, dtype: str) -> list[dict[str, object]]:
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.triton_compile", str(architecture), dtype],
        env={**os.environ, "TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return [json.loads(line) for line in run.stdout.splitlines()]


@pytest.mark.parametrize("architecture", [89, 90])
def test_what_runs_by_default_fits(architecture: int) -> None:
    """The least shared memory, and the card whose products are made otherwise."""
    check(architecture, compiled(architecture, "bfloat16"))


@pytest.mark.skipif(
    not os.environ.get("COMPILE_EVERYTHING"), reason="takes long: COMPILE_EVERYTHING=1 runs it"
)
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_everything_fits(architecture: int) -> None:
    check(architecture, compiled(architecture, ""))


def check(architecture: int, kernels: list[dict[str, object]]) -> None:
    assert {kernel["kernel"] for kernel in kernels} == KERNELS
    assert {kernel["architecture"] for kernel in kernels} == {architecture}
    for kernel in kernels:
        assert kernel["shared"] <= SHARED_LIMITS[architecture], kernel  # type: ignore[operator]
        assert kernel["spilled"] == 0, kernel
        if kernel["kernel"] == "paged_attention_kernel":
            # Keys and values are fetched ahead, and 16-bit products are the tensor cores'.
            assert kernel["async_copies"], kernel
            assert kernel["matrix_products"] or "float32" in str(kernel["case"]), kernel


def test_all_sizes_are_compiled() -> None:
    assert set(SHAPES) == {"270m", "1b", "4b", "12b", "27b"}
