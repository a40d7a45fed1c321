"""What quantisation costs in quality: mean cross-entropy on a fixed text, int8 beside unquantised.

The engine itself computes it: the text is fed token by token, as replies are decoded, through the
same scheduler, pool and kernels, and the logits of each step are scored instead of sampled from.
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
from bot.bench.runner import machine
from bot.bench.systems import PARLEY
from bot.bench.systems.base import Setup
from bot.engine.model.loading import LocalEngineConfig

LOSS = "loss"  # the workload's name
DEMO = "demo"
_PIECES = 8  # the text is read in so many pieces at once, as that many conversations
_CONTEXT = 16  # tokens at the start of each piece that are read, not predicted
_WEIGHTS = ("none", "int8")  # of `quantize`, the reference first


def measure_loss(setup: Setup, say: Callable[[str], None]) -> dict[str, Any]:
    """The report of `parley bench --workload loss`.

    Raises:
        BenchFailed: the engine could not be loaded.
    """
    setup = _model_for_prose(setup, say)
    results: list[dict[str, Any]] = []
    for quantize in _WEIGHTS:
        say(f"reading the text with PARLEY_QUANTIZE={quantize} ...")
        config = replace(setup.engine, threads=setup.threads, progress=None, quantize=quantize)
        loss, tokens = _in_a_process(config, setup.threads)
        results.append(
            {
                "system": PARLEY,
                "conversations": _PIECES,
                "quantize": quantize,
                "loss_nats": loss,
                "tokens": tokens,
            }
        )
    return {
        "workload": LOSS,
        "machine": machine(),
        "model": setup.model,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "results": results,
        "ratios": [],
        "difference_nats": results[1]["loss_nats"] - results[0]["loss_nats"],
    }


def loss_table(report: dict[str, Any]) -> str:
    """The report as a Markdown table."""
    lines = ["| quantize | tokens | loss, nats | against none |", "|---|---:|---:|---:|"]
    reference = report["results"][0]["loss_nats"]
    lines += [
        f"| {row['quantize']} | {row['tokens']} | {row['loss_nats']:.4f} "
        f"| {row['loss_nats'] - reference:+.4f} |"
        for row in report["results"]
    ]
    return "\n".join(lines)


def _model_for_prose(setup: Setup, say: Callable[[str], None]) -> Setup:
    """For the demo its weights as they were before the chat adapter, else the setup as it is.

    The adapter speaks in short replies and has unlearnt prose (7 nats a token): what rounding
    does there says nothing.
    """
    if setup.model != DEMO:
        return setup
    from bot.demo import prepare

    folder = Path(setup.scratch) / "demo-base"
    if not prepare.is_ready(folder):
        prepare.build_folder(folder, None, say)
    engine = replace(setup.engine, model=str(folder), locate=None, allow_pretrained=True)
    return replace(setup, engine=engine, folder=str(folder), model="demo without its adapter")


def _in_a_process(config: LocalEngineConfig, threads: int) -> tuple[float, int]:
    """A process of its own: one model in memory at a time."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(_loss, config, threads).result()
        except BrokenProcessPool:
            raise BenchFailed("loss: its process died (out of memory?)") from None


def _loss(config: LocalEngineConfig, threads: int) -> tuple[float, int]:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    return asyncio.run(_read(config))


async def _read(config: LocalEngineConfig) -> tuple[float, int]:
    from bot.engine.batcher import LocalEngine

    engine = LocalEngine(config)
    await engine.start()
    try:
        # The engine's contract gives tokens, not logits, so this reaches behind it. Its own
        # thread sleeps all the while: nobody has asked it anything.
        running = engine._running
        assert running is not None
        text = files("bot.bench").joinpath("prose.txt").read_text(encoding="utf-8")
        ids = running.tokenizer.encode_text(" ".join(text.split()))
        pieces = [(running.tokenizer.bos, *piece) for piece in _pieces(ids)]
        return await asyncio.to_thread(score, running.worker, pieces)
    finally:
        await engine.stop()


def _pieces(ids: Sequence[int]) -> list[Sequence[int]]:
    size = len(ids) // _PIECES
    return [ids[at * size : (at + 1) * size] for at in range(_PIECES)]


def score(worker: Any, pieces: Sequence[Sequence[int]]) -> tuple[float, int]:
    """Teacher forcing through an idle worker's scheduler and runner.

    Returns:
        Mean cross-entropy in nats, and over how many tokens.

    Raises:
        BenchFailed: a number that isn't finite came out.
    """
    import torch

    from bot.engine.schedule.scheduler import Sequence as Reply

    total, count = 0.0, 0
    todo: dict[Reply, Sequence[int]] = {}
    for number, piece in enumerate(pieces):
        reply = Reply(
            owner=str(number),
            token_ids=list(piece[:_CONTEXT]),
            image_spans=(),
            max_new_tokens=len(piece) - _CONTEXT,
            block_table=worker.scheduler.blocks.new_table(),
            num_prompt_tokens=_CONTEXT,
        )
        todo[reply] = piece
        worker.scheduler.add_sequence(reply)
    while todo:
        chunks = worker.scheduler.schedule_step()
        result = worker.runner.forward(chunks, _no_pictures)
        if result.broken:
            raise BenchFailed("loss: the model computed NaN or infinity")
        worker.scheduler.commit_step(chunks)
        logits = result.logits.float()
        if result.scale is not None:
            logits = logits * result.scale
        chances = torch.log_softmax(logits, -1)
        for reply, row in zip(result.sequences, chances, strict=True):
            piece = todo[reply]
            target = piece[len(reply.token_ids)]
            total -= float(row[target])
            count += 1
            reply.token_ids.append(target)
            if len(reply.token_ids) == len(piece):
                worker.scheduler.remove_sequence(reply)
                del todo[reply]
    return total / count, count


def _no_pictures(*_: Any) -> Any:
    raise AssertionError("the text has no pictures")
