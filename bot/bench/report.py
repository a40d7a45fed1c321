"""The command behind `parley bench`: checks the request, runs it, shows and writes the report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.bench import plots
from bot.bench.errors import BenchFailed
from bot.bench.eyes import model_that_sees
from bot.bench.loss import LOSS, loss_table, measure_loss
from bot.bench.runner import Plan, Session
from bot.bench.systems import PEERS
from bot.bench.systems.base import Setup
from bot.bench.workloads import WORKLOADS

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The command's options as they were typed."""

    workload: str
    conversations: str = ""
    peers: str = ""
    runs: int = 3
    seed: int = 0
    scale: float = 1.0
    json_file: Path | None = None
    plot_file: Path | None = None


def bench(wanted: Wanted, setup: Callable[[], Setup], say: Say, show: Say) -> dict[str, Any]:
    """Measure, then show a table and write the files that are wanted.

    Args:
        setup: called when the options are known to be good; it may prepare a model for minutes.
        say: takes a line about the progress; `show` the result.

    Raises:
        BenchFailed: a name or number is wrong, or a system could not be measured.
    """
    if wanted.workload != LOSS:
        checked = plan(wanted)
    plots.check(wanted.plot_file)
    for file in (wanted.json_file, wanted.plot_file):
        if file is not None and not file.absolute().parent.is_dir():
            raise BenchFailed(f"{file}: the folder {file.parent} doesn't exist")
    ready = setup()
    Path(ready.scratch).mkdir(parents=True, exist_ok=True)
    if wanted.workload == LOSS:
        report = measure_loss(ready, say)
        text = loss_table(report)
    else:
        with Session(model_that_sees(ready, wanted.workload, say), say) as session:
            report = session.measure(checked)
        text = table(report)
    if wanted.json_file is not None:
        wanted.json_file.write_text(json.dumps(report, indent=1) + "\n")
    if wanted.plot_file is not None and wanted.workload != LOSS:
        plots.draw(report, wanted.plot_file)
    show(headline(report))
    show("")
    show(text)
    return report


def plan(wanted: Wanted) -> Plan:
    """The plan that the options ask for. Raises BenchFailed naming the option."""
    _one_of("--workload", wanted.workload, (*WORKLOADS, LOSS))
    if wanted.scale <= 0:
        raise BenchFailed(f"--scale {wanted.scale}: use a number above 0 (1 is full size)")
    return Plan(
        workload=wanted.workload,
        conversations=_numbers(wanted.conversations or WORKLOADS[wanted.workload].conversations),
        peers=tuple(
            dict.fromkeys(
                _one_of("--peers", peer, PEERS) for peer in wanted.peers.split(",") if peer.strip()
            )
        ),
        runs=wanted.runs,
        seed=wanted.seed,
        scale=wanted.scale,
    )


def _one_of(option: str, value: str, known: Sequence[str]) -> str:
    if value.strip() not in known:
        raise BenchFailed(f"{option} {value.strip()!r} is unknown: use one of {', '.join(known)}")
    return value.strip()


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = (0,)
    if min(numbers) < 1:
        raise BenchFailed(f"--conversations {text!r}: use whole numbers from 1 up, such as 1,4,16")
    return numbers


def headline(report: dict[str, Any]) -> str:
    """What was measured, on what, when."""
    about = f"{report['workload']}, {report['model']}, {report['machine']}, {report['date']}"
    runs = report.get("runs")
    scaled = (
        "" if report.get("scale", 1.0) == 1.0 else f"; scaled to {report['scale']}: not a figure"
    )
    return f"{about}; medians of {runs} interleaved runs{scaled}" if runs else about


def table(report: dict[str, Any]) -> str:
    """The report as Markdown tables."""
    lines = [
        "| conversations | system | tokens/s | Parley over it | TTFT p50 / p95 / p99 s "
        "| ITL p50 / p95 / p99 ms | decoding at once | cached | peak MiB |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    over = {(r["peer"], r["conversations"]): r["tokens_per_s"] for r in report["ratios"]}
    for row in report["results"]:
        ratio = over.get((row["system"], row["conversations"]))
        memory = row["peak_device_mib"] or row["peak_mib"]
        lines.append(
            f"| {row['conversations']} | {row['system']} | {row['tokens_per_s']:.1f} "
            f"| {f'{ratio:.2f}' if ratio else '-'} "
            f"| {_three(row['ttft_s'], 1, 2)} | {_three(row['itl_s'], 1000, 0)} "
            f"| {row['occupancy']['mean']:.1f} | {row['cached_share']:.0%} | {memory:.0f} |"
        )
    for part in (_turns(report), _groups(report), _during(report)):
        if len(part) > 2:
            lines += ["", *part]
    lines += [f"\nWithout {entry['system']}: {entry['reason']}." for entry in report["skipped"]]
    return "\n".join(lines)


def _turns(report: dict[str, Any]) -> list[str]:
    lines = [
        "| system | turn | prompt tokens | TTFT p50 s | against turn 1 |",
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


def _groups(report: dict[str, Any]) -> list[str]:
    lines = ["| system | who | TTFT p50 / p95 / p99 s |", "|---|---|---:|"]
    for row in report["results"]:
        for group, figures in row.get("groups", {}).items():
            lines.append(f"| {row['system']} | {group} | {_three(figures['ttft_s'], 1, 2)} |")
    return lines


def _during(report: dict[str, Any]) -> list[str]:
    lines = [
        "| system | ITL p50 / p95 / p99 ms, quiet | during the long prefill | p99 over quiet |",
        "|---|---:|---:|---:|",
    ]
    for row in report["results"]:
        quiet, loaded = row.get("itl_quiet_s"), row.get("itl_during_prefill_s")
        if quiet and loaded:
            lines.append(
                f"| {row['system']} | {_three(quiet, 1000, 0)} | {_three(loaded, 1000, 0)} "
                f"| {loaded['p99'] / quiet['p99']:.2f} |"
            )
    return lines


def _three(spread: dict[str, float], factor: float, digits: int) -> str:
    return " / ".join(f"{value * factor:.{digits}f}" for value in spread.values()) or "-"
