"""The performance bars Parley must meet, and how each is read from a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bot.bench.loss import LOSS
from bot.bench.systems import PARLEY

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of the bars table; `read_figure` takes the workload's report."""

    title: str
    workload: str
    conversations: int
    peer: str  # "": Parley is compared with itself
    read_figure: Callable[[Report], float]
    limit: float
    at_least: bool  # else: at most
    unit: str = "x"

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    @property
    def limit_text(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}{self.unit}"


def _result_row(report: Report, conversations: int, system: str = PARLEY) -> dict[str, Any]:
    return next(
        row
        for row in report["results"]
        if row["system"] == system and row["conversations"] == conversations
    )


def _peer_ratio(peer: str, conversations: int, name: str) -> Callable[[Report], float]:
    """Reads one of the report's `ratios`."""

    def read(report: Report) -> float:
        (value,) = (
            ratio[name]
            for ratio in report["ratios"]
            if ratio["peer"] == peer and ratio["conversations"] == conversations
        )
        return float(value)

    return read


def _ttft_over_first_turn(turn: int, conversations: int = 1) -> Callable[[Report], float]:
    """Reads the median TTFT of a turn over that of the first turn."""

    def read(report: Report) -> float:
        turns = _result_row(report, conversations)["turns"]
        return float(turns[turn - 1]["ttft_s"]["p50"] / turns[0]["ttft_s"]["p50"])

    return read


def _prefill_slowdown(report: Report) -> float:
    row = _result_row(report, 8)
    return float(row["itl_during_prefill_s"]["p99"] / row["itl_quiet_s"]["p99"])


def _flood_slowdown(report: Report) -> float:
    groups = _result_row(report, 4)["groups"]
    return float(groups["others"]["ttft_s"]["p95"] / groups["others, no flood"]["ttft_s"]["p95"])


def _loss_difference(report: Report) -> float:
    return float(report["difference_nats"])


def _steady_bar(conversations: int, peer: str, limit: float) -> Bar:
    peer_names = {
        "llama-cpp": "llama.cpp server (Q4_K_M)",
        "generate-static": "static-batch `generate()`",
    }
    return Bar(
        f"`steady` {conversations} vs. {peer_names[peer]}: tokens/s",
        "steady",
        conversations,
        peer,
        _peer_ratio(peer, conversations, "tokens_per_s"),
        limit,
        at_least=True,
    )


_CB = "transformers-cb"
_CHAT = "`chat` vs. transformers' continuous batching"
BARS: tuple[Bar, ...] = (
    _steady_bar(16, "llama-cpp", 1.8),
    _steady_bar(1, "llama-cpp", 1.0),
    _steady_bar(16, "generate-static", 2.0),
    Bar(f"{_CHAT}: tokens/s", "chat", 16, _CB, _peer_ratio(_CB, 16, "tokens_per_s"), 4, True),
    Bar(f"{_CHAT}: p95 TTFT", "chat", 16, _CB, _peer_ratio(_CB, 16, "ttft_p95"), 0.25, False),
    Bar("`turns`: TTFT of turn 8 (2,000 tokens of history) vs. turn 1",
        "turns", 1, "", _ttft_over_first_turn(8), 1.3, False),
    Bar("`images`: TTFT of a follow-up vs. the first question",
        "images", 1, "", _ttft_over_first_turn(2), 0.2, False),
    Bar("`mixed`: p99 ITL during a 4,000-token prefill vs. before it",
        "mixed", 8, "", _prefill_slowdown, 3, False),
    Bar("`unfair`: p95 TTFT of the others with vs. without the flood",
        "unfair", 4, "", _flood_slowdown, 2, False),
    Bar("int8 vs. unquantized: loss on a fixed text",
        LOSS, 8, "", _loss_difference, 0.04, False, " nats"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and the measured value; None if it wasn't measured, and `note` says why."""

    bar: Bar
    value: float | None
    note: str = ""

    @property
    def outcome(self) -> str:
        if self.value is None:
            return f"not measured: {self.note}"
        if self.bar.is_met(self.value):
            return "met"
        missed = self.value / self.bar.limit - 1
        return f"missed by {abs(missed):.0%}"


def judge_bars(reports: dict[str, Report], missing: dict[str, str]) -> list[Verdict]:
    """Compare every bar with the reports, which are keyed by workload.

    Args:
        missing: why a workload or peer wasn't measured, by its name.
    """
    verdicts = []
    for bar in BARS:
        reason = missing.get(bar.workload) or missing.get(bar.peer)
        report = reports.get(bar.workload)
        if report is None or reason:
            verdicts.append(Verdict(bar, None, reason or "skipped"))
        else:
            verdicts.append(Verdict(bar, bar.read_figure(report)))
    return verdicts


def verdict_table(verdicts: Iterable[Verdict]) -> str:
    lines = ["| bar | target | measured | |", "|---|---:|---:|---|"]
    for verdict in verdicts:
        value = "-" if verdict.value is None else f"{verdict.value:.3g}{verdict.bar.unit}"
        lines.append(
            f"| {verdict.bar.title} | {verdict.bar.limit_text} | {value} | {verdict.outcome} |"
        )
    return "\n".join(lines)
