"""Runs each system in its own process, so that systems share neither memory nor threads."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, cast

from bot.bench import systems
from bot.bench.driver import play_trace
from bot.bench.errors import BenchFailed
from bot.bench.measure import RunResult
from bot.bench.systems.base import Setup, System
from bot.bench.trace import Trace

_CLOSE_TIMEOUT_S = 30


class Worker:
    """The parent's side; any failure in the process raises BenchFailed, which names the system."""

    def __init__(self, name: str, setup: Setup) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_worker_main, args=(theirs, name, setup), daemon=True
        )
        self._process.start()
        theirs.close()
        try:
            self.info = cast(dict[str, str], self._receive_answer())
        except BaseException:
            self.close()
            raise

    def prepare(self, traces: Sequence[Trace]) -> None:
        """Let the system allocate for traces like these."""
        self._send_request("prepare", traces)

    def run_phases(self, phases: Sequence[Trace]) -> RunResult:
        """Play the phases one after another."""
        return cast(RunResult, self._send_request("run", phases))

    def hang_up(self) -> None:
        """Let the process end; `close` waits for it. Idempotent."""
        self._pipe.close()

    def close(self) -> None:
        """End the process, by force if it takes too long. Idempotent."""
        self.hang_up()
        self._process.join(timeout=_CLOSE_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _send_request(self, what: str, traces: Sequence[Trace]) -> Any:
        try:
            self._pipe.send((what, list(traces)))
        except OSError:
            raise BenchFailed(f"{self.name}: the process has ended") from None
        return self._receive_answer()

    def _receive_answer(self) -> Any:
        try:
            kind, answer = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise BenchFailed(f"{self.name}: the process died (out of memory?)") from None
        if kind == "error":
            raise BenchFailed(f"{self.name}: {answer}")
        return answer


def _worker_main(pipe: Connection, name: str, setup: Setup) -> None:
    """The process's main function: load the system, then answer until the pipe closes."""
    # Set before torch is imported, so that they apply to the threads of every library.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(setup.threads)
    try:
        with asyncio.Runner() as runner:
            system = systems.make_system(name, setup)
            try:
                pipe.send(("ok", runner.run(system.start())))
                while True:
                    what, traces = pipe.recv()
                    if what == "prepare":
                        pipe.send(("ok", runner.run(system.prepare(traces))))
                    else:
                        pipe.send(("ok", runner.run(_run_phases(system, traces))))
            finally:
                runner.run(system.stop())
    except (EOFError, KeyboardInterrupt, ConnectionError):
        return
    except Exception as error:
        pipe.send(("error", _one_line(error)))


async def _run_phases(system: System, phases: Sequence[Trace]) -> RunResult:
    system.memory.reset_peak()
    _reset_device_peak()
    result = RunResult([await play_trace(system, trace) for trace in phases])
    result.peak_mib = system.memory.peak_mib()
    result.peak_device_mib = _device_peak_mib()
    return result


def _reset_device_peak() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _device_peak_mib() -> float:
    import torch

    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0


def _one_line(error: Exception) -> str:
    from bot.engine.api import EngineError

    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    expected = isinstance(error, BenchFailed | EngineError)
    return text if expected else f"{type(error).__name__}: {text}"
