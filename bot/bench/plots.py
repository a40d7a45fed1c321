"""The report as a picture: throughput, time to first token, gaps between tokens."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from bot.bench.errors import BenchFailed

# Dark enough on white, told apart by colour-blind people (Okabe and Ito); Parley stands out.
_COLOURS = {
    "parley": "#0072B2",
    "llama-cpp": "#D55E00",
    "transformers-cb": "#009E73",
    "generate-static": "#CC79A7",
    "generate": "#7F7F7F",
}
_INK, _GRID = "#333333", "#E3E3E3"


def check(file: Path | None) -> None:
    """Before anything is measured: can a plot be made at all?

    Raises:
        BenchFailed: naming the option and the fix.
    """
    if file is None:
        return
    if file.suffix.lower() != ".png":
        raise BenchFailed(f"--plot {file}: the file name must end in .png")
    if importlib.util.find_spec("matplotlib") is None:
        raise BenchFailed('--plot needs matplotlib: pip install "parley-bot[bench]"')


def draw(report: dict[str, Any], file: Path) -> None:
    """Write a PNG with three panels: tokens/s, TTFT p50 to p95, ITL p50 to p95."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _bars(left, report)
    _spread(middle, report, "ttft_s", 1.0, "time to first token, s (p50, p95)")
    _spread(right, report, "itl_s", 1000.0, "between two tokens, ms (p50, p95)")
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


def _rows(report: dict[str, Any]) -> tuple[list[str], list[int], dict[tuple[str, int], Any]]:
    """Systems and numbers of conversations in the report's order, and the rows by both."""
    rows = {(row["system"], row["conversations"]): row for row in report["results"]}
    systems = list(dict.fromkeys(system for system, _ in rows))
    return systems, list(dict.fromkeys(number for _, number in rows)), rows


def _bars(axes: Any, report: dict[str, Any]) -> None:
    systems, numbers, rows = _rows(report)
    width = 0.8 / len(systems)
    for place, system in enumerate(systems):
        at = [n + (place - (len(systems) - 1) / 2) * width for n in range(len(numbers))]
        heights = [rows[system, number]["tokens_per_s"] for number in numbers]
        bars = axes.bar(at, heights, width * 0.92, color=_COLOURS[system], label=system)
        axes.bar_label(bars, fmt="%.0f", fontsize=7, color=_INK, padding=1)
    _finish(axes, numbers, "tokens/s, all conversations together")


def _spread(axes: Any, report: dict[str, Any], name: str, factor: float, title: str) -> None:
    """A line from the median (dot) to the 95th percentile (tick), on a logarithmic scale."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    systems, numbers, rows = _rows(report)
    width = 0.8 / len(systems)
    for place, system in enumerate(systems):
        for n, number in enumerate(numbers):
            figures = rows[system, number][name]
            if not figures:
                continue
            at = n + (place - (len(systems) - 1) / 2) * width
            low, high = figures["p50"] * factor, figures["p95"] * factor
            axes.plot([at, at], [low, high], color=_COLOURS[system], linewidth=2)
            axes.plot([at], [low], "o", color=_COLOURS[system], markersize=5)
            axes.plot([at], [high], "_", color=_COLOURS[system], markersize=9, markeredgewidth=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    _finish(axes, numbers, title)


def _finish(axes: Any, numbers: list[int], title: str) -> None:
    axes.set_title(title, fontsize=9, color=_INK, loc="left")
    axes.set_xticks(range(len(numbers)), [str(number) for number in numbers])
    axes.set_xlabel("conversations", fontsize=8, color=_INK)
    axes.tick_params(labelsize=8, colors=_INK, length=0)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
