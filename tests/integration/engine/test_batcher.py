"""`LocalEngine` as the service uses it: streams, cancellation, failures, limits, stopping."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bot.engine.api import (
    Delta,
    EngineBusy,
    EngineStopped,
    Finish,
    GenerationFailed,
    Image,
    Message,
    PromptTooLong,
    Queued,
    SamplingParams,
    StreamItem,
    Text,
)
from bot.engine.batcher import LocalEngine
from bot.engine.cpu import backends, int8_linear
from bot.engine.model.loading import LocalEngineConfig
from bot.engine.model.runner import ModelRunner
from tests.support import models, toy_backend
from tests.support.engine import PICTURES

GREEDY = SamplingParams(temperature=0, max_new_tokens=24)


@pytest.fixture(scope="session")
def seeing_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_tiny(tmp_path_factory.mktemp("tiny"), sees=True)


def config(folder: Path, **changes: Any) -> LocalEngineConfig:
    values = {"dtype": "float32", "device": "cpu", "kv_memory_mib": 8, "max_context": 512}
    return LocalEngineConfig(model=str(folder), **{**values, **changes})


@pytest.fixture
async def engine(seeing_folder: Path) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(config(seeing_folder, ignore_eos=True))
    await engine.start()
    yield engine
    await engine.stop()


def user(*parts: Any) -> Message:
    return Message("user", tuple(Text(p) if isinstance(p, str) else p for p in parts))


async def items(
    engine: LocalEngine, *parts: Any, sampling: SamplingParams = GREEDY, owner: str = "a"
) -> list[StreamItem]:
    stream = engine.stream([user(*parts)], sampling, owner=owner, conversation="c")
    return [item async for item in stream]


def said(got: list[StreamItem]) -> tuple[str, tuple[int, ...], Finish]:
    finish = got[-1]
    assert isinstance(finish, Finish)
    deltas = [item for item in got if isinstance(item, Delta)]
    return "".join(d.text for d in deltas), sum((d.token_ids for d in deltas), ()), finish


async def settled(engine: LocalEngine) -> None:
    """Wait until nothing runs and every block is back."""
    worker = engine._running.worker
    for _ in range(300):
        if worker.scheduler.is_idle and not worker._inbox and not worker._cancelled:
            break
        await asyncio.sleep(0.01)
    assert all(g.pool.num_available == g.pool.num_blocks for g in worker.scheduler.blocks.groups)
    assert not worker._requests


async def test_replies_together_are_generates_alone(engine: LocalEngine) -> None:
    """Through the real loading, image processor and threads."""
    picture = list(PICTURES.values())
    asked = [("hello",), (picture[0], "what?"), ("the user " * 9,), ("a", picture[1], picture[0])]
    together = await asyncio.gather(*(items(engine, *parts) for parts in asked))
    model, processor = models.tiny_seeing_model(), models.tiny_processor()
    for parts, got in zip(asked, together, strict=True):
        prompt = engine._running.tokenizer.build_prompt([user(*parts)])
        inputs: dict[str, Any] = {"input_ids": torch.tensor([prompt.ids])}
        if prompt.images:
            decoded = [_open(image) for image in prompt.images]
            types = [
                int(any(s.start <= i < s.end for s in prompt.spans)) for i in range(len(prompt.ids))
            ]
            inputs |= {
                "pixel_values": processor.image_processor(
                    decoded, return_tensors="pt"
                ).pixel_values,
                "token_type_ids": torch.tensor([types]),
            }
        want = model.generate(**inputs, max_new_tokens=24, do_sample=False, eos_token_id=None)
        assert list(said(got)[1]) == want[0, len(prompt.ids) :].tolist()
    assert engine._running.vision.num_encoded == 2


async def test_a_backend_is_one_file_and_one_registration(seeing_folder: Path) -> None:
    """A toy with a block size of its own serves text and pictures."""
    with toy_backend.registered():
        engine = LocalEngine(config(seeing_folder, ignore_eos=True))
        await engine.start()
    try:
        assert engine.info.backend == "toy"
        assert engine._running.worker.scheduler.blocks.block_size == toy_backend.BLOCK_SIZE
        await test_replies_together_are_generates_alone(engine)
    finally:
        await engine.stop()


def _open(image: Image) -> Any:
    import io

    from PIL import Image as PILImage

    return PILImage.open(io.BytesIO(image.data))


async def test_usage_and_info(engine: LocalEngine) -> None:
    info = engine.info
    assert (info.sees_images, info.image_tokens, info.max_context) == (True, 4, 512)
    assert (info.device, info.dtype) == ("cpu", "float32")
    assert (info.backend, info.rejected_backends) == ("sdpa", ())
    _, ids, finish = said(await items(engine, "hello"))
    assert finish.reason == "length"
    assert finish.usage.generated_tokens == len(ids) == 24
    assert finish.usage.prompt_tokens == engine.count_tokens([user("hello")])
    assert 0 <= finish.usage.queue_s <= finish.usage.ttft_s <= finish.usage.total_s
    # A second time the prompt is found, except for its last block.
    again = said(await items(engine, "hello"))[2]
    assert again.usage.cached_tokens == (finish.usage.prompt_tokens - 1) // 16 * 16


async def test_end_of_turn_ends_the_reply(seeing_folder: Path) -> None:
    """At the first stop token of the generation config; it is neither text nor an id."""
    engine = LocalEngine(config(seeing_folder))
    await engine.start()
    worker = engine._running.worker
    try:
        long = said(await items(engine, "hello"))[1]
        worker._stop_ids = frozenset({long[5]})
        _, ids, finish = said(await items(engine, "hello"))
    finally:
        await engine.stop()
    assert finish.reason == "stop"
    assert ids == long[: long.index(long[5])]


async def test_stop_string(engine: LocalEngine) -> None:
    text, _, _ = said(await items(engine, "hello"))
    stop = text[6:8]
    params = SamplingParams(temperature=0, max_new_tokens=24, stop=(stop,))
    cut, _, finish = said(await items(engine, "hello", sampling=params))
    assert cut == text[: text.index(stop)]
    assert finish.reason == "stop"


async def test_same_seed_alone_and_in_a_crowd(engine: LocalEngine) -> None:
    params = SamplingParams(temperature=1.5, top_k=40, top_p=0.9, min_p=0.01,
                            repetition_penalty=1.2, seed=7, max_new_tokens=24)  # fmt: skip
    alone = said(await items(engine, "hello", sampling=params))[1]
    others = [
        items(
            engine,
            f"number {i}",
            sampling=SamplingParams(temperature=1, seed=i, top_k=i, max_new_tokens=30),
        )
        for i in range(9)
    ]
    crowd = await asyncio.gather(*others[:4], items(engine, "hello", sampling=params), *others[4:])
    assert said(crowd[4])[1] == alone
    other_seed = SamplingParams(temperature=1.5, seed=8, max_new_tokens=24)
    assert said(await items(engine, "hello", sampling=other_seed))[1] != alone


async def test_closing_frees_the_sequence(engine: LocalEngine) -> None:
    params = SamplingParams(temperature=0, max_new_tokens=400)
    stream = engine.stream([user("hello")], params, owner="a", conversation="c")
    async for item in stream:
        if isinstance(item, Delta):
            break
    await stream.aclose()
    await settled(engine)
    assert engine.snapshot().running == ()


async def test_thousands_of_cancellations_leak_nothing(engine: LocalEngine) -> None:
    """At every moment: before the first step, while waiting, in prefill, while decoding."""
    rng = random.Random(1)
    picture = next(iter(PICTURES.values()))

    async def one(number: int) -> None:
        parts = ["hello " * rng.randint(1, 20)] + [picture] * (number % 3 == 0)
        task = asyncio.create_task(items(engine, *parts, owner=str(number % 7)))
        await asyncio.sleep(rng.choice([0, 0, 0.001, 0.01, 0.05]))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for _ in range(10):
        await asyncio.gather(*(one(n) for n in range(200)))
    await settled(engine)
    assert engine._in_flight == 0
    assert said(await items(engine, "hello"))[2].reason == "length"


async def test_busy_at_once(seeing_folder: Path) -> None:
    engine = LocalEngine(config(seeing_folder, max_batch=2, max_queue=3, ignore_eos=True))
    await engine.start()
    try:
        tasks = [asyncio.create_task(items(engine, str(i))) for i in range(8)]
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(d).__name__ for d in done].count("EngineBusy") == 3
        busy = next(d for d in done if isinstance(d, EngineBusy))
        assert busy.queue_length >= 3
        await settled(engine)
    finally:
        await engine.stop()


async def test_places_in_the_line(seeing_folder: Path) -> None:
    engine = LocalEngine(config(seeing_folder, max_batch=1, ignore_eos=True))
    await engine.start()
    try:
        got = await asyncio.gather(*(items(engine, str(i)) for i in range(4)))
        places = [[item.ahead for item in one if isinstance(item, Queued)] for one in got]
        assert places[0] == []
        assert places[1] == [0]
        assert places[3][-1] == 0
        assert places[3] == sorted(places[3], reverse=True)
    finally:
        await engine.stop()


async def test_a_bad_step_fails_only_who_is_to_blame(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = engine._running.worker.runner
    forward = runner.forward
    poison = len(engine._running.tokenizer.build_prompt([user("bad")]).ids) + 5

    def failing(chunks: Any, features: Any) -> Any:
        for chunk in chunks:
            if len(chunk.sequence.token_ids) == poison and chunk.sequence.owner == "bad":
                raise RuntimeError("kernel says no")
        return forward(chunks, features)

    good = [said(await items(engine, f"good {i}"))[1] for i in range(3)]
    monkeypatch.setattr(runner, "forward", failing)
    results = await asyncio.gather(
        *(items(engine, f"good {i}") for i in range(3)),
        items(engine, "bad", owner="bad"),
        return_exceptions=True,
    )
    assert [said(r)[1] for r in results[:3]] == good
    assert isinstance(results[3], GenerationFailed)
    assert "kernel says no" in str(results[3])
    await settled(engine)


async def test_out_of_memory_shrinks_the_batch_and_nobody_notices(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that holds two sequences and 20 tokens a step."""
    worker = engine._running.worker
    asked = [f"{i} " + "the user " * 12 for i in range(6)]
    good = [said(await items(engine, text))[1] for text in asked]
    worker.runner.reset_pools()
    forward, refused = worker.runner.forward, []

    def small(chunks: Any, features: Any) -> Any:
        if len(chunks) > 2 or sum(chunk.num_tokens for chunk in chunks) > 20:
            refused.append(len(chunks))
            raise torch.OutOfMemoryError("no room")
        return forward(chunks, features)

    monkeypatch.setattr(worker.runner, "forward", small)
    got = await asyncio.gather(*(items(engine, text) for text in asked))
    assert [said(one)[1] for one in got] == good
    assert refused.count(1)  # a lone prompt was cut into shorter chunks
    # It doesn't run into the wall in every step: a batch of two was found and kept.
    assert len(refused) < 40
    await settled(engine)


async def test_who_alone_does_not_fit_is_told(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = engine._running.worker.runner
    forward = runner.forward

    def small(chunks: Any, features: Any) -> Any:
        if any(len(chunk.sequence.token_ids) > 60 for chunk in chunks):
            raise torch.OutOfMemoryError("no room")
        return forward(chunks, features)

    monkeypatch.setattr(runner, "forward", small)
    results = await asyncio.gather(
        items(engine, "hello"), items(engine, "x" * 80), return_exceptions=True
    )
    assert said(results[0])[2].reason == "length"
    assert isinstance(results[1], GenerationFailed)
    await settled(engine)


async def test_a_step_that_hangs_fails_its_replies_and_another_worker_goes_on(
    seeing_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine(config(seeing_folder, max_batch=2, step_timeout_s=1.0, ignore_eos=True))
    await engine.start()
    release = threading.Event()
    try:
        good = said(await items(engine, "good"))[1]
        old = engine._running.worker
        forward, back = ModelRunner.forward, threading.Event()

        def hanging(runner: ModelRunner, chunks: Any, features: Any) -> Any:
            if any(
                c.sequence.owner == "bad" and c.sequence.num_generated_tokens > 3 for c in chunks
            ):
                release.wait(100)
                try:
                    return forward(runner, chunks, features)
                finally:
                    back.set()
            return forward(runner, chunks, features)

        monkeypatch.setattr(ModelRunner, "forward", hanging)
        long = SamplingParams(temperature=0, max_new_tokens=300)
        results = await asyncio.gather(
            items(engine, "bad", owner="bad", sampling=long),
            items(engine, "beside it", sampling=long),
            items(engine, "good"),  # these wait for a place
            items(engine, next(iter(PICTURES.values()))),
            return_exceptions=True,
        )
        assert isinstance(results[0], GenerationFailed)
        assert "hung" in str(results[0])
        assert isinstance(results[1], GenerationFailed)
        assert said(results[2])[1] == good
        assert said(results[3])[2].reason == "length"
        assert engine._running.worker is not old
        # The old thread comes back: it ends, and touches nothing of the new pool.
        release.set()
        assert await asyncio.to_thread(back.wait, 60)
        assert said(await items(engine, "good"))[1] == good
        await settled(engine)
    finally:
        release.set()
        await engine.stop()


async def test_a_device_that_hangs_again_at_once_is_given_up(
    seeing_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine(config(seeing_folder, step_timeout_s=0.5, ignore_eos=True))
    await engine.start()
    release = threading.Event()
    monkeypatch.setattr(ModelRunner, "forward", lambda *_: release.wait(100))
    try:
        for _ in range(2):
            with pytest.raises(GenerationFailed, match="hung"):
                await items(engine, "hello")
        with pytest.raises(EngineStopped, match="restarted"):
            await items(engine, "hello")
    finally:
        release.set()
        await engine.stop()


@pytest.mark.skipif(
    not (backends.load_kernels()[0] or int8_linear.kernels_are_exact()),
    reason="this CPU has no exact 8-bit kernels",
)
async def test_int8_replies_are_the_same_alone_and_in_a_crowd(tmp_path: Path) -> None:
    folder = models.save_tiny(tmp_path, sees=True)
    engine = LocalEngine(config(folder, quantize="int8", ignore_eos=True))
    await engine.start()
    try:
        assert engine.info.dtype == "int8"
        asked = [("hello",), ("the user " * 9,), (next(iter(PICTURES.values())), "what?")]
        alone = [said(await items(engine, *parts))[1] for parts in asked]
        engine._running.worker.runner.reset_pools()
        together = await asyncio.gather(*(items(engine, *parts) for parts in asked))
        assert [said(one)[1] for one in together] == alone
        await settled(engine)
    finally:
        await engine.stop()


@pytest.mark.parametrize("where", ["hidden", "logits"])
async def test_nan_fails_only_its_own_and_does_not_spread(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    runner = engine._running.worker.runner
    good = said(await items(engine, "good"))[1]
    if where == "hidden":
        inputs = runner._prepare_inputs

        def spoiled(chunks: Any, features: Any) -> Any:
            embeds, positions = inputs(chunks, features)
            at = 0
            for chunk in chunks:
                if chunk.sequence.owner == "bad":
                    embeds[at : at + chunk.num_tokens] = float("nan")
                at += chunk.num_tokens
            return embeds, positions

        monkeypatch.setattr(runner, "_prepare_inputs", spoiled)
    else:
        forward = runner.forward

        @torch.inference_mode()
        def spoiled_logits(chunks: Any, features: Any) -> Any:
            result = forward(chunks, features)
            for row, sequence in enumerate(result.sequences):
                if sequence.owner == "bad":
                    result.logits[row, 3] = float("nan")
            return result

        monkeypatch.setattr(runner, "forward", spoiled_logits)
    for _ in range(3):
        results = await asyncio.gather(
            items(engine, "good"),
            items(engine, "good and bad", owner="bad"),
            return_exceptions=True,
        )
        assert said(results[0])[1] == good
        assert isinstance(results[1], GenerationFailed)
    monkeypatch.undo()
    assert said(await items(engine, "good and bad"))[2].reason == "length"
    await settled(engine)


async def test_nobody_goes_on_from_where_a_reply_failed(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last block was zeroed: whoever begins with the same tokens computes them anew."""
    runner = engine._running.worker.runner
    ids = said(await items(engine, "good and bad"))[1]
    runner.reset_pools()
    forward = runner.forward

    @torch.inference_mode()
    def spoiled(chunks: Any, features: Any) -> Any:
        result = forward(chunks, features)
        for row, sequence in enumerate(result.sequences):
            if sequence.num_generated_tokens == 2:
                result.logits[row] = float("nan")
        return result

    monkeypatch.setattr(runner, "forward", spoiled)
    with pytest.raises(GenerationFailed, match="NaN"):
        await items(engine, "good and bad")
    monkeypatch.undo()
    asked = [
        user("good and bad"),
        Message("assistant", (Text("so far", token_ids=ids[:2]),)),
        user("and now?"),
    ]

    async def answer() -> tuple[int, ...]:
        stream = engine.stream(asked, GREEDY, owner="a", conversation="c")
        return said([item async for item in stream])[1]

    after = await answer()
    await settled(engine)
    runner.reset_pools()
    assert after == await answer()


async def test_broken_bookkeeping_fails_all_but_the_engine_goes_on(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = said(await items(engine, "good"))[1]
    scheduler = engine._running.worker.scheduler
    monkeypatch.setattr(scheduler, "commit_step", lambda chunks: 1 / 0)
    results = await asyncio.gather(
        items(engine, "one"), items(engine, "two"), return_exceptions=True
    )
    assert any(isinstance(r, GenerationFailed) for r in results)
    assert said(await items(engine, "good"))[1] == good
    await settled(engine)


async def test_a_bad_picture_fails_only_its_reply(engine: LocalEngine) -> None:
    bad = Image(data=b"no picture", digest="00")
    results = await asyncio.gather(
        items(engine, "hello"), items(engine, bad, "what?"), return_exceptions=True
    )
    assert said(results[0])[2].reason == "length"
    assert isinstance(results[1], ValueError)
    await settled(engine)


async def test_a_failing_tower_fails_only_that_picture(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    vision = engine._running.vision
    one, two = list(PICTURES.values())[:2]
    bad = vision.preprocess_image(one)
    compute = vision.run_tower

    def failing(pixels: dict[str, torch.Tensor]) -> Any:
        if any(torch.equal(values, bad) for values in pixels.values()):
            raise RuntimeError("tower says no")
        return compute(pixels)

    monkeypatch.setattr(vision, "run_tower", failing)
    results = await asyncio.gather(
        items(engine, "hello"), items(engine, one), items(engine, two), return_exceptions=True
    )
    assert said(results[0])[2].reason == said(results[2])[2].reason == "length"
    assert isinstance(results[1], GenerationFailed)
    await settled(engine)


async def test_limits(engine: LocalEngine) -> None:
    with pytest.raises(PromptTooLong) as caught:
        await items(engine, "a b c d " * 200)
    assert caught.value.limit == 511
    with pytest.raises(ValueError, match="no user message"):
        await anext(engine.stream([], GREEDY, owner="a", conversation="c"))
    room = SamplingParams(temperature=0, max_new_tokens=10_000)
    finish = said(await items(engine, "a b c " * 70, sampling=room))[2]
    assert finish.reason == "length"
    assert finish.usage.prompt_tokens + finish.usage.generated_tokens == 512


async def test_stop_cancels_what_runs_and_is_idempotent(seeing_folder: Path) -> None:
    engine = LocalEngine(config(seeing_folder, max_batch=2, ignore_eos=True))
    with pytest.raises(EngineStopped):
        _ = engine.info
    await engine.stop()
    await engine.start()
    long = SamplingParams(temperature=0, max_new_tokens=450)
    tasks = [asyncio.create_task(items(engine, str(i), sampling=long)) for i in range(4)]
    await asyncio.sleep(0.2)
    assert len(engine.snapshot().running) == 2
    assert engine.snapshot().waiting == 2
    await engine.stop()
    await engine.stop()
    for got in await asyncio.gather(*tasks):
        assert said(got)[2].reason == "cancelled"
    with pytest.raises(EngineStopped):
        await items(engine, "hello")
    await engine.start()  # and again
    assert said(await items(engine, "hello"))[2].reason == "length"
    await engine.stop()


async def test_snapshot(engine: LocalEngine) -> None:
    stream = engine.stream([user("hello " * 30)], SamplingParams(max_new_tokens=300),
                           owner="me", conversation="c7")  # fmt: skip
    async for item in stream:
        if isinstance(item, Delta):
            break
    snapshot = engine.snapshot()
    (lane,) = snapshot.running
    assert (lane.conversation, lane.owner, lane.max_new) == ("c7", "me", 300)
    assert lane.prefilled == lane.prompt > 0
    assert lane.generated >= 1
    assert snapshot.tokens_per_s > 0
    assert snapshot.generated_total >= 1
    await stream.aclose()


async def test_text_only_of_a_seeing_model(seeing_folder: Path) -> None:
    """No vision tower in memory, pictures refused, the same text."""
    both = {}
    for text_only in (False, True):
        engine = LocalEngine(config(seeing_folder, text_only=text_only, ignore_eos=True))
        await engine.start()
        both[text_only] = said(await items(engine, "hello"))[1]
        if text_only:
            assert not engine.info.sees_images
            assert engine.info.image_tokens == 0
            with pytest.raises(ValueError, match="text-only"):
                await items(engine, next(iter(PICTURES.values())))
        await engine.stop()
    assert both[False] == both[True]
