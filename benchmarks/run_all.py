"""Measure every bar of docs/benchmarks.md; run it on an idle machine.

    python -m benchmarks.run_all --llama-server PATH --out build/bench

Writes one JSON and one PNG file per workload, and `bars.md` with tables for the documentation. Each
system is loaded once for all workloads. If a peer isn't available (no llama.cpp server), only its
bars aren't measured. Exits with 1 if any bar is missed or not measured.
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
from bot.bench.loss import LOSS, loss_table, measure_loss
from bot.bench.report import headline, report_table
from bot.bench.runner import Plan, Session
from bot.bench.systems.base import Setup
from bot.bench.systems.llama_files import find_server
from bot.bench.vision_tower import with_vision_tower

EXACTNESS = "tests/integration/engine/test_exactness.py"
#: (workload, numbers of conversations, the peers that its bars need)
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
    parser.add_argument("--scale", type=float, default=1.0, help="below 1: only a quick check")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--llama-server", default="")
    parser.add_argument("--only", default="", help="workloads, comma-separated; default: all")
    parser.add_argument("--no-exactness", action="store_true", help="skip the exactness tests")
    return parser.parse_args()


class AllWorkloads:
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

    def is_selected(self, workload: str) -> bool:
        return not self.only or workload in self.only

    def run_all(self) -> None:
        try:
            find_server(self.options.llama_server)
        except BenchFailed as error:
            self.missing["llama-cpp"] = str(error)
            say(f"skipping llama-cpp: {error}")
        with Session(self.setup, say) as session:
            for workload, conversations, peers in JOBS:
                self._measure_workload(session, workload, conversations, peers)
        if self.is_selected("images"):
            with Session(with_vision_tower(self.setup, "images", say), say) as session:
                self._measure_workload(session, "images", (1,), ())
        if self.is_selected(LOSS):
            try:
                self._keep_report(measure_loss(self.setup, say))
            except (BenchFailed, TypeError) as error:
                self.missing[LOSS] = str(error)

    def _measure_workload(
        self, session: Session, workload: str, numbers: tuple[int, ...], peers: tuple[str, ...]
    ) -> None:
        if not self.is_selected(workload):
            return
        available = tuple(peer for peer in peers if peer not in self.missing)
        plan = Plan(workload, numbers, available, self.options.runs, scale=self.options.scale)
        started = time.monotonic()
        try:
            self._keep_report(session.measure_workload(plan))
        except BenchFailed as error:
            self.missing[workload] = str(error)
            say(f"{workload} couldn't be measured: {error}")
        say(f"{workload} took {time.monotonic() - started:.0f} s")

    def _keep_report(self, report: dict[str, Any]) -> None:
        name = report["workload"]
        self.reports[name] = report
        (self.options.out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
        if name != LOSS:
            plots.draw_report(report, self.options.out / f"{name}.png")


def exactness_row() -> tuple[str, bool]:
    """The row about exactness: the tests that compare greedy float32 replies with `generate()`."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", EXACTNESS],
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1].strip("= ") if done.stdout.strip() else "no output"
    word = "met" if done.returncode == 0 else "missed"
    row = f"| greedy float32 replies equal `generate()`'s ({EXACTNESS}) | 100 % | {last} | {word} |"
    return row, done.returncode == 0


def main() -> int:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    plots.check_plot_file(options.out / "x.png")
    workloads = AllWorkloads(options)
    workloads.run_all()
    verdicts = bars.judge_bars(workloads.reports, workloads.missing)
    lines = [bars.verdict_table(verdicts)]
    if options.scale != 1:
        lines.insert(0, f"**Scale {options.scale}: a check of the script, not a benchmark.**\n")
    good = all(v.value is not None and v.bar.is_met(v.value) for v in verdicts)
    if not options.no_exactness:
        row, passed = exactness_row()
        lines.append(row)
        good &= passed
    for report in workloads.reports.values():
        text_table = loss_table(report) if report["workload"] == LOSS else report_table(report)
        lines += ["", f"**{headline(report)}**", "", text_table]
    text = "\n".join(lines) + "\n"
    (options.out / "bars.md").write_text(text)
    print(text)
    return 0 if good else 1


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except BenchFailed as error:
        raise SystemExit(f"run_all: {error}") from None
