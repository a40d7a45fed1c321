"""The Triton backend: one attention kernel for all of a step, and fused layers around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from bot.engine.attention.base import ComputeLogits, DecoderLayers, Row, Step
from bot.engine.attention.module_layers import build_module_layers, module_logits
from bot.engine.cuda.attention_plan import AttentionPlan, build_plan, decode_plan
from bot.engine.cuda.fused_model import FusedGemma
from bot.engine.cuda.layer_kernels import write_kv
from bot.engine.cuda.triton_attention import paged_attention, tile_config


def build_layers(text_model: Any, head: Any) -> tuple[DecoderLayers, ComputeLogits]:
    """A `BuildLayers`: the fused layers, or the model's own where they compute something else."""
    if FusedGemma.unsupported(text_model.config):
        return build_module_layers(text_model, head)
    return FusedGemma(text_model), module_logits(text_model.config, head, head.weight.device)


class TritonBackend:
    """See `RecordableBackend`; pools are [blocks, block_size, kv_heads, head_dim]."""

    name = "triton"

    def __init__(
        self, config: Any, device: torch.device, dtype: torch.dtype, block_size: int
    ) -> None:
        self.block_size = block_size
        self._device = device
        self._shape = (block_size, config.num_key_value_heads, config.head_dim)
        self.bytes_per_token = 2 * config.num_key_value_heads * config.head_dim * dtype.itemsize
        self._group_size = config.num_attention_heads // config.num_key_value_heads
        self._tiles = [tile_config(self._group_size, dtype, prefill) for prefill in (False, True)]

    def supports(self, rows: Sequence[Row]) -> bool:
        return True

    def plan(self, rows: Sequence[Row], group: int, window: int | None) -> AttentionPlan:
        tile = self._tiles[any(row.count > 1 for row in rows)]
        return build_plan(
            rows,
            group,
            window,
            block_size=self.block_size,
            block_q=tile.block_q(self._group_size),
            block_n=tile.block_n,
            device=self._device,
        )

    def decode_plan(
        self,
        slot_mapping: torch.Tensor,
        context_lens: torch.Tensor,
        block_tables: torch.Tensor,
        window: int | None,
        max_context: int,
    ) -> AttentionPlan:
        return decode_plan(
            slot_mapping, context_lens, block_tables, window, max_context, self._tiles[0].block_n
        )

    def new_pool(self, step: Step, group: int, num_blocks: int, like: torch.Tensor) -> TritonKV:
        shape = (num_blocks + 1, *self._shape)
        return TritonKV(
            step,
            group,
            torch.zeros(shape, dtype=like.dtype, device=like.device),
            torch.zeros(shape, dtype=like.dtype, device=like.device),
        )


class TritonKV:
    """See `AttendingKV`."""

    def __init__(
        self, step: Step, group: int, key_cache: torch.Tensor, value_cache: torch.Tensor
    ) -> None:
        self.group = group
        self.key_cache = key_cache
        self.value_cache = value_cache
        self._step = step

    @property
    def dtype(self) -> torch.dtype:
        return self.key_cache.dtype

    @property
    def slot_mapping(self) -> torch.Tensor:
        """Where the step's keys and values go, [T] int32."""
        plan: AttentionPlan = self._step.plan(self.group)
        return plan.slot_mapping

    def attend(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
    ) -> torch.Tensor:
        write_kv(keys, values, self.slot_mapping, self.key_cache, self.value_cache)
        return self.attend_written(queries, scale)

    def attend_written(self, queries: torch.Tensor, scale: float) -> torch.Tensor:
        """Attention of queries [T, heads, head_dim] when the step's keys are in the pool."""
        plan: AttentionPlan = self._step.plan(self.group)
        return paged_attention(queries, self.key_cache, self.value_cache, plan, scale)

    def zero_blocks(self, blocks: list[int]) -> None:
        index = torch.tensor(blocks, device=self.key_cache.device)
        self.key_cache.index_fill_(0, index, 0)
        self.value_cache.index_fill_(0, index, 0)

    def zero_all(self) -> None:
        self.key_cache.zero_()
        self.value_cache.zero_()
