"""Runs the systems in turn on the same traces and gathers their results."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from bot.bench.measure import RunResult
from bot.bench.summary import ratios, row
from bot.bench.systems import BLIND, PARLEY
from bot.bench.systems.base import Setup
from bot.bench.trace import Trace, shortened
from bot.bench.worker import Worker
from bot.bench.workloads import WORKLOADS

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. `peers` are names of `systems.PEERS`, besides Parley.

    `seed` begins a row of seeds, one for each run; `scale` below 1 is a quick look only.
    """

    workload: str
    conversations: tuple[int, ...]
    peers: tuple[str, ...]
    runs: int = 3
    seed: int = 0
    scale: float = 1.0


class Session:
    """The processes of all systems that were needed so far, loaded once.

    Those whose turn it is not do nothing. Use it as a context manager: leaving ends them all.
    """

    def __init__(self, setup: Setup, say: Say) -> None:
        self.setup = setup
        self._say = say
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _: type[BaseException] | None,
        __: BaseException | None,
        ___: TracebackType | None,
    ) -> None:
        for worker in self._workers.values():
            worker.hang_up()
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def measure(self, plan: Plan) -> dict[str, Any]:
        """The report of one workload, as `--json` writes it.

        For each number of conversations there are `runs` rounds, in which the systems take turns,
        so that a machine that slows down slows all of them. Before them each plays a short
        version of the workload that isn't counted.

        Raises:
            BenchFailed: a system could not be loaded or run; the text names it.
        """
        names, skipped = self._names(plan)
        workers = [self._worker(name) for name in names]
        results = []
        for conversations in plan.conversations:
            gathered = self._rounds(plan, conversations, workers)
            results += [row(name, conversations, gathered[name]) for name in names]
        return {
            "workload": plan.workload,
            "machine": machine(),
            "model": self.setup.model,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "threads": self.setup.threads,
            "device": self.setup.device,
            "dtype": self.setup.dtype,
            "runs": plan.runs,
            "seed": plan.seed,
            "scale": plan.scale,
            "results": results,
            "ratios": ratios(results),
            "skipped": skipped,
        }

    def _rounds(
        self, plan: Plan, conversations: int, workers: Sequence[Worker]
    ) -> dict[str, list[RunResult]]:
        phases = WORKLOADS[plan.workload].phases
        warm_up = phases(conversations, plan.seed, plan.scale)
        for worker in workers:
            worker.prepare(warm_up)
            worker.run([shortened(trace) for trace in warm_up])
        gathered: dict[str, list[RunResult]] = {worker.name: [] for worker in workers}
        for turn in range(1, plan.runs + 1):
            traces = phases(conversations, plan.seed + turn, plan.scale)
            for worker in _rotated(workers, turn):
                result = worker.run(traces)
                gathered[worker.name].append(result)
                self._say(
                    f"{plan.workload} {conversations}, run {turn}: {worker.name} "
                    f"{result.tokens_per_s:.1f} tokens/s"
                )
        return gathered

    def _names(self, plan: Plan) -> tuple[list[str], list[dict[str, str]]]:
        """Who takes part, and who can't and why."""
        sees = _sees(WORKLOADS[plan.workload].phases(1, 0, 1.0))
        skipped = [
            {"system": peer, "reason": BLIND[peer]} for peer in plan.peers if sees and peer in BLIND
        ]
        without = {entry["system"] for entry in skipped}
        for entry in skipped:
            self._say(f"without {entry['system']}: {entry['reason']}")
        return [PARLEY, *(peer for peer in plan.peers if peer not in without)], skipped

    def _worker(self, name: str) -> Worker:
        if name not in self._workers:
            self._say(f"loading {name} ...")
            worker = Worker(name, self.setup)
            self._workers[name] = worker
            if name == PARLEY:
                # Its peers compute alike.
                self.setup = replace(
                    self.setup, dtype=worker.info["dtype"], device=worker.info["device"]
                )
        return self._workers[name]


def _sees(traces: Sequence[Trace]) -> bool:
    return any(trace.sees for trace in traces)


def _rotated(workers: Sequence[Worker], turn: int) -> list[Worker]:
    """Another one begins each round."""
    first = (turn - 1) % len(workers)
    return [*workers[first:], *workers[:first]]


def machine() -> str:
    """The machine in words, without its name."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            names = [line.split(":", 1)[1].strip() for line in info if "model name" in line]
        model = names[0] if names else model
    except OSError:
        pass
    return f"{os.cpu_count()} cores, {model}, {platform.system()}{_gpu()}"


def _gpu() -> str:
    import torch

    return f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
