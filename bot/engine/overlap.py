"""Decode steps on a GPU: the next one is scheduled, and begun, while this one runs.

Which token a step gives isn't known before it ends, but who decodes on is, nearly: everybody but
those who end with it. So the next step is begun with the tokens left on the device. Who turns out
to have ended in the meantime has a row too many in it, which is thrown away: what such a row writes
lies behind all that is the sequence's, in blocks that nobody else can write to before, since a
device does one thing after another.

Only for recorded steps (graphs.py) whose draws can all be made on the device.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from bot.engine.model.runner import ModelRunner
from bot.engine.model.sampling import Draws, Sampler, there
from bot.engine.schedule.scheduler import Chunk, Scheduler


@dataclass(frozen=True, slots=True)
class Flight:
    """A decode step under way: its rows, and the tokens that they will give."""

    chunks: list[Chunk]
    draws: Draws
    began: float


def take_off(
    runner: ModelRunner, chunks: list[Chunk], samplers: list[Sampler], before: Flight | None = None
) -> Flight | None:
    """Begin a step without waiting for it.

    Args:
        chunks: who computes what.
        samplers: of each chunk's sequence.
        before: the step under way that gives the tokens to compute; None if they are known.

    Returns:
        None if this can't be done with this step.
    """
    if runner.graphs is None or any(chunk.num_tokens > 1 for chunk in chunks):
        return None
    if before is None and not all(
        chunk.samples_next_token for chunk in chunks
    ):  # a prompt's, of one token
        return None
    if not all(sampler.draws_in_rows(runner.config.vocab_size) for sampler in samplers):
        return None
    tokens = None
    if before is not None:
        places = {chunk.sequence: place for place, chunk in enumerate(before.chunks)}
        which = torch.tensor([places[chunk.sequence] for chunk in chunks])
        tokens = before.draws.tokens[there(which, before.draws.tokens)]
    began = time.perf_counter()
    draws = runner.launch(chunks, samplers, tokens)
    return None if draws is None else Flight(chunks, draws, began)


def following(scheduler: Scheduler, flight: Flight, max_context: int) -> list[Chunk]:
    """Who decodes on after a step under way, as far as is known before it ends.

    Empty if somebody else is to have a part in the next step, or there is no room for it.
    """
    running = set(scheduler.running)
    if len(scheduler.waiting) or running - {chunk.sequence for chunk in flight.chunks}:
        return []
    chunks: list[Chunk] = []
    for chunk in flight.chunks:
        sequence = chunk.sequence
        ends = (
            sequence.num_generated_tokens + 1 >= sequence.max_new_tokens
            or chunk.end + 1 >= max_context
        )
        if ends or sequence not in running:
            continue
        if not scheduler.blocks.allocate_blocks(sequence.block_table, chunk.end + 1):
            return []
        chunks.append(Chunk(sequence, chunk.end, 1))
    return chunks
