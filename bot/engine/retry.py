"""Computes a step in one forward pass, or in halves if that raises."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from bot.engine.model.runner import StepResult
from bot.engine.schedule.scheduler import Chunk, Sequence

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One forward pass of a step.

    Attributes:
        chunks: what was computed; empty if the pass failed.
        result: None if the pass failed.
        out_of_memory_size: how many sequences were too many for the memory; 0 if there was room.
    """

    chunks: list[Chunk]
    result: StepResult | None
    out_of_memory_size: int = 0


def run_with_retry(
    forward: Callable[[list[Chunk]], StepResult],
    chunks: list[Chunk],
    fail_sequence: Callable[[Sequence, Exception], None],
) -> Iterator[Attempt]:
    """Run one pass. If it raises, retry halves until the sequences at fault are alone.

    A single chunk that runs out of memory is retried in shorter pieces.

    Args:
        forward: computes some chunks.
        chunks: what the step computes.
        fail_sequence: called with each sequence that can't be computed, and the reason.
    """
    if not chunks:
        return
    try:
        result = forward(chunks)
    except Exception as error:
        log.warning("a step of %d sequences failed: %s", len(chunks), error)
        is_memory = is_out_of_memory(error)
        if is_memory and torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(chunks) == 1:
            shorter = chunks[0].first_half() if is_memory else None
            if shorter is None:
                fail_sequence(chunks[0].sequence, error)
            else:
                yield from run_with_retry(forward, [shorter], fail_sequence)
            return
        if is_memory:
            yield Attempt([], None, out_of_memory_size=len(chunks))
        half = len(chunks) // 2
        yield from run_with_retry(forward, chunks[:half], fail_sequence)
        yield from run_with_retry(forward, chunks[half:], fail_sequence)
    else:
        yield Attempt(chunks, result)


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device or the host ran out of memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
