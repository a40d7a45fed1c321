"""Plots a report: throughput, time to first token, inter-token latency."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from bot.bench.errors import BenchFailed

# Colorblind-safe (Okabe and Ito) and dark enough on white; Parley's stands out.
_COLORS = {
    "parley": "#0072B2",
    "llama-cpp": "#D55E00",
    "transformers-cb": "#009E73",
    "generate-static": "#CC79A7",
    "generate": "#7F7F7F",
}
_INK, _GRID = "#333333", "#E3E3E3"


def check_plot_file(file: Path | None) -> None:
    """Check before measuring that a plot can be written.

    Raises:
        BenchFailed: names the option and the fix.
    """
    if file is None:
        return
    if file.suffix.lower() != ".png":
        raise BenchFailed(f"--plot {file}: the file name must end in .png")
    if importlib.util.find_spec("matplotlib") is None:
        raise BenchFailed('--plot needs matplotlib: pip install "parley-bot[bench]"')


def draw_report(report: dict[str, Any], file: Path) -> None:
    """Write a PNG with three panels: tokens/s, TTFT p50 to p95, ITL p50 to p95."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _draw_throughput(left, report)
    _draw_spread(middle, report, "ttft_s", 1.0, "time to first token, s (p50 to p95)")
    _draw_spread(right, report, "itl_s", 1000.0, "inter-token latency, ms (p50 to p95)")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9
    )
    figure.suptitle(
        f"{report['workload']}: {report['model']} on {report['machine']}, {report['date']}",
        fontsize=10,
        color=_INK,
    )
    figure.savefig(file, dpi=150)


def _index_rows(report: dict[str, Any]) -> tuple[list[str], list[int], dict[tuple[str, int], Any]]:
    """Systems and numbers of conversations in the report's order, and its rows by both."""
    rows = {(row["system"], row["conversations"]): row for row in report["results"]}
    systems = list(dict.fromkeys(system for system, _ in rows))
    return systems, list(dict.fromkeys(number for _, number in rows)), rows


def _draw_throughput(axes: Any, report: dict[str, Any]) -> None:
    systems, numbers, rows = _index_rows(report)
    width = 0.8 / len(systems)
    for place, system in enumerate(systems):
        at = [n + (place - (len(systems) - 1) / 2) * width for n in range(len(numbers))]
        heights = [rows[system, number]["tokens_per_s"] for number in numbers]
        bars = axes.bar(at, heights, width * 0.92, color=_COLORS[system], label=system)
        axes.bar_label(bars, fmt="%.0f", fontsize=7, color=_INK, padding=1)
    _style_axes(axes, numbers, "tokens/s, all conversations")


def _draw_spread(axes: Any, report: dict[str, Any], name: str, factor: float, title: str) -> None:
    """Draw a line from the median (dot) to the 95th percentile (tick), on a log scale."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    systems, numbers, rows = _index_rows(report)
    width = 0.8 / len(systems)
    for place, system in enumerate(systems):
        for n, number in enumerate(numbers):
            figures = rows[system, number][name]
            if not figures:
                continue
            at = n + (place - (len(systems) - 1) / 2) * width
            low, high = figures["p50"] * factor, figures["p95"] * factor
            axes.plot([at, at], [low, high], color=_COLORS[system], linewidth=2)
            axes.plot([at], [low], "o", color=_COLORS[system], markersize=5)
            axes.plot([at], [high], "_", color=_COLORS[system], markersize=9, markeredgewidth=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    _style_axes(axes, numbers, title)


def _style_axes(axes: Any, numbers: list[int], title: str) -> None:
    axes.set_title(title, fontsize=9, color=_INK, loc="left")
    axes.set_xticks(range(len(numbers)), [str(number) for number in numbers])
    axes.set_xlabel("conversations", fontsize=8, color=_INK)
    axes.tick_params(labelsize=8, colors=_INK, length=0)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
