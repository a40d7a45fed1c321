"""Measure every bar of docs/benchmarks.md in one go, on a quiet machine.

    python -m benchmarks.run_all --llama-server PATH --out build/bench

Writes one JSON and one PNG per workload and `bars.md`, whose tables can be pasted. Each system is
loaded once for all workloads. A peer that can't be had (no llama.cpp server) leaves its bars
unmeasured; the others are measured all the same. Exit code 1 if any bar is missed or unmeasured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bot import config
from bot.app import engine_config, local_model_folder
from bot.bench import bars, plots
from bot.bench.errors import BenchFailed
from bot.bench.eyes import model_that_sees
from bot.bench.loss import LOSS, loss_table, measure_loss
from bot.bench.report import headline, table
from bot.bench.runner import Plan, Session
from bot.bench.systems.base import Setup
from bot.bench.systems.llama_files import find_server

EXACTNESS = "tests/integration/engine/test_exactness.py"
#: (workload, conversations, peers), each number of conversations with the peers its bars need.
JOBS: tuple[tuple[str, tuple[int, ...], tuple[str, ...]], ...] = (
    ("steady", (1, 16), ("llama-cpp", "generate-static")),
    ("turns", (1,), ()),
    ("mixed", (8,), ()),
    ("unfair", (4,), ()),
    ("chat", (16,), ("transformers-cb",)),
)


def say(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0, help="below 1: a quick look only")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--llama-server", default="")
    parser.add_argument("--only", default="", help="workloads, with commas; empty: all")
    parser.add_argument("--no-exactness", action="store_true", help="leave out the identity tests")
    return parser.parse_args()


class Everything:
    """The reports so far and why some are missing."""

    def __init__(self, options: argparse.Namespace) -> None:
        settings = config.load({"model": options.model})
        self.options = options
        self.setup = Setup(
            engine=engine_config(settings),
            folder=local_model_folder(settings),
            threads=options.threads,
            llama_server=options.llama_server,
            scratch=str(settings.cache_dir / "bench"),
            model=settings.model_name,
        )
        self.reports: dict[str, dict[str, Any]] = {}
        self.missing: dict[str, str] = {}
        self.only = {name for name in options.only.split(",") if name}
        Path(self.setup.scratch).mkdir(parents=True, exist_ok=True)

    def wanted(self, workload: str) -> bool:
        return not self.only or workload in self.only

    def run(self) -> None:
        try:
            find_server(self.options.llama_server)
        except BenchFailed as error:
            self.missing["llama-cpp"] = str(error)
            say(f"without llama-cpp: {error}")
        with Session(self.setup, say) as session:
            for workload, conversations, peers in JOBS:
                self._measure(session, workload, conversations, peers)
        if self.wanted("images"):
            with Session(model_that_sees(self.setup, "images", say), say) as session:
                self._measure(session, "images", (1,), ())
        if self.wanted(LOSS):
            try:
                self._keep(measure_loss(self.setup, say))
            except (BenchFailed, TypeError) as error:
                self.missing[LOSS] = str(error)

    def _measure(
        self, session: Session, workload: str, numbers: tuple[int, ...], peers: tuple[str, ...]
    ) -> None:
        if not self.wanted(workload):
            return
        there = tuple(peer for peer in peers if peer not in self.missing)
        plan = Plan(workload, numbers, there, self.options.runs, scale=self.options.scale)
        started = time.monotonic()
        try:
            self._keep(session.measure(plan))
        except BenchFailed as error:
            self.missing[workload] = str(error)
            say(f"{workload} could not be measured: {error}")
        say(f"{workload} took {time.monotonic() - started:.0f} s")

    def _keep(self, report: dict[str, Any]) -> None:
        name = report["workload"]
        self.reports[name] = report
        (self.options.out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
        if name != LOSS:
            plots.draw(report, self.options.out / f"{name}.png")


def identity() -> tuple[str, bool]:
    """The row of greedy float32 identity: the tests that compare with `generate()`."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", EXACTNESS],
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1].strip("= ") if done.stdout.strip() else "no output"
    word = "met" if done.returncode == 0 else "missed"
    row = f"| greedy float32 identity with `generate()` ({EXACTNESS}) | 100 % | {last} | {word} |"
    return row, done.returncode == 0


def main() -> int:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    plots.check(options.out / "x.png")
    everything = Everything(options)
    everything.run()
    verdicts = bars.judge(everything.reports, everything.missing)
    lines = [bars.verdict_table(verdicts)]
    if options.scale != 1:
        lines.insert(0, f"**Scaled to {options.scale}: a trial of the script, not figures.**\n")
    good = all(v.value is not None and v.bar.met(v.value) for v in verdicts)
    if not options.no_exactness:
        row, passed = identity()
        lines.append(row)
        good &= passed
    for report in everything.reports.values():
        shown = loss_table(report) if report["workload"] == LOSS else table(report)
        lines += ["", f"**{headline(report)}**", "", shown]
    text = "\n".join(lines) + "\n"
    (options.out / "bars.md").write_text(text)
    print(text)
    return 0 if good else 1


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except BenchFailed as error:
        raise SystemExit(f"run_all: {error}") from None
