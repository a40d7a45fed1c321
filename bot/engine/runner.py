"""One forward pass over what the scheduler chose: rows in, logits out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bot.engine import attention, cpu
from bot.engine.attention import GroupPlan, LayerKV, Row, Step
from bot.engine.blocks import NULL, Group, KVBlocks, Table
from bot.engine.scheduler import Chunk, Sequence

Features = Callable[[Sequence, str], torch.Tensor]
"""Gives a picture's soft-token embeddings [tokens, hidden] by sequence and digest."""


@dataclass(slots=True)
class StepResult:
    """What a forward pass gave.

    `logits` [n, V]: one row for each of `sequences`. `broken`: sequences some row of which isn't
    finite; none of their rows is in `logits`.
    """

    sequences: list[Sequence]
    logits: torch.Tensor
    broken: list[Sequence]


class ModelRunner:
    """Runs transformers' Gemma 3 text model over the K/V pool.

    Args:
        text_model: a `Gemma3TextModel`; its attention is switched to the paged one.
        head: the LM head.
        blocks: the pool's bookkeeping (its groups name the windows).
        image_token: id of the soft token, which may lie outside the embedding matrix.
    """

    def __init__(
        self, text_model: Any, head: Any, blocks: KVBlocks, image_token: int | None
    ) -> None:
        self.model = text_model
        self.head_device = head.weight.device
        self.head = head
        self.blocks = blocks
        self.image_token = image_token
        self.config = text_model.config
        self.step = Step()
        self.layers = self._build_pool()
        weight = text_model.embed_tokens.weight
        if weight.device.type == "cpu" and weight.dtype == torch.bfloat16:
            self.head = cpu.pack(text_model, head)
        text_model.set_attn_implementation(attention.NAME)

    @torch.inference_mode()
    def forward(self, chunks: list[Chunk], features: Features) -> StepResult:
        """Compute the chunks; K/V goes into the pool.

        Args:
            chunks: in any order; every sequence at most once.
            features: looks up pictures that lie in prefill chunks.
        """
        chunks = sorted(chunks, key=lambda c: (c.count > 1, -c.end))
        embeds, positions = self._inputs(chunks, features)
        self.step.begin(self._plan(chunks))
        hidden = self.model(
            inputs_embeds=embeds[None],
            position_ids=positions[None],
            # The paged attention needs no masks; a dict keeps transformers from making some.
            attention_mask={"full_attention": None, "sliding_attention": None},
            use_cache=False,
        ).last_hidden_state[0]
        return self._logits(chunks, hidden)

    def clear(self, table: Table, computed: int) -> None:
        """Zero what a failed step may have left behind the first `computed` tokens.

        NaN in the pool would spread: a masked key still counts as 0 * NaN. Blocks before are
        known to be finite and may be somebody else's too.
        """
        first = computed // self.blocks.block_size
        for group, ids in enumerate(table.blocks):
            if used := [block for block in ids[first:] if block != NULL]:
                for layer in self.layers:
                    if layer.group == group:
                        layer.clear(used)

    def reset(self) -> None:
        """Empty pool, nothing published."""
        self.blocks.reset()
        for layer in self.layers:
            layer.keys.zero_()
            layer.values.zero_()

    def _inputs(self, chunks: list[Chunk], features: Features) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings [T, hidden] and positions [T]."""
        ids: list[int] = []
        positions: list[int] = []
        for chunk in chunks:
            ids += chunk.sequence.tokens[chunk.start : chunk.end]
            positions += range(chunk.start, chunk.end)
        table = self.model.embed_tokens
        device = table.weight.device
        tokens = torch.tensor(ids, device=device)
        if self.image_token is not None and self.image_token >= table.num_embeddings:
            tokens = tokens.masked_fill(tokens == self.image_token, 0)
        embeds = table(tokens)
        at = 0
        for chunk in chunks:
            for span in chunk.sequence.spans:
                low, high = max(span.start, chunk.start), min(span.end, chunk.end)
                if low < high:
                    rows = features(chunk.sequence, span.digest)[
                        low - span.start : high - span.start
                    ]
                    first = at + low - chunk.start
                    embeds[first : first + high - low] = rows.to(embeds)
            at += chunk.count
        return embeds, torch.tensor(positions, device=device)

    def _plan(self, chunks: list[Chunk]) -> list[GroupPlan]:
        rows = [Row(c.sequence.table, c.sequence.spans, c.start, c.count) for c in chunks]
        size = self.blocks.block_size
        return [
            attention.plan_group(rows, number, group.window, size)
            for number, group in enumerate(self.blocks.groups)
        ]

    def _logits(self, chunks: list[Chunk], hidden: torch.Tensor) -> StepResult:
        finite = torch.isfinite(hidden).all(-1).tolist()
        broken: list[Sequence] = []
        sequences: list[Sequence] = []
        last: list[int] = []
        at = 0
        for chunk in chunks:
            if not all(finite[at : at + chunk.count]):
                broken.append(chunk.sequence)
            elif chunk.samples:
                sequences.append(chunk.sequence)
                last.append(at + chunk.count - 1)
            at += chunk.count
        rows = hidden[torch.tensor(last, dtype=torch.int64, device=hidden.device)]
        logits = self.head(rows.to(self.head_device))
        cap = getattr(self.config, "final_logit_softcapping", None)
        if cap is not None:
            logits = torch.tanh(logits / cap) * cap
        return StepResult(sequences, logits, broken)

    def _build_pool(self) -> list[LayerKV]:
        layers = []
        for layer in self.model.layers:
            attn = layer.self_attn
            width = self.config.num_key_value_heads * attn.head_dim
            number = group_of(self.blocks.groups, attn.sliding_window)
            attn.parley_kv = LayerKV(
                self.step,
                number,
                self.config.num_key_value_heads,
                self.blocks.groups[number].pool.size,
                attn.k_proj.weight,
                self.blocks.block_size,
                width,
            )
            layers.append(attn.parley_kv)
        return layers


def group_of(groups: tuple[Group, ...], window: int | None) -> int:
    """Index of the group of layers with this window."""
    return next(number for number, group in enumerate(groups) if group.window == window)
