"""Runs the systems in turn on the same traces and collects their results."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from bot.bench.measure import RunResult
from bot.bench.summary import peer_ratios, summary_row
from bot.bench.systems import NO_PICTURES, PARLEY
from bot.bench.systems.base import Setup
from bot.bench.trace import Trace, warm_up_trace
from bot.bench.worker import Worker
from bot.bench.workloads import WORKLOADS

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. `peers` are names from `systems.PEERS`, besides Parley.

    Each run has its own seed, counting up from `seed`; a `scale` below 1 is only for a quick look.
    """

    workload: str
    conversations: tuple[int, ...]
    peers: tuple[str, ...]
    runs: int = 3
    seed: int = 0
    scale: float = 1.0


class Session:
    """The processes of all systems used so far, each loaded once; idle ones don't compute.

    Use it as a context manager: leaving it ends all processes.
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

    def measure_workload(self, plan: Plan) -> dict[str, Any]:
        """The report of one workload, as `--json` writes it.

        For each number of conversations there are `runs` rounds in which the systems take turns, so
        that a machine that slows down affects all of them. First, each plays an uncounted short
        version of the workload as a warm-up.

        Raises:
            BenchFailed: a system couldn't be loaded or run; the message names it.
        """
        names, skipped = self._participants(plan)
        workers = [self._get_worker(name) for name in names]
        results = []
        for conversations in plan.conversations:
            run_results = self._play_rounds(plan, conversations, workers)
            results += [summary_row(name, conversations, run_results[name]) for name in names]
        return {
            "workload": plan.workload,
            "machine": describe_machine(),
            "model": self.setup.model,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "threads": self.setup.threads,
            "device": self.setup.device,
            "dtype": self.setup.dtype,
            "runs": plan.runs,
            "seed": plan.seed,
            "scale": plan.scale,
            "results": results,
            "ratios": peer_ratios(results),
            "skipped": skipped,
        }

    def _play_rounds(
        self, plan: Plan, conversations: int, workers: Sequence[Worker]
    ) -> dict[str, list[RunResult]]:
        phases = WORKLOADS[plan.workload].phases
        warm_up = phases(conversations, plan.seed, plan.scale)
        for worker in workers:
            worker.prepare(warm_up)
            worker.run_phases([warm_up_trace(trace) for trace in warm_up])
        results: dict[str, list[RunResult]] = {worker.name: [] for worker in workers}
        for turn in range(1, plan.runs + 1):
            traces = phases(conversations, plan.seed + turn, plan.scale)
            for worker in _rotate_workers(workers, turn):
                result = worker.run_phases(traces)
                results[worker.name].append(result)
                self._say(
                    f"{plan.workload} {conversations}, run {turn}: {worker.name} "
                    f"{result.tokens_per_s:.1f} tokens/s"
                )
        return results

    def _participants(self, plan: Plan) -> tuple[list[str], list[dict[str, str]]]:
        """The names of the systems to run, and the skipped ones with the reason."""
        sees = _has_pictures(WORKLOADS[plan.workload].phases(1, 0, 1.0))
        skipped = [
            {"system": peer, "reason": NO_PICTURES[peer]}
            for peer in plan.peers
            if sees and peer in NO_PICTURES
        ]
        without = {entry["system"] for entry in skipped}
        for entry in skipped:
            self._say(f"skipping {entry['system']}: {entry['reason']}")
        return [PARLEY, *(peer for peer in plan.peers if peer not in without)], skipped

    def _get_worker(self, name: str) -> Worker:
        if name not in self._workers:
            self._say(f"loading {name} ...")
            worker = Worker(name, self.setup)
            self._workers[name] = worker
            if name == PARLEY:
                # Peers use the same data type and device.
                self.setup = replace(
                    self.setup, dtype=worker.info["dtype"], device=worker.info["device"]
                )
        return self._workers[name]


def _has_pictures(traces: Sequence[Trace]) -> bool:
    return any(trace.has_pictures for trace in traces)


def _rotate_workers(workers: Sequence[Worker], turn: int) -> list[Worker]:
    """Start each round with a different system."""
    first = (turn - 1) % len(workers)
    return [*workers[first:], *workers[:first]]


def describe_machine() -> str:
    """Describe the machine without its host name."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            names = [line.split(":", 1)[1].strip() for line in info if "model name" in line]
        model = names[0] if names else model
    except OSError:
        pass
    return f"{os.cpu_count()} cores, {model}, {platform.system()}{_gpu_name()}"


def _gpu_name() -> str:
    import torch

    return f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
