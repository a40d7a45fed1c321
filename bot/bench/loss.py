"""Measures the quality cost of quantization: mean cross-entropy on a fixed text, int8 vs. none.

The engine itself computes it: the text is fed token by token, like replies being decoded, through
the same scheduler, pool and kernels, and each step's logits are scored instead of sampled.
"""

from __future__ import annotations

import asyncio
import datetime
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from bot.bench.errors import BenchFailed
from bot.bench.runner import describe_machine
from bot.bench.systems import PARLEY
from bot.bench.systems.base import Setup
from bot.engine.model.loading import LocalEngineConfig

LOSS = "loss"  # the workload's name
DEMO = "demo"
_NUM_PIECES = 8  # the text is split into this many concurrent conversations
_CONTEXT_TOKENS = 16  # tokens at the start of each piece that aren't scored
_QUANTIZE_VALUES = ("none", "int8")  # the reference first


def measure_loss(setup: Setup, say: Callable[[str], None]) -> dict[str, Any]:
    """The report of `parley bench --workload loss`.

    Raises:
        BenchFailed: the engine couldn't be loaded.
    """
    setup = _base_model_setup(setup, say)
    results: list[dict[str, Any]] = []
    for quantize in _QUANTIZE_VALUES:
        say(f"scoring the text with PARLEY_QUANTIZE={quantize} ...")
        config = replace(setup.engine, threads=setup.threads, progress=None, quantize=quantize)
        loss, tokens = _loss_in_process(config, setup.threads)
        results.append(
            {
                "system": PARLEY,
                "conversations": _NUM_PIECES,
                "quantize": quantize,
                "loss_nats": loss,
                "tokens": tokens,
            }
        )
    return {
        "workload": LOSS,
        "machine": describe_machine(),
        "model": setup.model,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "results": results,
        "ratios": [],
        "difference_nats": results[1]["loss_nats"] - results[0]["loss_nats"],
    }


def loss_table(report: dict[str, Any]) -> str:
    """The report as a Markdown table."""
    lines = ["| quantize | tokens | loss, nats | vs. none |", "|---|---:|---:|---:|"]
    reference = report["results"][0]["loss_nats"]
    lines += [
        f"| {row['quantize']} | {row['tokens']} | {row['loss_nats']:.4f} "
        f"| {row['loss_nats'] - reference:+.4f} |"
        for row in report["results"]
    ]
    return "\n".join(lines)


def _base_model_setup(setup: Setup, say: Callable[[str], None]) -> Setup:
    """For the demo, a setup with its weights without the chat adapter; otherwise `setup`.

    The adapter is trained on short replies and models prose badly (7 nats a token), so the effect
    of rounding there means nothing.
    """
    if setup.model != DEMO:
        return setup
    from bot.demo import prepare

    folder = Path(setup.scratch) / "demo-base"
    if not prepare.is_ready(folder):
        prepare.build_folder(folder, None, say)
    engine = replace(setup.engine, model=str(folder), locate=None, allow_pretrained=True)
    return replace(setup, engine=engine, folder=str(folder), model="demo without its adapter")


def _loss_in_process(config: LocalEngineConfig, threads: int) -> tuple[float, int]:
    """Score in a separate process, so that only one model is in memory at a time."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(_run_loss, config, threads).result()
        except BrokenProcessPool:
            raise BenchFailed("loss: its process died (out of memory?)") from None


def _run_loss(config: LocalEngineConfig, threads: int) -> tuple[float, int]:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    return asyncio.run(_score_prose(config))


async def _score_prose(config: LocalEngineConfig) -> tuple[float, int]:
    from bot.engine.batcher import LocalEngine

    engine = LocalEngine(config)
    await engine.start()
    try:
        # The engine's public API returns tokens, not logits, so use its internals. Its own thread
        # sleeps meanwhile, since it has no requests.
        running = engine._running
        assert running is not None
        text = files("bot.bench").joinpath("prose.txt").read_text(encoding="utf-8")
        ids = running.tokenizer.encode_text(" ".join(text.split()))
        pieces = [(running.tokenizer.bos, *piece) for piece in _split_pieces(ids)]
        return await asyncio.to_thread(score_pieces, running.worker, pieces)
    finally:
        await engine.stop()


def _split_pieces(ids: Sequence[int]) -> list[Sequence[int]]:
    length = len(ids) // _NUM_PIECES
    return [ids[at * length : (at + 1) * length] for at in range(_NUM_PIECES)]


def score_pieces(worker: Any, pieces: Sequence[Sequence[int]]) -> tuple[float, int]:
    """Teacher-force the pieces through an idle worker's scheduler and runner.

    Returns:
        The mean cross-entropy in nats, and the number of tokens scored.

    Raises:
        BenchFailed: the model computed NaN or infinity.
    """
    import torch

    from bot.engine.schedule.scheduler import Sequence as Reply

    total, count = 0.0, 0
    pending: dict[Reply, Sequence[int]] = {}
    for number, piece in enumerate(pieces):
        reply = Reply(
            owner=str(number),
            token_ids=list(piece[:_CONTEXT_TOKENS]),
            image_spans=(),
            max_new_tokens=len(piece) - _CONTEXT_TOKENS,
            block_table=worker.scheduler.blocks.new_table(),
            num_prompt_tokens=_CONTEXT_TOKENS,
        )
        pending[reply] = piece
        worker.scheduler.add_sequence(reply)
    while pending:
        chunks = worker.scheduler.schedule_step()
        result = worker.runner.forward(chunks, _no_pictures)
        if result.broken:
            raise BenchFailed("loss: the model computed NaN or infinity")
        worker.scheduler.commit_step(chunks)
        logits = result.logits.float()
        if result.scale is not None:
            logits = logits * result.scale
        log_probs = torch.log_softmax(logits, -1)
        for reply, row in zip(result.sequences, log_probs, strict=True):
            piece = pending[reply]
            target = piece[len(reply.token_ids)]
            total -= float(row[target])
            count += 1
            reply.token_ids.append(target)
            if len(reply.token_ids) == len(piece):
                worker.scheduler.remove_sequence(reply)
                del pending[reply]
    return total / count, count


def _no_pictures(*_: Any) -> Any:
    raise AssertionError("the text has no pictures")
