"""The command's options, the tables, the bars and the plot, on made-up figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.bench import bars, plots
from bot.bench.errors import BenchFailed
from bot.bench.report import BenchOptions, headline, make_plan, report_table, run_bench


def never() -> Any:
    raise AssertionError("a model was prepared for options that are wrong")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            BenchOptions("marathon"),
            "--workload 'marathon' is unknown: use one of steady, chat, turns",
        ),
        (BenchOptions("steady", "1,x"), "--conversations '1,x'"),
        (BenchOptions("steady", "0"), "--conversations '0'"),
        (BenchOptions("steady", peers="vllm"), "--peers 'vllm' is unknown: use one of generate"),
        (BenchOptions("steady", scale=0), "--scale 0"),
        (BenchOptions("steady", json_file=Path("/no/such/folder/x.json")), "doesn't exist"),
        (BenchOptions("steady", plot_file=Path("x.svg")), "must end in .png"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_loaded(
    options: BenchOptions, message: str
) -> None:
    with pytest.raises(BenchFailed) as caught:
        run_bench(options, never, print, print)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BenchFailed, match=r"parley-bot\[bench\]"):
        plots.check_plot_file(Path("x.png"))


def test_options_become_a_plan() -> None:
    got = make_plan(BenchOptions("steady", "1,16", "generate, llama-cpp,generate", runs=5, seed=3))
    assert got.conversations == (1, 16)
    assert got.peers == ("generate", "llama-cpp")
    assert make_plan(BenchOptions("mixed")).conversations == (8,)


def spread(value: float) -> dict[str, float]:
    return {"p50": value, "p95": 2 * value, "p99": 3 * value}


def entry(system: str, conversations: int, speed: float, **parts: Any) -> dict[str, Any]:
    return {
        "system": system,
        "conversations": conversations,
        "tokens_per_s": speed,
        "ttft_s": spread(0.1),
        "itl_s": spread(0.01),
        "cached_share": 0.25,
        "occupancy": {"mean": 3.0, "max": 4.0},
        "peak_mib": 700.0,
        "peak_device_mib": 0.0,
        "runs": [],
        **parts,
    }


def report(workload: str, *rows: dict[str, Any], ratios: Any = (), **more: Any) -> dict[str, Any]:
    return {
        "workload": workload,
        "machine": "2 cores",
        "model": "tiny",
        "date": "2026-11-24",
        "runs": 3,
        "scale": 1.0,
        "results": list(rows),
        "ratios": list(ratios),
        "skipped": [],
        **more,
    }


STEADY = report(
    "steady",
    *(entry("parley", n, 100.0 * n) for n in (1, 16)),
    *(entry("llama-cpp", n, 80.0 * n) for n in (1, 16)),
    ratios=[
        {"peer": "llama-cpp", "conversations": 1, "tokens_per_s": 1.25, "ttft_p95": 1.0},
        {"peer": "llama-cpp", "conversations": 16, "tokens_per_s": 1.7, "ttft_p95": 1.0},
    ],
)


def test_the_table_has_a_row_for_each_system_and_its_parts() -> None:
    text = report_table(STEADY)
    assert (
        "| 16 | llama-cpp | 1280.0 | 1.70 | 0.10 / 0.20 / 0.30 | 10 / 20 / 30 | 3.0 | 25% | 700 |"
        in text
    )
    turns = [{"turn": n, "prompt_tokens": 100 * n, "ttft_s": spread(0.1 * n)} for n in (1, 2)]
    assert "| parley | 2 | 200 | 0.200 | 2.00 |" in report_table(
        report("turns", entry("parley", 1, 10.0, turns=turns))
    )
    quiet = entry("parley", 8, 10.0, itl_quiet_s=spread(0.01), itl_during_prefill_s=spread(0.02))
    assert "20 / 40 / 60 | 2.00 |" in report_table(report("mixed", quiet))


def test_a_scaled_run_says_that_it_is_no_benchmark() -> None:
    assert "not a benchmark" in headline({**STEADY, "scale": 0.1})
    assert "not a benchmark" not in headline(STEADY)


def test_bars_are_judged_by_their_reports() -> None:
    groups = {
        "others": {"ttft_s": spread(0.3)},
        "others, no flood": {"ttft_s": spread(0.2)},
        "flood": {"ttft_s": spread(9.0)},
    }
    reports = {
        "steady": STEADY,
        "unfair": report("unfair", entry("parley", 4, 10.0, groups=groups)),
        "loss": {**report("loss"), "difference_nats": 0.05},
    }
    verdicts = bars.judge_bars(reports, {"generate-static": "not installed", "chat": "too slow"})
    got = {v.bar.title: (v.value, v.outcome) for v in verdicts}
    assert got["`steady` 1 vs. llama.cpp server (Q4_K_M): tokens/s"] == (1.25, "met")
    assert got["`steady` 16 vs. llama.cpp server (Q4_K_M): tokens/s"] == (1.7, "missed by 6%")
    static = got["`steady` 16 vs. static-batch `generate()`: tokens/s"]
    assert static == (None, "not measured: not installed")
    assert got["`unfair`: p95 TTFT of the others with vs. without the flood"] == (
        pytest.approx(1.5),
        "met",
    )
    assert got["int8 vs. unquantized: loss on a fixed text"][1] == "missed by 25%"
    chats = [word for what, (_, word) in got.items() if what.startswith("`chat`")]
    assert chats == ["not measured: too slow"] * 2
    text = bars.verdict_table(verdicts)
    assert "| `steady` 1 vs. llama.cpp server (Q4_K_M): tokens/s | >= 1x | 1.25x | met |" in text
    assert "<= 0.04 nats" in text


def test_every_workload_of_a_bar_exists() -> None:
    from bot.bench.workloads import WORKLOADS

    assert {bar.workload for bar in bars.BARS} <= {*WORKLOADS, "loss"}


def test_the_plot_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plots.draw_report(STEADY, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
