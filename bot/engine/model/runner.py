"""Runs a scheduled step through the model: chunks of sequences in, logits out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, cast

import torch

from bot.engine.attention.base import BackendChoice, LayerKV, RecordableBackend, Row, Step
from bot.engine.cuda.graphs import DecodeGraphs, Outputs, Record
from bot.engine.model.sampling import Draws, Sampler, begin_draws
from bot.engine.schedule.block_manager import NULL_BLOCK, BlockManager, BlockTable, LayerGroup
from bot.engine.schedule.scheduler import Chunk, Sequence

GetFeatures = Callable[[Sequence, str], torch.Tensor]
"""Returns a picture's soft-token embeddings [tokens, hidden], by sequence and digest."""


@dataclass(slots=True)
class StepResult:
    """What a forward pass computed.

    Attributes:
        sequences: those whose next token can be sampled.
        logits: [n, V], a row for each of `sequences`.
        broken: sequences with NaN or infinity in some hidden state; none of them is in `sequences`.
        scale: [n, 1], what the rows of `logits` are still to be multiplied by; None: nothing.
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
        self._layer_windows = [
            (layer.self_attn.sliding_window, layer.input_layernorm.weight[:0])
            for layer in text_model.layers
        ]
        self.layers, self._compute_logits = choice.build_layers(text_model, head)
        self.step = Step()
        self.pools = self._build_pools()
        self.graphs: DecodeGraphs | None = None

    @torch.inference_mode()
    def record_graphs(self, record: Record, *, max_context: int, max_batch: int) -> None:
        """Record decode steps of up to `max_batch` sequences of `max_context` tokens (graphs.py).

        The backend must be a `RecordableBackend`.
        """
        self.graphs = DecodeGraphs(
            self._decode_step,
            cast(RecordableBackend, self.backend),
            [group.window for group in self.blocks.groups],
            max_context=max_context,
            max_batch=max_batch,
            device=self.device,
            record=record,
        )
        self._recorded_as = (record, max_context, max_batch)
        self.graphs.record_all()

    def with_new_pools(self) -> Self:
        """A runner with the same weights and empty pools; the old ones may still be in use."""
        new = copy.copy(self)
        new.blocks = self.blocks.empty_copy()
        new.step = Step()
        new.pools = new._build_pools()
        if self.graphs is not None:
            record, max_context, max_batch = self._recorded_as
            new.record_graphs(record, max_context=max_context, max_batch=max_batch)
        return new

    @torch.inference_mode()
    def forward(self, chunks: list[Chunk], get_features: GetFeatures) -> StepResult:
        """Compute the chunks and store their K/V in the pool.

        Args:
            chunks: in any order; every sequence at most once.
            get_features: looks up pictures that lie in prefill chunks.
        """
        chunks = sorted(chunks, key=lambda c: (c.num_tokens > 1, -c.end))
        if self.graphs is not None and all(chunk.num_tokens == 1 for chunk in chunks):
            rows = _build_rows(chunks)
            tokens = [chunk.sequence.token_ids[chunk.start] for chunk in chunks]
            if self.backend.supports(rows) and (outputs := self.graphs.run_step(rows, tokens)):
                return self._build_result(chunks, *outputs)
        return self._build_result(chunks, self.compute_hidden(chunks, get_features))

    @torch.inference_mode()
    def launch_decode(
        self, chunks: list[Chunk], samplers: list[Sampler], tokens: torch.Tensor | None
    ) -> Draws | None:
        """Launch a recorded decode step and its draws, without waiting for anything.

        Args:
            chunks: one token each.
            samplers: of each chunk's sequence; all can draw batched.
            tokens: [n] int64, the input tokens where they are on the device only; None: those of
                the sequences.

        Returns:
            The draws; None if this step can't be a recorded one.
        """
        rows = _build_rows(chunks)
        if self.graphs is None or not self.backend.supports(rows):
            return None
        if tokens is None:
            outputs = self.graphs.run_step(rows, [c.sequence.token_ids[c.start] for c in chunks])
        else:
            outputs = self.graphs.run_step(rows, tokens)
        if outputs is None:
            return None
        hidden, logits = outputs
        return begin_draws(logits, samplers, is_valid=torch.isfinite(hidden).all(-1))

    @torch.inference_mode()
    def compute_hidden(self, chunks: list[Chunk], get_features: GetFeatures) -> torch.Tensor:
        """The last hidden states [T, hidden] of chunks: decoding ones first, longest first."""
        embeds, positions = self._prepare_inputs(chunks, get_features)
        rows, groups = _build_rows(chunks), enumerate(self.blocks.groups)
        self.step.begin([self.backend.plan(rows, at, group.window) for at, group in groups])
        return self.layers.forward(embeds, positions, self.pools)

    def _decode_step(
        self, tokens: torch.Tensor, positions: torch.Tensor, plans: list[Any]
    ) -> Outputs:
        """A decode step as a function of tensors alone, so that it can be recorded."""
        self.step.begin(plans)
        embeds = self.model.embed_tokens(tokens)
        hidden = self.layers.forward(embeds, positions, self.pools)
        return hidden, self.compute_logits(hidden)[0]

    @torch.inference_mode()
    def compute_logits(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Hidden states [n, hidden] to logits [n, V] and the rows' scales [n, 1], if any."""
        return self._compute_logits(hidden)

    def zero_uncommitted(self, table: BlockTable, num_computed: int) -> None:
        """Zero what a failed step may have written behind a sequence's first `num_computed` tokens.

        NaN in the pool would spread: a masked key still counts as 0 * NaN. The blocks before are
        finite, and may belong to other sequences too.
        """
        first = num_computed // self.blocks.block_size
        for group, ids in enumerate(table.blocks):
            if used := [block for block in ids[first:] if block != NULL_BLOCK]:
                for pool in self.pools:
                    if pool.group == group:
                        pool.zero_blocks(used)

    def reset_pools(self) -> None:
        """Empty the pools and the prefix cache."""
        self.blocks.reset_pools()
        for pool in self.pools:
            pool.zero_all()

    def _prepare_inputs(
        self, chunks: list[Chunk], get_features: GetFeatures
    ) -> tuple[torch.Tensor, torch.Tensor]:
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
        chunk_row = 0
        for chunk in chunks:
            for span in chunk.sequence.image_spans:
                low, high = max(span.start, chunk.start), min(span.end, chunk.end)
                if low < high:
                    features = get_features(chunk.sequence, span.digest)
                    part = features[low - span.start : high - span.start]
                    first = chunk_row + low - chunk.start
                    embeds[first : first + high - low] = part.to(embeds)
            chunk_row += chunk.num_tokens
        return embeds, torch.tensor(positions, device=device)

    def _build_result(
        self, chunks: list[Chunk], hidden: torch.Tensor, logits: torch.Tensor | None = None
    ) -> StepResult:
        """Sort out which sequences get a token.

        Args:
            hidden: [T, hidden].
            logits: [T, V], where they are computed already.
        """
        finite = read_finite_rows(hidden)
        broken: list[Sequence] = []
        sequences: list[Sequence] = []
        last_rows: list[int] = []
        row = 0
        for chunk in chunks:
            if not all(finite[row : row + chunk.num_tokens]):
                broken.append(chunk.sequence)
            elif chunk.samples_next_token:
                sequences.append(chunk.sequence)
                last_rows.append(row + chunk.num_tokens - 1)
            row += chunk.num_tokens
        if logits is not None and len(last_rows) == len(logits):
            return StepResult(sequences, logits, broken)
        index = torch.tensor(last_rows, dtype=torch.int64, device=hidden.device)
        if logits is not None:
            return StepResult(sequences, logits[index], broken)
        if not last_rows:
            return StepResult([], hidden[index], broken)
        logits, scale = self.compute_logits(hidden[index])
        return StepResult(sequences, logits, broken, scale)

    def _build_pools(self) -> list[LayerKV]:
        pools = []
        for window, like in self._layer_windows:
            group = group_of_window(self.blocks.groups, window)
            num_blocks = self.blocks.groups[group].pool.num_blocks
            pools.append(self.backend.new_pool(self.step, group, num_blocks, like))
        self.layers.bind_pools(pools)
        return pools


def read_finite_rows(hidden: torch.Tensor) -> list[bool]:
    """Which rows of [T, hidden] are finite; waits for the device."""
    finite: list[bool] = torch.isfinite(hidden).all(-1).tolist()
    return finite


def _build_rows(chunks: list[Chunk]) -> list[Row]:
    return [
        Row(c.sequence.block_table, c.sequence.image_spans, c.start, c.num_tokens) for c in chunks
    ]


def group_of_window(groups: tuple[LayerGroup, ...], window: int | None) -> int:
    """Index of the group of layers with this window."""
    return next(number for number, group in enumerate(groups) if group.window == window)
