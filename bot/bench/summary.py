"""Summarizes runs: medians over the runs, and Parley's ratios to its peers."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bot.bench.measure import Reply, RunResult, percentiles, split_by_prefill
from bot.bench.systems import PARLEY

Spread = dict[str, float]


def summary_row(system: str, conversations: int, runs: Sequence[RunResult]) -> dict[str, Any]:
    """One entry of `results`: each figure is the median over the runs (memory: the maximum)."""

    def median(pick: Callable[[RunResult], float]) -> float:
        return statistics.median(map(pick, runs))

    return {
        "system": system,
        "conversations": conversations,
        "tokens_per_s": median(lambda run: run.tokens_per_s),
        "ttft_s": median_percentiles(runs, lambda run: (reply.ttft_s for reply in run.replies)),
        "itl_s": median_percentiles(runs, lambda run: _gaps(run.replies)),
        "cached_share": median(lambda run: run.cached_share),
        "occupancy": {
            "mean": median(lambda run: run.occupancy["mean"]),
            "max": median(lambda run: run.occupancy["max"]),
        },
        "peak_mib": max(run.peak_mib for run in runs),
        "peak_device_mib": max(run.peak_device_mib for run in runs),
        **_breakdowns(runs),
        "runs": [_run_entry(run) for run in runs],
    }


def _run_entry(run: RunResult) -> dict[str, Any]:
    return {
        "tokens": run.tokens,
        "seconds": run.seconds,
        "tokens_per_s": run.tokens_per_s,
        "prompt_tokens": sum(reply.prompt_tokens for reply in run.replies),
        "cached_share": run.cached_share,
        "ttft_s": percentiles(reply.ttft_s for reply in run.replies),
        "itl_s": percentiles(_gaps(run.replies)),
        "occupancy": run.occupancy,
        "peak_mib": run.peak_mib,
    }


def _breakdowns(runs: Sequence[RunResult]) -> dict[str, Any]:
    """Figures by turn, by group, and before and during a long prefill, if the workload has them."""
    parts: dict[str, Any] = {}
    turns = sorted({reply.turn for reply in runs[0].replies})
    if len(turns) > 1:
        parts["turns"] = [
            {
                "turn": turn,
                "prompt_tokens": statistics.median(
                    reply.prompt_tokens
                    for run in runs
                    for reply in run.replies
                    if reply.turn == turn
                ),
                "ttft_s": _ttft_where(runs, lambda reply, turn=turn: reply.turn == turn),  # type: ignore[misc]
            }
            for turn in turns
        ]
    groups = sorted({reply.group for reply in runs[0].replies} - {""})
    if groups:
        parts["groups"] = {
            group: {
                "ttft_s": _ttft_where(runs, lambda reply, group=group: reply.group == group),  # type: ignore[misc]
            }
            for group in groups
        }
    splits = [split for run in runs if (split := split_by_prefill(run.replies)) is not None]
    if splits:
        quiet, loaded = zip(*splits, strict=True)
        parts["itl_quiet_s"] = _median_of(map(percentiles, quiet))
        parts["itl_during_prefill_s"] = _median_of(map(percentiles, loaded))
    return parts


def _ttft_where(runs: Sequence[RunResult], matches: Callable[[Reply], bool]) -> Spread:
    return median_percentiles(
        runs, lambda run: (reply.ttft_s for reply in run.replies if matches(reply))
    )


def median_percentiles(
    runs: Sequence[RunResult], pick: Callable[[RunResult], Iterable[float]]
) -> Spread:
    """Each percentile's median over the runs."""
    return _median_of(percentiles(pick(run)) for run in runs)


def _median_of(spreads: Iterable[Spread]) -> Spread:
    nonempty = [one for one in spreads if one]
    return {
        key: statistics.median(one[key] for one in nonempty)
        for key in (nonempty[0] if nonempty else ())
    }


def _gaps(replies: Iterable[Reply]) -> list[float]:
    return [gap for reply in replies for gap in reply.itl_s]


def peer_ratios(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parley's figures divided by each peer's, for each number of conversations.

    Better is above 1 for `tokens_per_s` and below 1 for times.
    """
    own = {entry["conversations"]: entry for entry in results if entry["system"] == PARLEY}
    return [
        {
            "peer": entry["system"],
            "conversations": entry["conversations"],
            "tokens_per_s": own[entry["conversations"]]["tokens_per_s"] / entry["tokens_per_s"],
            "ttft_p50": _figure_ratio(own[entry["conversations"]], entry, "ttft_s", "p50"),
            "ttft_p95": _figure_ratio(own[entry["conversations"]], entry, "ttft_s", "p95"),
            "itl_p95": _figure_ratio(own[entry["conversations"]], entry, "itl_s", "p95"),
        }
        for entry in results
        if entry["system"] != PARLEY
    ]


def _figure_ratio(own: dict[str, Any], peer: dict[str, Any], name: str, key: str) -> float | None:
    if not own[name] or not peer[name] or peer[name][key] <= 0:
        return None
    ratio: float = own[name][key] / peer[name][key]
    return ratio
