"""A backend as small as can be: one file, and `register()` is its one registration.

Its pool, plan and block size are its own. It gathers, for every token, the slots that the token
sees; see docs/batcher.md, "Adding a backend".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from bot.engine.attention.base import BackendChoice, BackendQuery, Row, Step
from bot.engine.attention.module_layers import build_module_layers
from bot.engine.attention.registry import register_backend, unregister_backend

NAME = "toy"
BLOCK_SIZE = 5


def propose(query: BackendQuery) -> BackendChoice:
    return BackendChoice(
        ToyBackend(query.config), build_module_layers, load_dtype=query.dtype, weights="float32"
    )


@contextmanager
def registered() -> Iterator[None]:
    """In here it is the best backend for any device."""
    register_backend(NAME, propose, rank=0)
    try:
        yield
    finally:
        unregister_backend(NAME)


class ToyBackend:
    name = NAME
    block_size = BLOCK_SIZE

    def __init__(self, config: Any) -> None:
        self._shape = 2, config.num_key_value_heads, config.head_dim
        self.bytes_per_token = 2 * config.num_key_value_heads * config.head_dim * 4

    def supports(self, rows: Sequence[Row]) -> bool:
        return True

    def plan(self, rows: Sequence[Row], group: int, window: int | None) -> ToyPlan:
        slots, visible = [], []
        for row in rows:
            table = row.table.blocks[group]
            places = [block * BLOCK_SIZE + at for block in table for at in range(BLOCK_SIZE)]
            for position in range(row.start, row.end):
                low, high = 0 if window is None else max(0, position - window + 1), position + 1
                for span in row.spans:
                    if span.start <= position < span.end:
                        high = span.end
                slots.append(places[position])
                visible.append(places[low:high])
        width = max(map(len, visible))
        mask = torch.tensor([[at < len(seen) for at in range(width)] for seen in visible])
        padded = [seen + seen[:1] * (width - len(seen)) for seen in visible]
        return ToyPlan(torch.tensor(slots), torch.tensor(padded), mask[:, None])

    def new_pool(self, step: Step, group: int, num_blocks: int, like: torch.Tensor) -> ToyKV:
        shape = ((num_blocks + 1) * BLOCK_SIZE, *self._shape)
        return ToyKV(step, group, torch.full(shape, float("nan")))


@dataclass
class ToyPlan:
    """`slots` [T]: a token's own; `visible` [T, n]: those that it sees; `mask` [T, 1, n]."""

    slots: torch.Tensor
    visible: torch.Tensor
    mask: torch.Tensor


class ToyKV:
    """`states` [slots, 2, kv_heads, head_dim]; what was never written is NaN."""

    dtype = torch.float32

    def __init__(self, step: Step, group: int, states: torch.Tensor) -> None:
        self.step, self.group, self.states = step, group, states

    def attend(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
    ) -> torch.Tensor:
        plan = self.step.plan(self.group)
        self.states[plan.slots] = torch.stack([keys, values], 1)
        shared = queries.shape[1] // keys.shape[1]
        key, value = self.states[plan.visible].repeat_interleave(shared, 3).unbind(2)
        scores = torch.einsum("thd,tnhd->thn", queries, key) * scale
        weights = scores.masked_fill(~plan.mask, float("-inf")).softmax(-1)
        return torch.einsum("thn,tnhd->thd", weights, value)

    def zero_blocks(self, blocks: list[int]) -> None:
        for block in blocks:
            self.states[block * BLOCK_SIZE : (block + 1) * BLOCK_SIZE] = 0

    def zero_all(self) -> None:
        self.states.zero_()
