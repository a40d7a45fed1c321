"""Implements `parley bench`: checks the options, measures, prints and writes the report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.bench import plots
from bot.bench.errors import BenchFailed
from bot.bench.loss import LOSS, loss_table, measure_loss
from bot.bench.runner import Plan, Session
from bot.bench.systems import PEERS
from bot.bench.systems.base import Setup
from bot.bench.vision_tower import with_vision_tower
from bot.bench.workloads import WORKLOADS

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The command's options as typed."""

    workload: str
    conversations: str = ""
    peers: str = ""
    runs: int = 3
    seed: int = 0
    scale: float = 1.0
    json_file: Path | None = None
    plot_file: Path | None = None


def run_bench(
    options: BenchOptions, setup: Callable[[], Setup], say: Say, show: Say
) -> dict[str, Any]:
    """Measure, print a table and write the requested files.

    Args:
        setup: called once the options are valid, since it may take minutes to prepare a model.
        say: prints a progress line.
        show: prints a line of the result.

    Raises:
        BenchFailed: an option is invalid, or a system couldn't be measured.
    """
    if options.workload != LOSS:
        checked = make_plan(options)
    plots.check_plot_file(options.plot_file)
    for file in (options.json_file, options.plot_file):
        if file is not None and not file.absolute().parent.is_dir():
            raise BenchFailed(f"{file}: the folder {file.parent} doesn't exist")
    ready = setup()
    Path(ready.scratch).mkdir(parents=True, exist_ok=True)
    if options.workload == LOSS:
        report = measure_loss(ready, say)
        text = loss_table(report)
    else:
        with Session(with_vision_tower(ready, options.workload, say), say) as session:
            report = session.measure_workload(checked)
        text = report_table(report)
    if options.json_file is not None:
        options.json_file.write_text(json.dumps(report, indent=1) + "\n")
    if options.plot_file is not None and options.workload != LOSS:
        plots.draw_report(report, options.plot_file)
    show(headline(report))
    show("")
    show(text)
    return report


def make_plan(options: BenchOptions) -> Plan:
    """Turn the options into a plan. Raises BenchFailed, which names the invalid option."""
    _one_of("--workload", options.workload, (*WORKLOADS, LOSS))
    if options.scale <= 0:
        raise BenchFailed(f"--scale {options.scale}: use a number above 0 (1 is full size)")
    return Plan(
        workload=options.workload,
        conversations=_parse_numbers(
            options.conversations or WORKLOADS[options.workload].conversations
        ),
        peers=tuple(
            dict.fromkeys(
                _one_of("--peers", peer, PEERS) for peer in options.peers.split(",") if peer.strip()
            )
        ),
        runs=options.runs,
        seed=options.seed,
        scale=options.scale,
    )


def _one_of(option: str, value: str, allowed: Sequence[str]) -> str:
    if value.strip() not in allowed:
        raise BenchFailed(f"{option} {value.strip()!r} is unknown: use one of {', '.join(allowed)}")
    return value.strip()


def _parse_numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = (0,)
    if min(numbers) < 1:
        raise BenchFailed(f"--conversations {text!r}: use whole numbers from 1 up, such as 1,4,16")
    return numbers


def headline(report: dict[str, Any]) -> str:
    """One line: the workload, model, machine, date and number of runs."""
    about = f"{report['workload']}, {report['model']}, {report['machine']}, {report['date']}"
    runs = report.get("runs")
    scaled = (
        "" if report.get("scale", 1.0) == 1.0 else f"; scale {report['scale']}, not a benchmark"
    )
    return f"{about}; medians of {runs} interleaved runs{scaled}" if runs else about


def report_table(report: dict[str, Any]) -> str:
    """The report as Markdown tables."""
    lines = [
        "| conversations | system | tokens/s | Parley / peer | TTFT p50 / p95 / p99, s "
        "| ITL p50 / p95 / p99, ms | occupancy | cached | peak MiB |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    over = {(r["peer"], r["conversations"]): r["tokens_per_s"] for r in report["ratios"]}
    for row in report["results"]:
        ratio = over.get((row["system"], row["conversations"]))
        memory = row["peak_device_mib"] or row["peak_mib"]
        ttft, itl = _format_spread(row["ttft_s"], 1, 2), _format_spread(row["itl_s"], 1000, 0)
        lines.append(
            f"| {row['conversations']} | {row['system']} | {row['tokens_per_s']:.1f} "
            f"| {f'{ratio:.2f}' if ratio else '-'} | {ttft} | {itl} "
            f"| {row['occupancy']['mean']:.1f} | {row['cached_share']:.0%} | {memory:.0f} |"
        )
    for part in (_turn_table(report), _group_table(report), _prefill_table(report)):
        if len(part) > 2:
            lines += ["", *part]
    lines += [f"\nSkipped {entry['system']}: {entry['reason']}." for entry in report["skipped"]]
    return "\n".join(lines)


def _turn_table(report: dict[str, Any]) -> list[str]:
    lines = [
        "| system | turn | prompt tokens | TTFT p50, s | vs. turn 1 |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in report["results"]:
        for turn in row.get("turns", ()):
            first = row["turns"][0]["ttft_s"]["p50"]
            lines.append(
                f"| {row['system']} | {turn['turn']} | {turn['prompt_tokens']:.0f} "
                f"| {turn['ttft_s']['p50']:.3f} | {turn['ttft_s']['p50'] / first:.2f} |"
            )
    return lines


def _group_table(report: dict[str, Any]) -> list[str]:
    lines = ["| system | group | TTFT p50 / p95 / p99, s |", "|---|---|---:|"]
    for row in report["results"]:
        for group, figures in row.get("groups", {}).items():
            lines.append(
                f"| {row['system']} | {group} | {_format_spread(figures['ttft_s'], 1, 2)} |"
            )
    return lines


def _prefill_table(report: dict[str, Any]) -> list[str]:
    lines = [
        "| system | ITL p50 / p95 / p99, ms, before the long prompt | during its prefill "
        "| p99 ratio |",
        "|---|---:|---:|---:|",
    ]
    for row in report["results"]:
        quiet, loaded = row.get("itl_quiet_s"), row.get("itl_during_prefill_s")
        if quiet and loaded:
            lines.append(
                f"| {row['system']} "
                f"| {_format_spread(quiet, 1000, 0)} | {_format_spread(loaded, 1000, 0)} "
                f"| {loaded['p99'] / quiet['p99']:.2f} |"
            )
    return lines


def _format_spread(spread: dict[str, float], factor: float, digits: int) -> str:
    return " / ".join(f"{value * factor:.{digits}f}" for value in spread.values()) or "-"
