"""The command behind `parley bench`: checks the request, runs it, prints a table, writes JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bot.bench.runner import BenchFailed, Plan, run
from bot.bench.systems import SYSTEMS
from bot.bench.workloads import WORKLOADS


def bench(
    *,
    workload: str,
    conversations: str,
    peers: str,
    runs: int,
    json_file: Path | None,
    model: str,
    folder: str,
    say: Callable[[str], None],
) -> None:
    """Measure and report; `conversations` and `peers` are lists with commas.

    Raises:
        BenchFailed: a name or number is wrong, or a system could not be measured.
    """
    plan = Plan(
        workload=_one_of("--workload", workload, tuple(WORKLOADS)),
        conversations=_numbers(conversations),
        peers=tuple(
            _one_of("--peers", peer, tuple(name for name in SYSTEMS if name != "parley"))
            for peer in peers.split(",")
            if peer
        ),
        runs=runs,
        model=model,
        folder=folder,
    )
    report = run(plan, say)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{report['machine']}; {model}, {workload}, medians of {runs} interleaved runs\n")
    print(table(report))


def _one_of(option: str, value: str, known: Sequence[str]) -> str:
    if value.strip() not in known:
        raise BenchFailed(f"{option} {value.strip()!r} is unknown: use {', '.join(known)}")
    return value.strip()


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = (0,)
    if min(numbers) < 1:
        raise BenchFailed(f"--conversations {text!r}: give whole numbers from 1, like 1,4,16")
    return numbers


def table(report: dict[str, Any]) -> str:
    """The report as a Markdown table."""
    lines = [
        "| conversations | system | tokens/s | parley over it | TTFT p50 / p95 s "
        "| ITL p50 / p95 ms | peak MiB |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    over = {(r["peer"], r["conversations"]): r["tokens_per_s"] for r in report["ratios"]}
    for row in report["results"]:
        ratio = over.get((row["system"], row["conversations"]))
        lines.append(
            f"| {row['conversations']} | {row['system']} | {row['tokens_per_s']:.1f} "
            f"| {f'{ratio:.2f}' if ratio else '-'} "
            f"| {row['ttft_s']['p50']:.2f} / {row['ttft_s']['p95']:.2f} "
            f"| {row['itl_s']['p50'] * 1000:.0f} / {row['itl_s']['p95'] * 1000:.0f} "
            f"| {row['peak_mib']:.0f} |"
        )
    return "\n".join(lines)
