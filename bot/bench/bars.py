"""The bars that Parley sets itself, and how each is read off a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bot.bench.loss import LOSS
from bot.bench.systems import PARLEY

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of the table. `figure` reads it off the report of `workload`."""

    what: str
    workload: str
    conversations: int
    peer: str  # "": Parley against itself
    figure: Callable[[Report], float]
    limit: float
    at_least: bool  # else: at most
    unit: str = "x"

    def met(self, value: float) -> bool:
        """Is this figure good enough?"""
        return value >= self.limit if self.at_least else value <= self.limit

    @property
    def bar(self) -> str:
        """As it is written in the table."""
        return f"{'>=' if self.at_least else '<='} {self.limit:g}{self.unit}"


def _row(report: Report, conversations: int, system: str = PARLEY) -> dict[str, Any]:
    return next(
        row
        for row in report["results"]
        if row["system"] == system and row["conversations"] == conversations
    )


def _against(peer: str, conversations: int, figure: str) -> Callable[[Report], float]:
    """One of the report's `ratios`."""

    def read(report: Report) -> float:
        (found,) = (
            ratio[figure]
            for ratio in report["ratios"]
            if ratio["peer"] == peer and ratio["conversations"] == conversations
        )
        return float(found)

    return read


def _turn(turn: int, conversations: int = 1) -> Callable[[Report], float]:
    """TTFT of a turn (its median) against the first turn's."""

    def read(report: Report) -> float:
        turns = _row(report, conversations)["turns"]
        return float(turns[turn - 1]["ttft_s"]["p50"] / turns[0]["ttft_s"]["p50"])

    return read


def _prefill(report: Report) -> float:
    row = _row(report, 8)
    return float(row["itl_during_prefill_s"]["p99"] / row["itl_quiet_s"]["p99"])


def _flood(report: Report) -> float:
    groups = _row(report, 4)["groups"]
    return float(groups["others"]["ttft_s"]["p95"] / groups["others, no flood"]["ttft_s"]["p95"])


def _loss(report: Report) -> float:
    return float(report["difference_nats"])


def _steady(conversations: int, peer: str, limit: float) -> Bar:
    about = {"llama-cpp": "llama.cpp server Q4_K_M", "generate-static": "`generate()` static batch"}
    return Bar(
        f"`steady` {conversations} against {about[peer]}: tokens/s",
        "steady",
        conversations,
        peer,
        _against(peer, conversations, "tokens_per_s"),
        limit,
        at_least=True,
    )


_CB = "transformers-cb"
_CHAT = "`chat` against transformers continuous batching"
BARS: tuple[Bar, ...] = (
    _steady(16, "llama-cpp", 1.8),
    _steady(1, "llama-cpp", 1.0),
    _steady(16, "generate-static", 2.0),
    Bar(f"{_CHAT}: tokens/s", "chat", 16, _CB, _against(_CB, 16, "tokens_per_s"), 4, True),
    Bar(f"{_CHAT}: p95 TTFT", "chat", 16, _CB, _against(_CB, 16, "ttft_p95"), 0.25, False),
    Bar("TTFT of turn 8 (2,000 tokens of history) against turn 1",
        "turns", 1, "", _turn(8), 1.3, False),
    Bar("`images`: TTFT of a follow-up against the first question",
        "images", 1, "", _turn(2), 0.2, False),
    Bar("`mixed`: p99 ITL while 4,000 tokens are prefilled, against quiet",
        "mixed", 8, "", _prefill, 3, False),
    Bar("`unfair`: p95 TTFT of the others, against no flood",
        "unfair", 4, "", _flood, 2, False),
    Bar("int8 against unquantised: loss on a fixed text",
        LOSS, 8, "", _loss, 0.04, False, " nats"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and what was measured; None: it was not, and `note` says why."""

    bar: Bar
    value: float | None
    note: str = ""

    @property
    def word(self) -> str:
        """For the table's last column."""
        if self.value is None:
            return f"not measured: {self.note}"
        if self.bar.met(self.value):
            return "met"
        missed = self.value / self.bar.limit - 1
        return f"missed by {abs(missed):.0%}"


def judge(reports: dict[str, Report], missing: dict[str, str]) -> list[Verdict]:
    """Every bar, from the reports by workload.

    Args:
        missing: why a workload or a peer was not measured, by its name.
    """
    verdicts = []
    for bar in BARS:
        reason = missing.get(bar.workload) or missing.get(bar.peer)
        report = reports.get(bar.workload)
        if report is None or reason:
            verdicts.append(Verdict(bar, None, reason or "left out"))
        else:
            verdicts.append(Verdict(bar, bar.figure(report)))
    return verdicts


def verdict_table(verdicts: Iterable[Verdict]) -> str:
    """As Markdown."""
    lines = ["| what | bar | measured | |", "|---|---:|---:|---|"]
    for verdict in verdicts:
        value = "-" if verdict.value is None else f"{verdict.value:.3g}{verdict.bar.unit}"
        lines.append(f"| {verdict.bar.what} | {verdict.bar.bar} | {value} | {verdict.word} |")
    return "\n".join(lines)
