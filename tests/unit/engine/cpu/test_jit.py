"""The kernels compiled for other CPUs, and run if this machine can run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.kernels import can_run, has

pytestmark = pytest.mark.skipif(not can_run(), reason="this machine can't run the kernels")
AVX2 = "+sse4.2,+popcnt,+cx16,+avx,+avx2,+fma,+bmi,+bmi2"
AVX512 = AVX2 + ",+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd,+avx512vnni"
COUNT = """
import re
from bot.engine.cpu import layer_kernels
code = layer_kernels.run_layers._library.get_asm_str()
print(*(len(re.findall(name, code)) for name in {names}))
"""


def python(*arguments: str, cpu: str, features: str, cache: Path) -> str:
    """The output of a new process in which numba compiles for another CPU."""
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": cpu,
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_CACHE_DIR": str(cache),
    }
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cpu", "features", "required", "unwanted"),
    [
        ("icelake-server", AVX512, (r"vpdpbusd.*zmm", r"vpdpwssd.*zmm"), "vpmaddwd"),
        ("haswell", AVX2, (r"vpmaddwd.*ymm", r"vpmovzxbw.*ymm"), "zmm"),
    ],
)
def test_each_kind_of_cpu_gets_its_instructions(
    tmp_path: Path, cpu: str, features: str, required: tuple[str, str], unwanted: str
) -> None:
    code = COUNT.format(names=[*required, unwanted])
    one, two, other = map(
        int, python("-c", code, cpu=cpu, features=features, cache=tmp_path).split()
    )
    assert one > 30
    assert two > 10
    assert other == 0


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.skipif(not has("avx512vnni"), reason="here all other tests run on AVX2 alone")
def test_the_kernel_tests_pass_with_avx2_alone(tmp_path: Path) -> None:
    tests = [
        f"tests/unit/engine/cpu/test_{name}.py" for name in ("fused_model", "attention_kernel")
    ]
    said = python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests,
        cpu="haswell", features=AVX2, cache=tmp_path,
    )  # fmt: skip
    assert " passed" in said
