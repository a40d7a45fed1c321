"""Decode steps recorded once and replayed (CUDA graphs), for batches of a few sizes.

A decode step is hundreds of small kernels; launched one by one from Python they take several times
as long as they run. A recorded step is one launch, but its shapes and addresses are fixed: so each
size of batch has its own recording, smaller batches are padded, and everything that changes from
step to step (tokens, positions, slots, block tables) lies in one buffer of numbers, which is
filled with one copy.

Not run on a GPU yet. The tests "record" on a CPU by running the step again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bot.engine.attention.base import RecordableBackend, Row
from bot.engine.schedule.block_manager import NULL_BLOCK

Outputs = tuple[torch.Tensor, torch.Tensor]
"""Hidden states [n, hidden] and logits [n, V]."""
Body = Callable[[torch.Tensor, torch.Tensor, list[Any]], Outputs]
"""Computes one step from token ids [n], positions [n] and the groups' plans."""
Record = Callable[[Callable[[], Outputs]], tuple[Callable[[], None], Outputs]]
"""Records a step; gives what replays it, and where its outputs will lie."""

_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True, slots=True)
class _Recording:
    numbers: torch.Tensor  # on the device
    replay: Callable[[], None]
    outputs: Outputs


class DecodeGraphs:
    """Recorded decode steps over one pool.

    Args:
        body: the step to record.
        backend: plans the steps.
        windows: each group's window.
        longest: tokens of the longest sequence.
        most: sequences in the largest batch.
        record: how to record; `record_cuda` but in tests.
    """

    def __init__(
        self,
        body: Body,
        backend: RecordableBackend,
        windows: list[int | None],
        *,
        longest: int,
        most: int,
        device: torch.device,
        record: Record,
    ) -> None:
        self._body = body
        self._windows = windows
        self._backend = backend
        self._size = backend.block_size
        self._longest = longest
        self._width = -(-longest // backend.block_size)
        self._sizes = [*(size for size in _SIZES if size < most), most]
        self._device = device
        self._record = record
        self._recordings: dict[int, _Recording] = {}

    def warm_up(self) -> None:
        """Record all sizes, the largest first: the others then share its memory."""
        for size in reversed(self._sizes):
            self._recording(size)

    def run(self, rows: list[Row], tokens: list[int] | torch.Tensor) -> Outputs | None:
        """Hidden states and logits of rows that decode; None if there are too many of them.

        They are overwritten by the next step. `tokens` may be on the device still, [n] int64.
        """
        size = next((size for size in self._sizes if size >= len(rows)), None)
        if size is None:
            return None
        recording = self._recording(size)
        known = tokens if isinstance(tokens, list) else [0] * len(rows)
        numbers = [self._numbers(row, token) for row, token in zip(rows, known, strict=True)]
        # What is padded attends to itself, in the block that is nobody's.
        blank = [0, 0, *([NULL_BLOCK, 1] + [NULL_BLOCK] * self._width) * len(self._windows)]
        numbers += [blank] * (size - len(rows))
        recording.numbers.copy_(torch.tensor(numbers), non_blocking=True)
        if isinstance(tokens, torch.Tensor):
            recording.numbers[: len(rows), 0] = tokens
        recording.replay()
        hidden, logits = recording.outputs
        return hidden[: len(rows)], logits[: len(rows)]

    def _numbers(self, row: Row, token: int) -> list[int]:
        """One row of the buffer: token, position, then each group's slot, length and blocks."""
        numbers = [token, row.start]
        for blocks in row.table.blocks:
            block, within = divmod(row.start, self._size)
            numbers += [blocks[block] * self._size + within, row.start + 1]
            mine = blocks[: block + 1]
            numbers += mine + [NULL_BLOCK] * (self._width - len(mine))
        return numbers

    def _recording(self, size: int) -> _Recording:
        if (found := self._recordings.get(size)) is None:
            blank = [0, 0, *([NULL_BLOCK, 1] + [NULL_BLOCK] * self._width) * len(self._windows)]
            numbers = torch.tensor([blank] * size, device=self._device)
            replay, outputs = self._record(lambda: self._compute(numbers))
            found = self._recordings[size] = _Recording(numbers, replay, outputs)
        return found

    def _compute(self, numbers: torch.Tensor) -> Outputs:
        """The step as a function of the buffer alone."""
        plans = []
        at = 2
        for window in self._windows:
            slots, lengths = numbers[:, at].contiguous(), numbers[:, at + 1].int()
            tables = numbers[:, at + 2 : at + 2 + self._width].int()
            plans.append(self._backend.decode_plan(slots, lengths, tables, window, self._longest))
            at += 2 + self._width
        return self._body(numbers[:, 0].contiguous(), numbers[:, 1].contiguous(), plans)


def record_cuda(step: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
    """Record a step as a CUDA graph."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # libraries allocate and choose kernels on the first calls
        for _ in range(2):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = step()
    return graph.replay, outputs
