"""Compiles Triton kernels for NVIDIA cards that aren't there, through the launches of the code.

`python -m tests.support.triton_compile CASE...` runs the launching functions on tensors without
data ("meta"); every kernel they launch is compiled by Triton and ptxas, and none runs. One line of
JSON per kernel goes to the standard output. A process of its own, since the tests' own has Triton's
interpreter (`TRITON_INTERPRET`).
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from transformers import Gemma3TextConfig
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from benchmarks.gemma_shapes import SHAPES

Cases: TypeAlias = dict[str, Callable[[], object]]
"""What launches some kernels, by name."""

ARCHITECTURES = (80, 86, 89, 90, 120)
SHARED_LIMITS = {80: 101_376, 86: 101_376, 89: 101_376, 90: 232_448, 120: 101_376}
"""Bytes of shared memory that a block may take; an A100 has more, which nothing here relies on."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """One kernel as ptxas left it; bytes."""

    case: str
    kernel: str
    architecture: int
    shared: int
    spilled: int
    registers: int
    async_copies: int
    matrix_products: int


class _CompileOnly(DriverBase):  # type: ignore[misc]
    """A driver for a card that isn't there; a device's number is its architecture."""

    architecture = 80

    @classmethod
    def is_active(cls) -> bool:
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        raise NotImplementedError

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.architecture, 32)

    def get_current_device(self) -> int:
        return self.architecture

    def get_current_stream(self, _: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("meta")

    def get_benchmarker(self) -> Any:
        raise NotImplementedError


@contextmanager
def compiling(seen: Callable[[JITFunction[Any], Any, str], None]) -> Iterator[_CompileOnly]:
    """Launches compile; `seen` gets each function, its kernel, and ptxas' log ("" if known)."""
    run = JITFunction.run
    compile_only = _CompileOnly()

    def compile_instead(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        del warmup
        assert all(0 < size < 65_536 for size in grid[1:])
        log = io.StringIO()
        with redirect_stdout(log):
            kernel = run(self, *args, grid=grid, warmup=True, **options)
        seen(self, kernel, log.getvalue())
        return kernel

    JITFunction.run = compile_instead
    driver.set_active(compile_only)
    try:
        yield compile_only
    finally:
        JITFunction.run = run
        driver.set_active(None)


def compile_cases(cases: Cases, architectures: tuple[int, ...]) -> list[Compiled]:
    """Run each case for each architecture; every kernel that its launches made, once."""
    results: list[Compiled] = []
    current = ""

    def seen(function: Any, kernel: Any, log: str) -> None:
        if not log:
            return
        assert "bytes spill stores" in log, log
        ptx = kernel.asm["ptx"]
        results.append(
            Compiled(
                current,
                function.__name__,
                compile_only.architecture,
                kernel.metadata.shared,
                sum(map(int, re.findall(r"(\d+) bytes spill", log))),
                max(map(int, re.findall(r"Used (\d+) registers", log))),
                ptx.count("cp.async.c") + ptx.count("cp.async.bulk"),
                ptx.count("mma.sync") + ptx.count("wgmma.mma"),
            )
        )

    knobs.nvidia.dump_ptxas_log = True
    knobs.compilation.always_compile = True
    with compiling(seen) as compile_only:
        for compile_only.architecture in architectures:
            for case, launch in cases.items():
                current = case
                launch()
    return results


def attention_cases(config: Gemma3TextConfig, dtype: torch.dtype, name: str) -> Cases:
    """A decode step and one with a chunk, with as many splits as there can be."""
    from bot.engine.cuda import triton_attention
    from bot.engine.cuda.attention_plan import MAX_SPLITS, AttentionPlan

    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads

    def attend(prefill: bool) -> None:
        rows = 64
        ints = partial(torch.empty, dtype=torch.int32, device="meta")
        plan = AttentionPlan(
            query_starts=ints(rows + 1), num_keys=ints(rows), table_starts=ints(rows),
            last_keys=ints(rows), slot_mapping=ints(rows), tiles=ints(rows, 4),
            block_tables=ints(rows, 512), window=config.sliding_window, prefill=prefill,
            num_splits=MAX_SPLITS, partial_rows=rows,
        )  # fmt: skip
        numbers = partial(torch.empty, dtype=dtype, device="meta")
        query = numbers(rows, heads + 2 * kv_heads, config.head_dim)[:, :heads]
        cache = numbers(99, 16, kv_heads, config.head_dim)
        triton_attention.paged_attention(query, cache, cache, plan, 0.0625)

    kind = str(dtype).removeprefix("torch.")
    return {
        f"{name} decode {kind}": lambda: attend(prefill=False),
        f"{name} prefill {kind}": lambda: attend(prefill=True),
    }


def layer_cases(config: Gemma3TextConfig, dtype: torch.dtype, name: str) -> Cases:
    """The kernels between the products of a layer."""
    from bot.engine.cuda import layer_kernels

    heads, kv_heads, dim = (
        config.num_attention_heads, config.num_key_value_heads, config.head_dim
    )  # fmt: skip
    numbers = partial(torch.empty, dtype=dtype, device="meta")
    floats = partial(torch.empty, dtype=torch.float32, device="meta")

    def launch() -> None:
        rows, weight = 64, floats(config.hidden_size)
        hidden, residual = (numbers(rows, config.hidden_size) for _ in range(2))
        layer_kernels.rms_norm(hidden, weight, 1e-6)
        layer_kernels.add_norm(hidden, residual, weight, weight, 1e-6)
        layer_kernels.gelu_mul(numbers(rows, 2 * config.intermediate_size))
        qkv, cache = numbers(rows, (heads + 2 * kv_heads) * dim), numbers(99, 16, kv_heads, dim)
        slots = torch.empty(rows, dtype=torch.int32, device="meta")
        rope = floats(rows, 2, dim // 2)[:, 1]
        layer_kernels.norm_rope_write(qkv, floats(2, dim), rope, rope, slots, cache, cache, 1e-6)
        keys = numbers(rows, kv_heads, dim)
        layer_kernels.write_kv(keys, keys, slots, cache, cache)

    return {f"{name} layer {str(dtype).removeprefix('torch.')}": launch}


def all_cases() -> Cases:
    """Every kernel as every size of Gemma 3 launches it."""
    cases: Cases = {}
    for name, shape in SHAPES.items():
        config = Gemma3TextConfig(**shape)
        # In float16 everything is as large as in bfloat16: one size of model shows that.
        for dtype in (torch.bfloat16, torch.float32, *([torch.float16] if name == "4b" else [])):
            cases |= attention_cases(config, dtype, name)
            cases |= layer_cases(config, dtype, name)
    return cases


def main() -> None:
    architectures = tuple(map(int, sys.argv[1].split(",")))
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    cases = {name: case for name, case in all_cases().items() if only in name}
    for result in compile_cases(cases, architectures):
        print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
