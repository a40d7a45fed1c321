"""Runs systems in turn, each in its own process, and gathers medians and ratios."""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, cast

from bot.bench.measure import PeakMemory, RunResult, percentiles
from bot.bench.systems import SYSTEMS
from bot.bench.workloads import WORKLOADS, Request


class BenchFailed(Exception):
    """A system could not be measured; the text names it and says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. `peers` are names of `systems.SYSTEMS`, besides Parley."""

    workload: str
    conversations: tuple[int, ...]
    peers: tuple[str, ...]
    runs: int
    model: str  # how to call it
    folder: str  # where it lies
    seed: int = 0


class _Worker:
    """One system in a process of its own, so that its memory is its own."""

    def __init__(self, name: str, folder: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.name = name
        self._process = context.Process(target=_serve, args=(theirs, name, folder), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()  # loaded

    def run(self, requests: Sequence[Request]) -> RunResult:
        self._pipe.send(list(requests))
        return cast(RunResult, self._answer())

    def close(self) -> None:
        self._pipe.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError:
            raise BenchFailed(f"{self.name}: its process died (out of memory?)") from None
        if isinstance(answer, str):
            raise BenchFailed(f"{self.name}: {answer}")
        return answer


def _serve(pipe: Connection, name: str, folder: str) -> None:
    """The worker process: load, then answer until the pipe closes."""
    memory = PeakMemory()
    try:
        system = SYSTEMS[name]()
        system.load(folder)
        pipe.send(None)
        while True:
            requests = pipe.recv()
            memory.reset()
            result = system.run(requests)
            result.peak_mib = memory.mib()
            pipe.send(result)
    except EOFError:
        return
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


def run(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure: for each number of conversations, `runs` rounds in which the systems take turns
    (so that a machine that slows down slows all of them), after one round that isn't counted.

    Raises:
        BenchFailed: a system could not be loaded or run.
    """
    names = ("parley", *plan.peers)
    workers: list[_Worker] = []
    try:
        for name in names:
            say(f"loading {name} ...")
            workers.append(_Worker(name, plan.folder))
        results = []
        for conversations in plan.conversations:
            requests = WORKLOADS[plan.workload](conversations, plan.seed)
            gathered: dict[str, list[RunResult]] = {name: [] for name in names}
            for turn in range(plan.runs + 1):
                for worker in workers:
                    result = worker.run(requests)
                    if turn > 0:
                        gathered[worker.name].append(result)
                        say(
                            f"{conversations:3} conversations, run {turn}: {worker.name} "
                            f"{result.tokens_per_s:.1f} tokens/s"
                        )
            results += [summary(name, conversations, gathered[name]) for name in names]
    finally:
        for worker in workers:
            worker.close()
    return {
        "workload": plan.workload,
        "machine": machine(),
        "model": plan.model,
        "runs": plan.runs,
        "seed": plan.seed,
        "results": results,
        "ratios": ratios(results),
    }


def summary(name: str, conversations: int, runs: Sequence[RunResult]) -> dict[str, Any]:
    """One row: medians over the runs."""

    def median(pick: Callable[[RunResult], float]) -> float:
        return statistics.median(map(pick, runs))

    def spread(pick: Callable[[RunResult], Sequence[float]]) -> dict[str, float]:
        rows = [percentiles(pick(run)) for run in runs]
        return {key: statistics.median(row[key] for row in rows) for key in rows[0]}

    return {
        "system": name,
        "conversations": conversations,
        "tokens_per_s": median(lambda r: r.tokens_per_s),
        "ttft_s": spread(lambda r: r.ttft_s),
        "itl_s": spread(lambda r: r.itl_s),
        "cached_share": median(lambda r: r.cached_tokens / max(1, r.prompt_tokens)),
        "peak_mib": max(r.peak_mib for r in runs),
        "runs": [{"tokens_per_s": r.tokens_per_s, "seconds": r.seconds} for r in runs],
    }


def ratios(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parley's throughput over each peer's, for each number of conversations."""
    own = {row["conversations"]: row for row in results if row["system"] == "parley"}
    return [
        {
            "peer": row["system"],
            "conversations": row["conversations"],
            "tokens_per_s": own[row["conversations"]]["tokens_per_s"] / row["tokens_per_s"],
        }
        for row in results
        if row["system"] != "parley"
    ]


def machine() -> str:
    """The machine in words, without its name."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            names = [line.split(":", 1)[1].strip() for line in info if "model name" in line]
        model = names[0] if names else model
    except OSError:
        pass
    return f"{os.cpu_count()} cores, {model}, {platform.system()}"
