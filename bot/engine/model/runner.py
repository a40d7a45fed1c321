"""One forward pass over what the scheduler chose: rows in, logits out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, cast

import torch

from bot.engine.attention.base import BackendChoice, LayerKV, RecordableBackend, Row, Step
from bot.engine.cuda.graphs import DecodeGraphs, Outputs, Record
from bot.engine.model.sampling import Draws, Sampler, begin
from bot.engine.schedule.block_manager import NULL_BLOCK, BlockManager, BlockTable, LayerGroup
from bot.engine.schedule.scheduler import Chunk, Sequence

Features = Callable[[Sequence, str], torch.Tensor]
"""Gives a picture's soft-token embeddings [tokens, hidden] by sequence and digest."""


@dataclass(slots=True)
class StepResult:
    """What a forward pass gave.

    `logits` [n, V]: one row for each of `sequences`, to be multiplied by its `scale` [n, 1] if
    there is one. `broken`: sequences some row of which isn't finite; none of their rows is in
    `logits`.
    """

    sequences: list[Sequence]
    logits: torch.Tensor
    broken: list[Sequence]
    scale: torch.Tensor | None = None


class ModelRunner:
    """Runs Gemma 3's text model over the K/V pool.

    Args:
        text_model: a `Gemma3TextModel`; the choice's layers may drop or change its own.
        head: the LM head.
        blocks: the pool's bookkeeping (its groups name the windows), in the backend's block size.
        image_token: id of the soft token, which may lie outside the embedding matrix.
        choice: how the layers are computed.
    """

    def __init__(
        self,
        text_model: Any,
        head: Any,
        blocks: BlockManager,
        image_token: int | None,
        choice: BackendChoice,
    ) -> None:
        self.model = text_model
        self.device = head.weight.device
        self.blocks = blocks
        self.image_token = image_token
        self.config = text_model.config
        self.backend = choice.attention
        self._layout = [
            (layer.self_attn.sliding_window, layer.input_layernorm.weight[:0])
            for layer in text_model.layers
        ]
        self.layers, self._compute_logits = choice.build_layers(text_model, head)
        self.step = Step()
        self.pools = self._build_pools()
        self.graphs: DecodeGraphs | None = None

    @torch.inference_mode()
    def record(self, record: Record, *, longest: int, most: int) -> None:
        """Record decode steps of up to `most` sequences of up to `longest` tokens (graphs.py)."""
        self.graphs = DecodeGraphs(
            self._decode,
            cast(RecordableBackend, self.backend),
            [group.window for group in self.blocks.groups],
            longest=longest,
            most=most,
            device=self.device,
            record=record,
        )
        self._recorded = (record, longest, most)
        self.graphs.warm_up()

    def renewed(self) -> Self:
        """The same weights with an empty pool of its own; the old one may still be in use."""
        new = copy.copy(self)
        new.blocks = self.blocks.empty_copy()
        new.step = Step()
        new.pools = new._build_pools()
        if self.graphs is not None:
            record, longest, most = self._recorded
            new.record(record, longest=longest, most=most)
        return new

    @torch.inference_mode()
    def forward(self, chunks: list[Chunk], features: Features) -> StepResult:
        """Compute the chunks; K/V goes into the pool.

        Args:
            chunks: in any order; every sequence at most once.
            features: looks up pictures that lie in prefill chunks.
        """
        chunks = sorted(chunks, key=lambda c: (c.num_tokens > 1, -c.end))
        if self.graphs is not None and all(chunk.num_tokens == 1 for chunk in chunks):
            rows = self._rows(chunks)
            tokens = [chunk.sequence.token_ids[chunk.start] for chunk in chunks]
            if self.backend.supports(rows) and (outputs := self.graphs.run(rows, tokens)):
                return self._result(chunks, *outputs)
        return self._result(chunks, self.hidden(chunks, features))

    @torch.inference_mode()
    def launch(
        self, chunks: list[Chunk], samplers: list[Sampler], tokens: torch.Tensor | None
    ) -> Draws | None:
        """Begin a recorded decode step and its draws, without waiting for anything.

        Args:
            chunks: one token each.
            samplers: all of which can draw in rows.
            tokens: [n] int64 on the device, if they aren't known here yet.

        Returns:
            The draws; None if this step can't be a recorded one.
        """
        rows = self._rows(chunks)
        if self.graphs is None or not self.backend.supports(rows):
            return None
        known = [] if tokens is not None else [c.sequence.token_ids[c.start] for c in chunks]
        outputs = self.graphs.run(rows, known if tokens is None else tokens)
        if outputs is None:
            return None
        hidden, logits = outputs
        return begin(logits, samplers, good=torch.isfinite(hidden).all(-1))

    @torch.inference_mode()
    def hidden(self, chunks: list[Chunk], features: Features) -> torch.Tensor:
        """The last hidden states [T, hidden] of chunks, decoding ones first, longest first."""
        embeds, positions = self._inputs(chunks, features)
        rows, groups = self._rows(chunks), enumerate(self.blocks.groups)
        self.step.begin([self.backend.plan(rows, at, group.window) for at, group in groups])
        return self.layers.forward(embeds, positions, self.pools)

    def _decode(self, tokens: torch.Tensor, positions: torch.Tensor, plans: list[Any]) -> Outputs:
        """A decode step as a function of tensors alone, so that it can be recorded."""
        self.step.begin(plans)
        embeds = self.model.embed_tokens(tokens)
        hidden = self.layers.forward(embeds, positions, self.pools)
        return hidden, self.logits(hidden)[0]

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Hidden states [n, hidden] to logits [n, V], and the rows' scales [n, 1] if they have."""
        return self._compute_logits(hidden)

    def clear(self, table: BlockTable, computed: int) -> None:
        """Zero what a failed step may have left behind the first `computed` tokens.

        NaN in the pool would spread: a masked key still counts as 0 * NaN. Blocks before are
        known to be finite and may be somebody else's too.
        """
        first = computed // self.blocks.block_size
        for group, ids in enumerate(table.blocks):
            if used := [block for block in ids[first:] if block != NULL_BLOCK]:
                for pool in self.pools:
                    if pool.group == group:
                        pool.zero_blocks(used)

    def reset(self) -> None:
        """Empty pool, nothing published."""
        self.blocks.reset_pools()
        for pool in self.pools:
            pool.zero_all()

    def _inputs(self, chunks: list[Chunk], features: Features) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings [T, hidden] and positions [T]."""
        ids: list[int] = []
        positions: list[int] = []
        for chunk in chunks:
            ids += chunk.sequence.token_ids[chunk.start : chunk.end]
            positions += range(chunk.start, chunk.end)
        table = self.model.embed_tokens
        device = table.weight.device
        tokens = torch.tensor(ids, device=device)
        if self.image_token is not None and self.image_token >= table.num_embeddings:
            tokens = tokens.masked_fill(tokens == self.image_token, 0)
        embeds = table(tokens)
        at = 0
        for chunk in chunks:
            for span in chunk.sequence.image_spans:
                low, high = max(span.start, chunk.start), min(span.end, chunk.end)
                if low < high:
                    rows = features(chunk.sequence, span.digest)[
                        low - span.start : high - span.start
                    ]
                    first = at + low - chunk.start
                    embeds[first : first + high - low] = rows.to(embeds)
            at += chunk.num_tokens
        return embeds, torch.tensor(positions, device=device)

    @staticmethod
    def _rows(chunks: list[Chunk]) -> list[Row]:
        return [
            Row(c.sequence.block_table, c.sequence.image_spans, c.start, c.num_tokens)
            for c in chunks
        ]

    def _result(
        self, chunks: list[Chunk], hidden: torch.Tensor, known: torch.Tensor | None = None
    ) -> StepResult:
        """Which sequences get a token, and from which logits (`known` [T, V], or computed)."""
        finite = torch.isfinite(hidden).all(-1).tolist()
        broken: list[Sequence] = []
        sequences: list[Sequence] = []
        last: list[int] = []
        at = 0
        for chunk in chunks:
            if not all(finite[at : at + chunk.num_tokens]):
                broken.append(chunk.sequence)
            elif chunk.samples_next_token:
                sequences.append(chunk.sequence)
                last.append(at + chunk.num_tokens - 1)
            at += chunk.num_tokens
        if known is not None and len(last) == len(known):
            return StepResult(sequences, known, broken)
        index = torch.tensor(last, dtype=torch.int64, device=hidden.device)
        if known is not None:
            return StepResult(sequences, known[index], broken)
        if not last:
            return StepResult([], hidden[index], broken)
        logits, scale = self.logits(hidden[index])
        return StepResult(sequences, logits, broken, scale)

    def _build_pools(self) -> list[LayerKV]:
        pools = []
        for window, like in self._layout:
            group = group_of(self.blocks.groups, window)
            num_blocks = self.blocks.groups[group].pool.num_blocks
            pools.append(self.backend.new_pool(self.step, group, num_blocks, like))
        self.layers.bind_pools(pools)
        return pools


def group_of(groups: tuple[LayerGroup, ...], window: int | None) -> int:
    """Index of the group of layers with this window."""
    return next(number for number, group in enumerate(groups) if group.window == window)
