"""One step as one forward pass, or as several if that raises."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import torch

from bot.engine.model.runner import StepResult
from bot.engine.schedule.scheduler import Chunk, Sequence

log = logging.getLogger(__name__)

Pass = tuple[list[Chunk], StepResult | None, int]
"""What was computed, its result, and how many sequences were too many for the memory."""


def passes(
    forward: Callable[[list[Chunk]], StepResult],
    chunks: list[Chunk],
    fail: Callable[[Sequence, Exception], None],
) -> Iterator[Pass]:
    """One pass; if it raises, halves are tried until those who are to blame are alone.

    Args:
        forward: computes some chunks.
        chunks: what the step computes.
        fail: told of each sequence that can't be computed, and why.
    """
    if not chunks:
        return
    try:
        result = forward(chunks)
    except Exception as error:
        log.warning("a step of %d sequences failed: %s", len(chunks), error)
        no_memory = out_of_memory(error)
        if no_memory and torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(chunks) == 1:
            shorter = chunks[0].first_half() if no_memory else None
            if shorter is None:
                fail(chunks[0].sequence, error)
            else:
                yield from passes(forward, [shorter], fail)
            return
        if no_memory:
            yield [], None, len(chunks)
        half = len(chunks) // 2
        yield from passes(forward, chunks[:half], fail)
        yield from passes(forward, chunks[half:], fail)
    else:
        yield chunks, result, 0


def out_of_memory(error: Exception) -> bool:
    """Did the device (or the machine) run out of memory?"""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
