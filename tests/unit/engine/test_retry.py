"""A step that raises is retried in halves until only the sequences at fault fail."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bot.engine.model.runner import StepResult
from bot.engine.retry import is_out_of_memory, run_with_retry
from bot.engine.schedule.block_manager import BlockTable
from bot.engine.schedule.scheduler import Chunk, Sequence


def chunk(name: str, length: int = 1) -> Chunk:
    return Chunk(Sequence(name, [0] * length, (), 9, BlockTable(([],), [0]), length), 0, length)


def result(chunks: list[Chunk]) -> StepResult:
    return StepResult([c.sequence for c in chunks], torch.zeros(len(chunks), 4), [])


class Forward:
    """Raises where `is_bad` says so; remembers who was computed together."""

    def __init__(self, is_bad: Any, error: Exception) -> None:
        self.is_bad, self.error = is_bad, error
        self.calls: list[str] = []
        self.failed: list[str] = []

    def __call__(self, chunks: list[Chunk]) -> StepResult:
        self.calls.append("".join(c.sequence.owner for c in chunks))
        if self.is_bad(chunks):
            raise self.error
        return result(chunks)

    def fail(self, sequence: Sequence, error: Exception) -> None:
        assert error is self.error
        self.failed.append(sequence.owner)

    def computed(self, chunks: list[Chunk]) -> list[str]:
        attempts = run_with_retry(self, chunks, self.fail)
        return [c.sequence.owner for attempt in attempts for c in attempt.chunks]


def test_a_step_that_works_is_one_pass() -> None:
    forward = Forward(lambda _: False, ValueError())
    assert forward.computed([chunk(name) for name in "abc"]) == list("abc")
    assert forward.calls == ["abc"]
    assert list(run_with_retry(forward, [], forward.fail)) == []


def test_only_the_sequence_at_fault_fails() -> None:
    bad = Forward(lambda chunks: any(c.sequence.owner == "c" for c in chunks), ValueError("no"))
    assert bad.computed([chunk(name) for name in "abcde"]) == list("abde")
    assert bad.failed == ["c"]


def test_too_many_for_the_memory_are_computed_in_halves_and_counted() -> None:
    small = Forward(lambda chunks: len(chunks) > 2, torch.OutOfMemoryError())
    attempts = list(run_with_retry(small, [chunk(name) for name in "abcdef"], small.fail))
    assert max(attempt.out_of_memory_size for attempt in attempts) == 6
    assert sum(len(attempt.chunks) for attempt in attempts) == 6
    assert not small.failed


def test_a_long_prompt_alone_is_computed_in_shorter_pieces() -> None:
    small = Forward(lambda chunks: chunks[0].num_tokens > 10, MemoryError())
    (attempt,) = run_with_retry(small, [chunk("a", 64)], small.fail)
    assert attempt.chunks[0].num_tokens == 8
    assert not small.failed


def test_what_does_not_fit_alone_fails() -> None:
    small = Forward(lambda _: True, MemoryError())
    assert small.computed([chunk("a", 4)]) == []
    assert small.failed == ["a"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("something else"), False),
    ],
)
def test_memory_errors_are_told_from_others(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected
