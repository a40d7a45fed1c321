"""Decode steps recorded once and replayed (CUDA graphs), for batches of a few sizes.

A decode step is hundreds of small kernels. Launched one by one from Python, they take several
times as long as they run. A recorded step is one launch, but its shapes and addresses are fixed.
So every batch size has a recording of its own, smaller batches are padded, and everything that
changes from step to step (tokens, positions, slots, block tables) lies in one buffer of integers,
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
DecodeStep = Callable[[torch.Tensor, torch.Tensor, list[Any]], Outputs]
"""Computes a step from token ids [n], positions [n] and the groups' plans."""
Record = Callable[[Callable[[], Outputs]], tuple[Callable[[], None], Outputs]]
"""Records a step; returns what replays it, and where its outputs will lie."""

_BATCH_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True, slots=True)
class _Recording:
    """`inputs` [batch, columns] int64, on the device; see `DecodeGraphs._row_inputs`."""

    inputs: torch.Tensor
    replay: Callable[[], None]
    outputs: Outputs


class DecodeGraphs:
    """Recorded decode steps over one pool.

    Args:
        decode_step: the step to record.
        backend: plans the steps.
        windows: each layer group's window.
        max_context: tokens of the longest sequence.
        max_batch: sequences in the largest batch.
        record: how to record; `record_cuda`, except in tests.
    """

    def __init__(
        self,
        decode_step: DecodeStep,
        backend: RecordableBackend,
        windows: list[int | None],
        *,
        max_context: int,
        max_batch: int,
        device: torch.device,
        record: Record,
    ) -> None:
        self._decode_step = decode_step
        self._backend = backend
        self._windows = windows
        self._max_context = max_context
        self._table_width = -(-max_context // backend.block_size)
        self._batch_sizes = [*(size for size in _BATCH_SIZES if size < max_batch), max_batch]
        self._device = device
        self._record = record
        self._recordings: dict[int, _Recording] = {}

    def record_all(self) -> None:
        """Record all batch sizes, the largest first: the others then reuse its memory."""
        for batch_size in reversed(self._batch_sizes):
            self._get_recording(batch_size)

    def run_step(self, rows: list[Row], tokens: list[int] | torch.Tensor) -> Outputs | None:
        """Hidden states and logits of decoding rows; None if there are too many of them.

        The next step overwrites them. `tokens` [n] int64 may still be on the device.
        """
        batch_size = next((size for size in self._batch_sizes if size >= len(rows)), None)
        if batch_size is None:
            return None
        recording = self._get_recording(batch_size)
        token_ids = tokens if isinstance(tokens, list) else [0] * len(rows)
        inputs = [self._row_inputs(row, token) for row, token in zip(rows, token_ids, strict=True)]
        inputs += [self._padding_row()] * (batch_size - len(rows))
        recording.inputs.copy_(torch.tensor(inputs), non_blocking=True)
        if isinstance(tokens, torch.Tensor):
            recording.inputs[: len(rows), 0] = tokens
        recording.replay()
        hidden, logits = recording.outputs
        return hidden[: len(rows)], logits[: len(rows)]

    def _row_inputs(self, row: Row, token: int) -> list[int]:
        """Token and position, then each group's slot, context length and block table."""
        block_size = self._backend.block_size
        inputs = [token, row.start]
        for blocks in row.table.blocks:
            block, offset = divmod(row.start, block_size)
            inputs += [blocks[block] * block_size + offset, row.start + 1]
            visible = blocks[: block + 1]
            inputs += visible + [NULL_BLOCK] * (self._table_width - len(visible))
        return inputs

    def _padding_row(self) -> list[int]:
        """A row that attends to itself, in the null block."""
        group = [NULL_BLOCK, 1] + [NULL_BLOCK] * self._table_width
        return [0, 0, *group * len(self._windows)]

    def _get_recording(self, batch_size: int) -> _Recording:
        recording = self._recordings.get(batch_size)
        if recording is None:
            inputs = torch.tensor([self._padding_row()] * batch_size, device=self._device)
            replay, outputs = self._record(lambda: self._compute_step(inputs))
            recording = self._recordings[batch_size] = _Recording(inputs, replay, outputs)
        return recording

    def _compute_step(self, inputs: torch.Tensor) -> Outputs:
        """The step as a function of the buffer alone."""
        plans = []
        column = 2
        for window in self._windows:
            slots, lengths = inputs[:, column].contiguous(), inputs[:, column + 1].int()
            tables = inputs[:, column + 2 : column + 2 + self._table_width].int()
            plan = self._backend.decode_plan(slots, lengths, tables, window, self._max_context)
            plans.append(plan)
            column += 2 + self._table_width
        return self._decode_step(inputs[:, 0].contiguous(), inputs[:, 1].contiguous(), plans)


def record_cuda(
    step: Callable[[], Outputs], graph: torch.cuda.CUDAGraph | None = None
) -> tuple[Callable[[], None], Outputs]:
    """Record a step as a CUDA graph: a new one, or the one given."""
    warm_up = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    warm_up.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm_up):  # libraries allocate and choose kernels on the first calls
        for _ in range(2):
            step()
    torch.cuda.current_stream().wait_stream(warm_up)
    graph = torch.cuda.CUDAGraph() if graph is None else graph
    with torch.cuda.graph(graph):
        outputs = step()
    return graph.replay, outputs
