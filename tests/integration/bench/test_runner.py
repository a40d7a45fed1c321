"""Every workload on a tiny model: Parley beside transformers, each in its own process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.bench.driver import play_trace
from bot.bench.errors import BenchFailed
from bot.bench.report import BenchOptions, report_table, run_bench
from bot.bench.runner import Plan, Session
from bot.bench.systems.base import Item, ReplyEnd, ReplyRequest, Setup, Tokens
from bot.bench.trace import Conversation, Trace, Turn
from bot.engine.model.loading import LocalEngineConfig
from tests.support import models

SCALE = 0.02  # the tiny tokenizer spells letter by letter: messages of a few words are enough
PEERS = ("generate", "transformers-cb")


def setup(folder: Path, **changes: Any) -> Setup:
    engine = LocalEngineConfig(
        model=str(folder), dtype="float32", device="cpu", kv_memory_mib=16, max_context=2048
    )
    values = {"threads": 1, "scratch": str(folder), "model": "tiny", "dtype": "float32"}
    return Setup(engine=engine, folder=str(folder), **{**values, **changes})


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = models.save_tiny(tmp_path_factory.mktemp("tiny"), sees=False)
    with Session(setup(folder), lambda _: None) as session:
        yield session


SPREAD = {"p50", "p95", "p99"}


@pytest.mark.slow
@pytest.mark.parametrize("workload", ["steady", "chat", "turns", "mixed", "unfair"])
def test_a_workload_on_parley_and_transformers(session: Session, workload: str) -> None:
    report = session.measure_workload(Plan(workload, (2,), PEERS, runs=1, scale=SCALE))
    assert report["workload"] == workload
    assert report["model"] == "tiny"
    assert "cores" in report["machine"]
    assert [row["system"] for row in report["results"]] == ["parley", *PEERS]
    for row in report["results"]:
        assert row["conversations"] == 2
        assert row["tokens_per_s"] > 0
        assert set(row["ttft_s"]) == set(row["itl_s"]) == SPREAD
        assert 0 <= row["cached_share"] <= 1
        assert len(row["runs"]) == 1
        assert row["peak_mib"] > 50
        assert row["occupancy"]["max"] >= 1
    tokens = {row["runs"][0]["tokens"] for row in report["results"]}
    prompts = {row["runs"][0]["prompt_tokens"] for row in report["results"]}
    assert len(tokens) == len(prompts) == 1  # the same trace, whoever answers
    assert [ratio["peer"] for ratio in report["ratios"]] == list(PEERS)
    json.dumps(report)
    assert "| 2 | parley |" in report_table(report)
    by_name = {row["system"]: row for row in report["results"]}
    if workload == "turns":
        assert [turn["turn"] for turn in by_name["parley"]["turns"]] == list(range(1, 9))
        assert by_name["parley"]["cached_share"] > 0.5
        assert by_name["transformers-cb"]["cached_share"] == 0
    if workload == "mixed":
        assert set(by_name["parley"]["itl_during_prefill_s"]) == SPREAD
        assert set(by_name["parley"]["itl_quiet_s"]) == SPREAD
    if workload == "unfair":
        assert set(by_name["parley"]["groups"]) == {"flood", "others", "others, no flood"}


@pytest.mark.slow
def test_the_command_with_pictures_writes_json_and_png(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("matplotlib")
    folder = models.save_tiny(tmp_path_factory.mktemp("seeing"), sees=True)
    shown: list[str] = []
    options = BenchOptions(
        "images",
        "1,2",
        "generate-static,llama-cpp",
        runs=1,
        scale=SCALE,
        json_file=tmp_path / "out.json",
        plot_file=tmp_path / "out.png",
    )
    run_bench(options, lambda: setup(folder), lambda _: None, shown.append)
    report = json.loads((tmp_path / "out.json").read_text())
    rows = [(row["system"], row["conversations"]) for row in report["results"]]
    assert rows == [(s, n) for n in (1, 2) for s in ("parley", "generate-static")]
    first, *follow_ups = report["results"][0]["turns"]
    assert len(follow_ups) == 2
    assert follow_ups[0]["prompt_tokens"] > first["prompt_tokens"]
    assert [entry["system"] for entry in report["skipped"]] == ["llama-cpp"]
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert "images" in shown[0]
    assert "not a benchmark" in shown[0]
    assert "Skipped llama-cpp" in shown[-1]


@pytest.mark.slow
def test_a_system_that_cannot_load_is_one_line(tmp_path: Path) -> None:
    broken = setup(tmp_path)
    with (
        Session(broken, lambda _: None) as session,
        pytest.raises(BenchFailed, match=r"^parley: PARLEY_MODEL=.*config\.json"),
    ):
        session.measure_workload(Plan("steady", (1,), ()))


class Fake:
    """Answers at once, `extra` tokens too many; notes what it was asked."""

    def __init__(self, extra: int = 0, delay_s: float = 0.0) -> None:
        self.extra = extra
        self.delay_s = delay_s
        self.asked: list[ReplyRequest] = []

    async def stream(self, ask: ReplyRequest) -> AsyncIterator[Item]:
        self.asked.append(ask)
        await asyncio.sleep(self.delay_s)
        for place in range(ask.new_tokens + self.extra):
            yield Tokens((100 + place,), 1)
            await asyncio.sleep(0)
        yield ReplyEnd(7, 3)


def trace(*conversations: Conversation) -> Trace:
    return Trace(conversations)


async def test_the_driver_asks_turn_after_turn_with_the_systems_own_replies() -> None:
    fake = Fake()
    turns = (Turn("first", 2), Turn("second", 3))
    replies = await play_trace(fake, trace(Conversation("c", "u", "Be brief.", turns)))  # type: ignore[arg-type]
    assert [(r.turn, len(r.token_times), r.prompt_tokens, r.cached_tokens) for r in replies] == [
        (1, 2, 7, 3),
        (2, 3, 7, 3),
    ]
    first, second = fake.asked
    assert [m.role for m in first.messages] == ["system", "user"]
    assert [m.role for m in second.messages] == ["system", "user", "assistant", "user"]
    assert second.messages[2].parts[0].token_ids == (100, 101)  # type: ignore[union-attr]
    assert all(reply.ttft_s >= 0 and min(reply.itl_s) >= 0 for reply in replies)


async def test_a_conversation_can_wait_for_tokens_of_the_others() -> None:
    fake = Fake()
    early = Conversation("early", "u", "p", (Turn("a", 5),))
    late = Conversation("late", "u", "p", (Turn("b", 1),), after_tokens=4)
    replies = {r.conversation: r for r in await play_trace(fake, trace(late, early))}  # type: ignore[arg-type]
    assert replies["late"].sent_s >= replies["early"].token_times[3]


async def test_a_reply_of_the_wrong_length_is_no_measurement() -> None:
    one = trace(Conversation("c", "u", "p", (Turn("a", 2),)))
    with pytest.raises(BenchFailed, match="3 tokens, but 2 were requested"):
        await play_trace(Fake(extra=1), one)  # type: ignore[arg-type]


async def test_a_run_that_does_not_end_is_ended() -> None:
    one = trace(Conversation("c", "u", "p", (Turn("a", 2),)))
    with pytest.raises(BenchFailed, match="took more than"):
        await play_trace(Fake(delay_s=60), one, limit_s=0.05)  # type: ignore[arg-type]
