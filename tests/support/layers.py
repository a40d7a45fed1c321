"""Drives the decoder layers of a model by hand: sequences of embeddings over a K/V pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bot.engine.attention.base import Row, Step
from bot.engine.prompt import ImageSpan
from bot.engine.schedule.block_manager import BlockManager, BlockPool, BlockTable, LayerGroup


@dataclass
class Text:
    """A sequence: `embeds` [n, hidden]."""

    embeds: torch.Tensor
    table: BlockTable
    spans: tuple[ImageSpan, ...] = ()


class Layers:
    """A `LeanGemma` (or one on kernels) with a pool of its own.

    Args:
        backend: whose pools it attends over.
        windows: of its layers, None where a layer sees everything.
    """

    def __init__(
        self, model: Any, backend: Any, windows: Sequence[int | None], *, blocks: int = 64
    ) -> None:
        self.model = model
        self.backend = backend
        groups = tuple(LayerGroup(window, BlockPool(blocks)) for window in dict.fromkeys(windows))
        self.blocks = BlockManager(backend.block_size, groups)
        self.step = Step()
        numbers = {group.window: at for at, group in enumerate(groups)}
        self.pools: list[Any] = [
            self.backend.new_pool(self.step, numbers[window], blocks, torch.empty(0))
            for window in windows
        ]

    def text(self, embeds: torch.Tensor, spans: tuple[ImageSpan, ...] = ()) -> Text:
        """A new sequence with room for all of it."""
        table = self.blocks.new_table()
        assert self.blocks.allocate_blocks(table, len(embeds))
        return Text(embeds, table, spans)

    def run(self, *parts: tuple[Text, int, int]) -> list[torch.Tensor]:
        """One step over rows `start` to `end` of some texts: their last hidden states."""
        order = sorted(
            range(len(parts)), key=lambda at: (parts[at][2] - parts[at][1] > 1, -parts[at][2])
        )
        asked, parts = len(parts), tuple(parts[at] for at in order)
        rows = [Row(text.table, text.spans, start, end - start) for text, start, end in parts]
        groups = enumerate(self.blocks.groups)
        self.step.begin([self.backend.plan(rows, at, group.window) for at, group in groups])
        embeds = torch.cat([text.embeds[start:end] for text, start, end in parts])
        positions = torch.cat([torch.arange(start, end) for _, start, end in parts])
        found = self.model.forward(embeds, positions, self.pools)
        split = torch.split(found, [end - start for _, start, end in parts])
        return [split[order.index(at)] for at in range(asked)]
