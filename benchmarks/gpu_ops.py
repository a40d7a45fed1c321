"""What a decode step asks of a GPU: operators, and nodes of its CUDA graph. No GPU needed.

    python -m benchmarks.gpu_ops --model 4b --json

Runs the step that `graphs.py` records, on tensors without data ("meta"), and counts the operators
that reach the device: PyTorch's, less views and allocations, and launches of Triton kernels. With a
GPU (and so on a pretend one) it records the step too and counts the graph's nodes; else `nodes` is
null.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Gemma3ForCausalLM, Gemma3TextConfig
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

from benchmarks.gemma_shapes import SHAPES
from bot.engine.attention.base import BackendChoice
from bot.engine.cuda.graphs import Outputs, record_cuda
from bot.engine.cuda.triton_backend import TritonBackend, build_layers
from bot.engine.model.runner import ModelRunner
from bot.engine.schedule.block_manager import BlockManager, BlockPool, LayerGroup

_BLOCK_SIZE = 16
_POOL_BLOCKS = 64
_ALLOCATIONS = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")


class _CountOperators(TorchDispatchMode):
    """Counts what PyTorch would launch: every operator that isn't a view or an allocation."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self._counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returns = func._schema.returns
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in returns)
        if not is_view and func.overloadpacket.__name__ not in _ALLOCATIONS:
            self._counts[str(func)] += 1
        return func(*args, **kwargs or {})


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """In here operators and launches are counted by name; Triton kernels don't run."""
    counts: Counter[str] = Counter()
    runs = {kind: kind.run for kind in (JITFunction, InterpretedFunction)}

    def count_launch(self: Any, *_: Any, **__: Any) -> None:
        counts[self.__name__] += 1

    for kind in runs:
        kind.run = count_launch
    try:
        with _CountOperators(counts):
            yield counts
    finally:
        for kind, run in runs.items():
            kind.run = run


def decode_runner(model: str, device: torch.device) -> ModelRunner:
    """A model of this size on the triton backend, its weights uninitialized."""
    config = Gemma3TextConfig(**SHAPES[model])
    with torch.device("meta"):
        module = Gemma3ForCausalLM(config).to(torch.bfloat16)
    if device.type != "meta":
        module = module.to_empty(device=device)
    blocks = BlockManager(
        _BLOCK_SIZE,
        (
            LayerGroup(None, BlockPool(_POOL_BLOCKS)),
            LayerGroup(config.sliding_window, BlockPool(_POOL_BLOCKS)),
        ),
    )
    backend = TritonBackend(config, device, torch.bfloat16, _BLOCK_SIZE)
    choice = BackendChoice(backend, build_layers, torch.bfloat16, "bfloat16", records_graphs=True)
    return ModelRunner(module.model, module.lm_head, blocks, None, choice)


def count_operators(model: str, batch: int, context: int) -> Counter[str]:
    """Operators of one decode step, by name."""
    counted: list[Counter[str]] = []

    def record(step: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
        with counting() as counts:
            outputs = step()
        counted.append(counts)
        return lambda: None, outputs

    runner = decode_runner(model, torch.device("meta"))
    runner.record_graphs(record, max_context=context, max_batch=batch)
    return counted[0]  # the largest batch is recorded first


def count_nodes(model: str, batch: int, context: int) -> int | None:
    """Nodes of the recorded step's graph; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    nodes: list[int] = []

    def record(step: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
        if nodes:
            return lambda: None, step()
        graph = torch.cuda.CUDAGraph(keep_graph=True)
        replay, outputs = record_cuda(step, graph)
        nodes.append(graph_nodes(graph))
        return replay, outputs

    runner = decode_runner(model, torch.device("cuda", torch.cuda.current_device()))
    runner.record_graphs(record, max_context=context, max_batch=batch)
    return nodes[0]


def graph_nodes(graph: torch.cuda.CUDAGraph) -> int:
    """How many nodes a graph captured with `keep_graph=True` has."""
    count = ctypes.c_size_t()
    runtime = ctypes.CDLL(f"libcudart.so.{(torch.version.cuda or '').split('.')[0]}")
    status = runtime.cudaGraphGetNodes(
        ctypes.c_void_p(graph.raw_cuda_graph()), None, ctypes.byref(count)
    )
    if status:
        raise RuntimeError(f"cudaGraphGetNodes: CUDA error {status}")
    return count.value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", choices=SHAPES, default="4b")
    parser.add_argument("--batch", type=int, default=16, help="sequences that decode")
    parser.add_argument("--context", type=int, default=8192, help="PARLEY_MAX_CONTEXT")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    shape = (options.model, options.batch, options.context)
    operators = count_operators(*shape)
    nodes = count_nodes(*shape)
    if options.json:
        print(json.dumps({"operators": operators.total(), "nodes": nodes}))
        return 0
    for name, count in operators.most_common():
        print(f"{count:6d}  {name}")
    print(f"{operators.total():6d}  operators; graph nodes: {'no GPU' if nodes is None else nodes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
