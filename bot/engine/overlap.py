"""Overlapped decode steps on a GPU: the next step is scheduled and launched while one runs.

The tokens of a running step aren't known yet, but its successors nearly are: every sequence goes
on, except those that end with this step. So the next step is launched with its input tokens still
on the device. A sequence that turns out to have ended has one row too many in it, whose token is
discarded. What that row writes lies behind the sequence's text, in blocks that nobody can write
to before the step is over, since a device executes its work in order.

Only recorded steps (cuda/graphs.py) whose tokens can all be drawn on the device are overlapped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from bot.engine.model.runner import ModelRunner
from bot.engine.model.sampling import Draws, Sampler, copy_to_device
from bot.engine.schedule.scheduler import Chunk, Scheduler


@dataclass(frozen=True, slots=True)
class PendingStep:
    """A decode step that was launched and not waited for: its rows, and their future tokens."""

    chunks: list[Chunk]
    draws: Draws
    launched_at: float


def launch_step(
    runner: ModelRunner,
    chunks: list[Chunk],
    samplers: list[Sampler],
    running: PendingStep | None = None,
) -> PendingStep | None:
    """Launch a decode step without waiting for it.

    Args:
        chunks: one for each sequence in the step.
        samplers: of each chunk's sequence.
        running: the step under way that yields the input tokens; None if they are known.

    Returns:
        None if this step can't be launched ahead.
    """
    if runner.graphs is None or any(chunk.num_tokens > 1 for chunk in chunks):
        return None
    # A prompt's chunk of one token is no decode step, unless it is the prompt's last.
    if running is None and not all(chunk.samples_next_token for chunk in chunks):
        return None
    if not all(sampler.can_draw_batched(runner.config.vocab_size) for sampler in samplers):
        return None
    input_tokens = None
    if running is not None:
        rows = {chunk.sequence: row for row, chunk in enumerate(running.chunks)}
        index = torch.tensor([rows[chunk.sequence] for chunk in chunks])
        input_tokens = running.draws.tokens[copy_to_device(index, running.draws.tokens)]
    launched_at = time.perf_counter()
    draws = runner.launch_decode(chunks, samplers, input_tokens)
    return None if draws is None else PendingStep(chunks, draws, launched_at)


def next_decode_chunks(scheduler: Scheduler, running: PendingStep, max_context: int) -> list[Chunk]:
    """The chunks of the step after a running one, as far as they are known before it ends.

    Empty if another sequence belongs in that step, or if there are no blocks for it.
    """
    sequences = set(scheduler.running)
    if len(scheduler.waiting) or sequences - {chunk.sequence for chunk in running.chunks}:
        return []
    chunks: list[Chunk] = []
    for chunk in running.chunks:
        sequence = chunk.sequence
        ends = (
            sequence.num_generated_tokens + 1 >= sequence.max_new_tokens
            or chunk.end + 1 >= max_context
        )
        if ends or sequence not in sequences:
            continue
        if not scheduler.blocks.allocate_blocks(sequence.block_table, chunk.end + 1):
            return []
        chunks.append(Chunk(sequence, chunk.end, 1))
    return chunks
