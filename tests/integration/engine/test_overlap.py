"""Decode steps begun before the last one is read: the same replies, whoever comes, goes or fails.

On a GPU the steps are CUDA graphs; here they are "recorded" by running them again, so everything
but the waiting is the real thing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
import torch

from bot.engine import overlap
from bot.engine.api import Delta, GenerationFailed, SamplingParams
from bot.engine.attention.base import BackendChoice, BackendQuery
from bot.engine.attention.registry import register_backend, unregister_backend
from bot.engine.batcher import LocalEngine
from bot.engine.cuda import varlen_attention
from bot.engine.overlap import PendingStep
from tests.integration.engine.test_batcher import config, items, said, settled, user
from tests.support import models
from tests.support.engine import backend_choice, emulated_varlen_attn, rerun

SAYINGS = ["hello", "the user " * 9, "a model in the", "us us us", "the", "mode " * 20]


@pytest.fixture
async def engine(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LocalEngine]:
    folder = models.save_tiny(tmp_path_factory.mktemp("tiny"), sees=False)
    monkeypatch.setattr(varlen_attention, "varlen_attn", emulated_varlen_attn)
    register_backend("emulated-varlen", propose_varlen, rank=0)
    engine = LocalEngine(config(folder, ignore_eos=True))
    try:
        await engine.start()
        yield engine
    finally:
        await engine.stop()
        unregister_backend("emulated-varlen")


def propose_varlen(query: BackendQuery) -> BackendChoice:
    """In float32 and without recordings at first."""
    return backend_choice(query.config, "varlen", 16)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[PendingStep, PendingStep | None]]:
    """All steps begun, with the one under way at that time."""
    begun: list[tuple[PendingStep, PendingStep | None]] = []
    launch_step = overlap.launch_step

    def noted(runner: Any, chunks: Any, samplers: Any, before: PendingStep | None = None) -> Any:
        flight = launch_step(runner, chunks, samplers, before)
        if flight is not None:
            begun.append((flight, before))
        return flight

    monkeypatch.setattr(overlap, "launch_step", noted)
    return begun


def record(engine: LocalEngine, max_batch: int = 8) -> None:
    engine._running.worker.runner.record_graphs(rerun, max_context=512, max_batch=max_batch)


def asks(seed: int) -> list[tuple[str, SamplingParams]]:
    """Greedy and sampled, of all lengths; some that only the host can draw for."""
    dice = Random(seed)
    found = []
    for number, saying in enumerate(SAYINGS):
        penalty = 1.3 if number == 5 else 1.0
        kind = {"temperature": 0.0} if number % 2 else {"temperature": 1.0, "seed": number}
        length = {1: 40, 5: 7}.get(number) or dice.choice([1, 2, 7, 30])
        found.append((saying, SamplingParams(**kind, max_new_tokens=length,
                                             repetition_penalty=penalty)))  # fmt: skip
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_replies_are_the_same(
    engine: LocalEngine, launches: list[tuple[PendingStep, PendingStep | None]], seed: int
) -> None:
    wanted = [said(await items(engine, text, sampling=params)) for text, params in asks(seed)]
    record(engine)
    dice = Random(seed)

    async def later(text: str, params: SamplingParams) -> Any:
        await asyncio.sleep(dice.random() * 0.1)
        return said(await items(engine, text, sampling=params, owner=text))

    found = await asyncio.gather(*(later(*ask) for ask in asks(seed)))
    for one, other in zip(found, wanted, strict=True):
        assert one[:2] == other[:2]
        assert one[2].reason == other[2].reason
    assert sum(before is not None for _, before in launches) > 4
    await settled(engine)


async def test_a_prompt_read_token_by_token_gives_nothing_before_its_end(
    engine: LocalEngine, launches: list[tuple[PendingStep, PendingStep | None]]
) -> None:
    """A chunk of one token looks like a decode step, and is none."""
    short = SamplingParams(temperature=0, max_new_tokens=12)
    wanted = [said(await items(engine, saying, sampling=short))[1] for saying in SAYINGS[:3]]
    record(engine)
    worker = engine._running.worker
    worker.runner.reset_pools()
    worker.scheduler.prefill_limit = lambda _decoding, _usual: 1
    found = [said(await items(engine, saying, sampling=short))[1] for saying in SAYINGS[:3]]
    assert found == wanted
    assert launches
    await settled(engine)


async def test_who_ended_has_no_part_in_what_was_begun(
    engine: LocalEngine,
    launches: list[tuple[PendingStep, PendingStep | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reply that stops by itself is in one step too many, and nobody is hurt by it."""
    long = SamplingParams(temperature=0, max_new_tokens=40)
    ids, others = [said(await items(engine, saying, sampling=long))[1] for saying in SAYINGS[:2]]
    end = ids[5]
    monkeypatch.setattr(engine._running.worker, "_stop_ids", frozenset([end]))
    record(engine)
    one, two = await asyncio.gather(
        *(items(engine, saying, sampling=long, owner=saying) for saying in SAYINGS[:2])
    )
    assert said(one)[1] == ids[: ids.index(end)]
    assert said(one)[2].reason == "stop"
    assert said(two)[1] == (others[: others.index(end)] if end in others else others)
    sizes = [len(flight.chunks) for flight, _ in launches]
    assert 2 in sizes
    assert 1 in sizes
    await settled(engine)


async def test_cancelled_at_any_moment(
    engine: LocalEngine, launches: list[tuple[PendingStep, PendingStep | None]]
) -> None:
    long = SamplingParams(temperature=0, max_new_tokens=60)
    wanted = said(await items(engine, "hello", sampling=long))[1]
    record(engine)
    for seed in range(12):
        dice = Random(seed)

        async def some(text: str, count: int) -> None:
            stream = engine.stream([user(text)], long, owner=text, conversation="c")
            async for item in stream:
                count -= isinstance(item, Delta)
                if count <= 0:
                    break
            await stream.aclose()  # type: ignore[attr-defined]

        rest = (some(text, dice.randint(1, 12)) for text in SAYINGS[1:])
        stays, *_ = await asyncio.gather(items(engine, "hello", sampling=long), *rest)
        assert said(stays)[1] == wanted
    assert launches
    await settled(engine)


async def test_nan_fails_its_own_only(
    engine: LocalEngine, launches: list[tuple[PendingStep, PendingStep | None]]
) -> None:
    long = SamplingParams(temperature=0, max_new_tokens=30)
    wanted = said(await items(engine, "hello", sampling=long))[1]
    record(engine)
    runner = engine._running.worker.runner
    compute = runner.graphs._decode_step

    where = len(engine._running.tokenizer.build_prompt([user("us us us")]).ids) + 9

    def spoiled(tokens: torch.Tensor, positions: torch.Tensor, plans: Any) -> Any:
        hidden, logits = compute(tokens, positions, plans)
        hidden[positions == where] = float("nan")
        return hidden, logits

    runner.graphs._decode_step = spoiled
    runner.graphs._recordings.clear()
    results = await asyncio.gather(
        items(engine, "hello", sampling=SamplingParams(temperature=0, max_new_tokens=5)),
        items(engine, "us us us", sampling=long, owner="bad"),
        return_exceptions=True,
    )
    assert said(results[0])[1] == wanted[:5]
    assert isinstance(results[1], GenerationFailed)
    runner.graphs._decode_step = compute
    runner.graphs._recordings.clear()
    assert said(await items(engine, "hello", sampling=long))[1] == wanted
    assert launches
    await settled(engine)


async def test_a_step_that_can_not_be_begun_is_done_as_others_are(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = SamplingParams(temperature=0, max_new_tokens=30)
    wanted = said(await items(engine, "hello", sampling=long))[1]
    record(engine)
    runner = engine._running.worker.runner
    launch, calls = runner.launch_decode, iter(range(1000))

    def sometimes(*arguments: Any) -> Any:
        if next(calls) % 3 == 1:
            raise RuntimeError("no")
        return launch(*arguments)

    monkeypatch.setattr(runner, "launch_decode", sometimes)
    assert said(await items(engine, "hello", sampling=long))[1] == wanted
    await settled(engine)
