"""One system in a process of its own, so that its memory and its threads are its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, cast

from bot.bench import systems
from bot.bench.driver import play
from bot.bench.errors import BenchFailed
from bot.bench.measure import RunResult
from bot.bench.systems.base import Setup, System
from bot.bench.trace import Trace

_CLOSE_S = 30


class Worker:
    """The parent's side. Raises BenchFailed, naming the system, whatever goes wrong over there."""

    def __init__(self, name: str, setup: Setup) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(theirs, name, setup), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self.info = cast(dict[str, str], self._answer())
        except BaseException:
            self.close()
            raise

    def prepare(self, traces: Sequence[Trace]) -> None:
        """Make room for traces like these."""
        self._ask("prepare", traces)

    def run(self, phases: Sequence[Trace]) -> RunResult:
        """Play the phases one after another."""
        return cast(RunResult, self._ask("run", phases))

    def hang_up(self) -> None:
        """Let the process end; `close` waits for it. Idempotent."""
        self._pipe.close()

    def close(self) -> None:
        """End the process, by force if it takes too long. Idempotent."""
        self.hang_up()
        self._process.join(timeout=_CLOSE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, what: str, traces: Sequence[Trace]) -> Any:
        try:
            self._pipe.send((what, list(traces)))
        except OSError:
            raise BenchFailed(f"{self.name}: the process has ended") from None
        return self._answer()

    def _answer(self) -> Any:
        try:
            kind, answer = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise BenchFailed(f"{self.name}: the process died (out of memory?)") from None
        if kind == "error":
            raise BenchFailed(f"{self.name}: {answer}")
        return answer


def _main(pipe: Connection, name: str, setup: Setup) -> None:
    """The process: load, then answer until the pipe closes."""
    # Before torch is imported: it counts for every thread that a library makes.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(setup.threads)
    try:
        with asyncio.Runner() as runner:
            system = systems.make(name, setup)
            try:
                pipe.send(("ok", runner.run(system.start())))
                while True:
                    what, traces = pipe.recv()
                    if what == "prepare":
                        pipe.send(("ok", runner.run(system.prepare(traces))))
                    else:
                        pipe.send(("ok", runner.run(_run(system, traces))))
            finally:
                runner.run(system.stop())
    except (EOFError, KeyboardInterrupt, ConnectionError):
        return
    except Exception as error:
        pipe.send(("error", _one_line(error)))


async def _run(system: System, phases: Sequence[Trace]) -> RunResult:
    system.memory.reset()
    _reset_device()
    result = RunResult([await play(system, trace) for trace in phases])
    result.peak_mib = system.memory.mib()
    result.peak_device_mib = _device_mib()
    return result


def _reset_device() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _device_mib() -> float:
    import torch

    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0


def _one_line(error: Exception) -> str:
    from bot.engine.api import EngineError

    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    expected = isinstance(error, BenchFailed | EngineError)
    return text if expected else f"{type(error).__name__}: {text}"
