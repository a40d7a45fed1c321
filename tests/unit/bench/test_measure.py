"""The arithmetic of the benchmark, on numbers small enough to check by hand."""

from __future__ import annotations

import mmap

import pytest

from bot.bench.measure import PeakMemory, Reply, RunResult, percentiles, split_by_prefill
from bot.bench.summary import peer_ratios, summary_row


def reply(asked: float, *times: float, group: str = "", turn: int = 1, prompt: int = 10) -> Reply:
    return Reply("c", group, turn, asked, list(times), prompt_tokens=prompt)


def test_percentiles_are_nearest_rank() -> None:
    assert percentiles(range(1, 101)) == {"p50": 50, "p95": 95, "p99": 99}
    assert percentiles([3.0]) == {"p50": 3.0, "p95": 3.0, "p99": 3.0}
    assert percentiles([2, 1]) == {"p50": 1, "p95": 2, "p99": 2}
    assert percentiles([]) == {}


def test_times_of_a_reply() -> None:
    got = reply(1.0, 1.5, 1.75, 2.25)
    assert got.ttft_s == 0.5
    assert got.itl_s == [0.25, 0.5]


def test_throughput_is_all_tokens_over_the_time_of_all_phases() -> None:
    quiet = [reply(1.0, 2.0, 3.0)]
    busy = [reply(0.0, 1.0, 2.0), reply(1.0, 3.0, 5.0)]
    run = RunResult([quiet, busy])
    assert run.tokens == 6
    assert run.seconds == 2.0 + 5.0
    assert run.tokens_per_s == pytest.approx(6 / 7)


def test_occupancy_counts_who_decodes_at_once() -> None:
    run = RunResult([[reply(0, 1.0, 3.0), reply(0, 2.0, 4.0), reply(0, 10.0, 11.0)]])
    assert run.occupancy == {"mean": pytest.approx((1 + 2 + 1 + 1) / 4), "max": 2}


def test_occupancy_of_single_tokens_does_not_divide_by_zero() -> None:
    assert RunResult([[reply(0, 1.0)]]).occupancy == {"mean": 1, "max": 1}


def test_the_cached_share_is_weighted_by_length() -> None:
    short, long = reply(0, 1, prompt=10), reply(0, 1, prompt=90)
    long.cached_tokens = 50
    assert RunResult([[short, long]]).cached_share == 0.5


def test_gaps_are_split_at_the_long_prompt() -> None:
    replies = [
        reply(0, 1.0, 1.1, 1.2, 2.0, 5.0, 5.1, group="decoding"),
        reply(0, 1.05, 1.15, group="decoding"),
        reply(1.5, 4.9, 5.2, group="long"),
    ]
    quiet, loaded = split_by_prefill(replies) or ([], [])
    # From 1.05 everybody decodes; 1.0 to 1.1 began before. 5.0 to 5.1 began after it was read.
    assert quiet == pytest.approx([0.1, 0.1])
    assert loaded == pytest.approx([0.8, 3.0])
    assert split_by_prefill([reply(0, 1.0)]) is None


def test_a_row_has_medians_over_runs_and_parts() -> None:
    runs = [
        RunResult([[reply(0, speed, 2 * speed), reply(0, 3 * speed, 4 * speed, turn=2)]])
        for speed in (1.0, 10.0, 2.0)
    ]
    got = summary_row("parley", 2, runs)
    assert got["system"] == "parley"
    assert got["conversations"] == 2
    assert got["tokens_per_s"] == pytest.approx(4 / 8)
    assert got["ttft_s"] == {"p50": 2.0, "p95": 6.0, "p99": 6.0}
    assert [part["turn"] for part in got["turns"]] == [1, 2]
    assert [part["ttft_s"]["p50"] for part in got["turns"]] == [2.0, 6.0]
    assert [one["tokens_per_s"] for one in got["runs"]] == pytest.approx([1, 0.1, 0.5])
    assert "groups" not in got


def test_ratios_are_parley_over_the_peer() -> None:
    def entry(system: str, speed: float, first: float) -> dict[str, object]:
        spread = {"p50": first, "p95": first, "p99": first}
        return {
            "system": system,
            "conversations": 4,
            "tokens_per_s": speed,
            "ttft_s": spread,
            "itl_s": {},
        }

    (got,) = peer_ratios([entry("parley", 100.0, 0.1), entry("generate", 25.0, 0.4)])
    assert got["peer"] == "generate"
    assert got["tokens_per_s"] == 4
    assert got["ttft_p95"] == 0.25
    assert got["itl_p95"] is None


def test_peak_memory_sees_what_this_process_took() -> None:
    memory = PeakMemory()
    memory.reset_peak()
    before = memory.peak_mib()
    # Fresh pages: the allocator may hold free ones that count as resident already.
    with mmap.mmap(-1, 64 * 2**20) as ballast:
        for page in range(0, len(ballast), mmap.PAGESIZE):
            ballast[page] = 1
        assert memory.peak_mib() >= before + 32


def test_peak_memory_of_a_process_that_is_gone_is_nothing() -> None:
    memory = PeakMemory(2**22 + 1)
    memory.reset_peak()
    assert memory.peak_mib() == 0
