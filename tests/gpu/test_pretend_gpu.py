"""What the pretend GPU counts, and what it refuses as a real one does."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.errors import OutOfResources

from tests.gpu.pretend_gpu.counters import counts, kernels, reset

ARCH = int(os.environ.get("FAKE_ARCH", "90"))
GIB = float(os.environ.get("FAKE_GIB", "80"))
MULTIPROCESSORS = {75: 40, 80: 108, 86: 82, 89: 128, 90: 132, 120: 170}[ARCH]
SHARED = {75: 65536, 80: 166912, 86: 101376, 89: 101376, 90: 232448, 120: 101376}[ARCH]
cuda = ctypes.CDLL("libcuda.so.1")


@triton.jit
def double(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, 2 * tl.load(x + at, mask=at < n), mask=at < n)


@triton.jit
def product(a, b, c, N: tl.constexpr, K: tl.constexpr):
    i, k = tl.arange(0, N), tl.arange(0, K)
    left = tl.load(a + i[:, None] * K + k[None, :])
    right = tl.load(b + k[:, None] * N + i[None, :])
    tl.store(c + i[:, None] * N + i[None, :], tl.dot(left, right))


def run_double(x: torch.Tensor, block: int = 256) -> Any:
    return double[(triton.cdiv(x.numel(), block),)](x, torch.empty_like(x), x.numel(), BLOCK=block)


def raises(call: Callable[[], object], *texts: str) -> None:
    """`call` raises with one of the texts, or while handling an error that has one."""
    with pytest.raises(Exception) as caught:
        call()
    text = f"{caught.value} {caught.value.__context__}"
    assert any(expected in text for expected in texts), text


def test_launch() -> None:
    """A Triton kernel is one launch."""
    x = torch.zeros(1000, device="cuda")
    run_double(x)
    reset()
    run_double(x)
    assert counts() == {"launch": 1, "driver_launch": 1}, counts()
    assert kernels() == {"double": 1}, kernels()


def test_nodes() -> None:
    """Captured, a Triton kernel, one of PyTorch's and a matrix product are a node each."""
    x = torch.zeros(64, 64, device="cuda")
    run_double(x)
    graph = torch.cuda.CUDAGraph()
    reset()
    with torch.cuda.graph(graph):
        run_double(x)
        x + 1
    assert (counts()["captured"], counts()["launch"]) == (2, 2)
    reset()
    graph.replay()
    assert counts() == {"graphlaunch": 1, "replayed": 2}, counts()
    side = torch.cuda.Stream()
    reset()
    with torch.cuda.graph(graph2 := torch.cuda.CUDAGraph()):
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run_double(x)
        torch.cuda.current_stream().wait_stream(side)
        x @ x
    assert counts()["captured"] == 2
    assert "offstream" not in counts()
    del graph2


def test_shared_memory() -> None:
    """Too much shared memory is refused: by Triton, and by the driver below it."""
    a = torch.zeros(256 * 256, device="cuda", dtype=torch.float16)
    c = torch.zeros(256 * 256, device="cuda")
    if ARCH >= 80:  # Triton takes minutes to compile this for older cards
        with pytest.raises(OutOfResources, match=f"Hardware limit: {SHARED}"):
            product[(1,)](a, a, c, N=256, K=256, num_warps=8)

    x = torch.zeros(256, device="cuda")
    function = ctypes.c_void_p(run_double(x).function)
    values = [
        ctypes.c_uint64(x.data_ptr()),
        ctypes.c_uint64(x.data_ptr()),
        ctypes.c_int(256),
        ctypes.c_uint64(0),
        ctypes.c_uint64(0),
    ]
    arguments = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))

    def launch(shared: int, threads: int = 128, grid: int = 1, given: Any = arguments) -> int:
        return cuda.cuLaunchKernel(function, grid, 1, 1, threads, 1, 1, shared, None, given, None)

    reset()
    assert [launch(0), launch(49152)] == [0, 0]
    assert [
        launch(49153),
        launch(0, threads=2048),
        launch(0, threads=256),
        launch(0, grid=0),
        launch(0, given=None),
    ] == [1] * 5
    assert counts() == {"launch": 2, "driver_launch": 2, "refused": 5}, counts()
    grant = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    assert cuda.cuFuncSetAttribute(function, grant, SHARED + 1) == 1
    assert cuda.cuFuncSetAttribute(function, grant, SHARED) == 0
    assert [launch(SHARED), launch(SHARED + 1)] == [0, 1]


def test_compiled() -> None:
    """torch.compile: inductor's Triton kernels are launches, and nodes."""

    def f(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(x * w.float(), approximate="tanh").sum(-1, keepdim=True) + x

    x, w = torch.zeros(16, 512, device="cuda"), torch.ones(512, device="cuda")
    compiled = torch.compile(f)
    compiled(x, w)
    reset()
    compiled(x, w)
    assert counts()["launch"] == counts()["driver_launch"] == 1, counts()
    assert all(name.startswith("triton_") for name in kernels()), kernels()
    reset()
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        compiled(x, w)
    assert counts()["captured"] == 1, counts()
    reset()
    f(x, w)
    assert counts()["launch"] > 1, counts()


def test_copies() -> None:
    """Pageable and pinned uploads, and waits, are told apart; Triton refuses the host's memory."""
    there, plain, pinned = (
        torch.zeros(1000, device="cuda"),
        torch.zeros(1000),
        torch.zeros(1000, pin_memory=True),
    )
    reset()
    there.copy_(plain, non_blocking=True)
    assert counts() == {"h2d_pageable": 1, "h2d_bytes": 4000}, counts()
    reset()
    there.copy_(pinned, non_blocking=True)
    assert counts()["h2d_pinned"] == 1
    assert "streamsync" not in counts()
    reset()
    there.sum().item()
    assert counts()["streamsync"] == 1
    assert counts().get("d2h_pinned", 0) + counts().get("d2h_pageable", 0) == 1
    raises(lambda: run_double(plain), "cpu tensor")


def test_card() -> None:
    """Properties, memory and bfloat16 fit FAKE_ARCH and FAKE_GIB."""
    card = torch.cuda.get_device_properties(0)
    assert (
        card.major * 10 + card.minor,
        card.multi_processor_count,
        card.shared_memory_per_block_optin,
    ) == (ARCH, MULTIPROCESSORS, SHARED)
    seen = triton.runtime.driver.active.utils.get_device_properties(0)
    assert (
        seen["multiprocessor_count"],
        seen["max_shared_mem"],
        seen["max_num_regs"],
        seen["warpSize"],
    ) == (MULTIPROCESSORS, SHARED, 65536, 32)
    assert triton.runtime.driver.active.get_current_target().arch == ARCH
    total = ctypes.c_size_t()
    assert cuda.cuDeviceTotalMem_v2(ctypes.byref(total), 0) == 0
    free, all_of_it = torch.cuda.mem_get_info()
    assert total.value == all_of_it == card.total_memory == int(GIB * 2**30) // 4096 * 4096
    block = torch.empty(2**28, dtype=torch.uint8, device="cuda")
    assert free - torch.cuda.mem_get_info()[0] in (0, 2**28)  # 0: it was cached
    del block
    raises(lambda: torch.empty(all_of_it, dtype=torch.uint8, device="cuda"), "out of memory")
    assert torch.cuda.is_bf16_supported(including_emulation=False) == (ARCH >= 80)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="FAKE_GPUS=1")
def test_second_card() -> None:
    """FAKE_GPUS=2: a kernel runs on the current device, and is refused memory of another."""
    x = torch.zeros(100, device="cuda:1")
    with torch.cuda.device(1):
        run_double(x)
    raises(lambda: run_double(x), "illegal memory access")


def captured(body: Callable[[], object], mode: str = "global") -> None:
    with torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode=mode):
        body()


NOT_CAPTURABLE = (
    "when stream is capturing",
    "previous error during capture",
    "event last recorded in a capturing stream",
    "uncaptured work",
)


@pytest.mark.own_process
def test_capture_wait() -> None:
    """Waiting for the device is no part of a graph."""
    raises(lambda: captured(torch.cuda.synchronize), *NOT_CAPTURABLE)
    assert counts()["capture_errors"] >= 1


@pytest.mark.own_process
def test_capture_item() -> None:
    """Nor is reading a value."""
    x = torch.zeros(3, device="cuda")
    raises(lambda: captured(lambda: x.sum().item()), *NOT_CAPTURABLE)


@pytest.mark.own_process
def test_capture_first_launch() -> None:
    """A first launch loads the kernel, which a capture forbids: warm up first."""
    x = torch.zeros(100, device="cuda")
    raises(
        lambda: captured(lambda: run_double(x, block=32)),
        "Triton Error [CUDA]: operation not permitted when stream is capturing",
    )


@pytest.mark.own_process
def test_capture_thread() -> None:
    """Another thread's wait spoils a "global" capture and leaves a "thread_local" one alone."""
    event = torch.cuda.Event()
    event.record()
    x = torch.zeros(100, device="cuda")
    seen: list[str] = []

    def elsewhere() -> None:
        try:
            event.synchronize()
        except Exception as e:
            seen.append(str(e))

    def body() -> None:
        x + 1
        (thread := threading.Thread(target=elsewhere)).start()
        thread.join()

    captured(body, "thread_local")
    assert not seen, seen
    raises(lambda: captured(body), *NOT_CAPTURABLE)
    assert seen


@pytest.mark.own_process
def test_capture_outside_event() -> None:
    """A captured stream can't wait for work that is not captured."""
    x, side = torch.zeros(100, device="cuda"), torch.cuda.Stream()
    with torch.cuda.stream(side):
        x + 1
        event = side.record_event()
    raises(lambda: captured(event.wait), *NOT_CAPTURABLE)
