"""The contract between the model runner and what computes a model's decoder layers.

A backend computes attention over the paged K/V pool. The runner asks it for one plan per layer
group and step, hands the plans to `Step`, and runs the layers; each layer's `LayerKV` fetches its
plan there. The runner never looks into a plan. `registry.py` chooses the backend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import get_ident
from typing import Any, Protocol, TypeAlias

import torch

from bot.engine.prompt import ImageSpan
from bot.engine.schedule.block_manager import BlockTable


@dataclass(frozen=True, slots=True)
class Row:
    """One scheduled chunk: `count` consecutive tokens of a sequence, from position `start` on.

    Attributes:
        table: the sequence's block table; it covers all positions below `end`.
        spans: where the soft tokens of the sequence's pictures lie. Those of one picture see each
            other in both directions; a chunk never cuts a picture.
    """

    table: BlockTable
    spans: tuple[ImageSpan, ...]
    start: int
    count: int

    @property
    def end(self) -> int:
        """The position behind the chunk."""
        return self.start + self.count

    @property
    def has_image_tokens(self) -> bool:
        """Whether some token of the chunk is a picture's soft token."""
        end = self.start + self.count
        return any(span.start < end and self.start < span.end for span in self.spans)


def slot_mapping(rows: Sequence[Row], group: int, block_size: int) -> list[int]:
    """Where each of a step's tokens puts its K/V: block * block_size + offset."""
    return [
        row.table.blocks[group][position // block_size] * block_size + position % block_size
        for row in rows
        for position in range(row.start, row.start + row.count)
    ]


class StaleStep(RuntimeError):
    """A thread that hung and was replaced has come back: it must not touch the pool."""


class Step:
    """The plans of the forward pass under way, shared by all layers of one model."""

    def __init__(self) -> None:
        self._plans: Sequence[Any] = ()
        self._thread = 0

    def begin(self, plans: Sequence[Any]) -> None:
        """Set the plans of the calling thread's next forward pass, one per layer group."""
        self._plans = plans
        self._thread = get_ident()

    def plan(self, group: int) -> Any:
        """The plan of a layer group, as the backend made it.

        Raises:
            StaleStep: another thread began this step; the calling one hung and was replaced.
        """
        if get_ident() != self._thread:
            raise StaleStep
        return self._plans[group]


class LayerKV(Protocol):
    """One layer's keys and values: block ids 0 to `num_blocks`, of which 0 is never handed out.

    Padding may read and write block 0; what lies in it must never reach a result.
    """

    @property
    def group(self) -> int:
        """The layer group whose block tables and plans are this layer's."""
        ...

    def zero_blocks(self, blocks: list[int]) -> None:
        """Erase what a failed sequence may have left in blocks, so that NaN can't spread."""
        ...

    def zero_all(self) -> None:
        """Erase everything."""
        ...


class AttendingKV(LayerKV, Protocol):
    """A `LayerKV` that layers call for attention; others are read by fused layers directly."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of keys and values, and that queries must have."""
        ...

    def attend(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Store the step's keys and values, then attend.

        Args:
            queries: [T, heads, head_dim], RoPE applied.
            keys, values: [T, kv_heads, head_dim], RoPE applied to the keys.
            scale: the factor of the scores.

        Returns:
            [T, heads, head_dim]

        Raises:
            StaleStep: the step under way is another thread's.
        """
        ...


class AttentionBackend(Protocol):
    """Attention over the K/V pool, for one model's shapes on one device."""

    @property
    def name(self) -> str:
        """What logs call it, e.g. "sdpa"."""
        ...

    @property
    def block_size(self) -> int:
        """Tokens in a K/V block."""
        ...

    @property
    def bytes_per_token(self) -> int:
        """Bytes that one token's keys and values take in one layer."""
        ...

    def supports(self, rows: Sequence[Row]) -> bool:
        """Whether the backend's own kernel computes a step of these rows.

        A step that isn't supported is still planned and computed, by something slower, and is
        never recorded.
        """
        ...

    def plan(self, rows: Sequence[Row], group: int, window: int | None) -> Any:
        """Plan a step for one group of layers.

        Args:
            rows: decoding ones (count 1) first, longest first; then prefill chunks. The step's T
                tokens are theirs, one row behind another.
            group: index into each table's `blocks`.
            window: how many tokens a query sees, itself included; None for all.

        Returns:
            What this backend's `LayerKV`s get from `Step.plan`; nobody else looks into it.
        """
        ...

    def new_pool(self, step: Step, group: int, num_blocks: int, like: torch.Tensor) -> LayerKV:
        """Allocate one layer's keys and values, zeroed.

        Args:
            step: where the layer finds the plan of the step under way.
            group: the layer's group.
            num_blocks: blocks that can be handed out: ids 1 to `num_blocks`.
            like: has the layer's device and the model's dtype.

        Raises:
            torch.OutOfMemoryError, RuntimeError: the device has no room.
        """
        ...


class RecordableBackend(AttentionBackend, Protocol):
    """A backend whose decode steps can be recorded (CUDA graphs): plans from tensors alone."""

    def decode_plan(
        self,
        slot_mapping: torch.Tensor,
        context_lens: torch.Tensor,
        block_tables: torch.Tensor,
        window: int | None,
        max_context: int,
    ) -> Any:
        """Plan a decode step of one group of layers; no host synchronization, no shape from data.

        Args:
            slot_mapping: [n] int64, block * block_size + offset: where each new token's K/V goes.
            context_lens: [n] int32, how many tokens each row sees, window aside, itself included.
            block_tables: [n, max_context / block_size, rounded up] int32; padded with block 0.
            window: as for `plan`.
            max_context: the longest sequence, in tokens.
        """
        ...


class DecoderLayers(Protocol):
    """A model's decoder layers and last norm, over the pools of one backend."""

    def bind_pools(self, pools: Sequence[Any]) -> None:
        """Use these pools, one per layer, from now on: they are new, or a worker took over."""
        ...

    def forward(
        self, embeds: torch.Tensor, positions: torch.Tensor, pools: Sequence[Any]
    ) -> torch.Tensor:
        """Run one step by the plans that `Step.begin` was given.

        Args:
            embeds: [T, hidden], any float dtype; not written to.
            positions: [T] int64.
            pools: each layer's `LayerKV`, those last bound.

        Returns:
            [T, hidden], normalized.

        Raises:
            StaleStep: the step under way is another thread's.
        """
        ...


ComputeLogits: TypeAlias = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]]
"""The LM head: hidden [n, hidden] to logits [n, V] and, where rows are still to be multiplied by
a scale of their own, that scale [n, 1]."""

BuildLayers: TypeAlias = Callable[[Any, Any], tuple[DecoderLayers, ComputeLogits]]
"""Makes the layers and the LM head that run, of a `Gemma3TextModel` and its head. May drop the
model's own weights; its embedding table and rotary embedding stay."""


@dataclass(frozen=True, slots=True)
class BackendQuery:
    """What backends are chosen for: shapes, a device and settings; no weights.

    Attributes:
        config: the text model's configuration (`Gemma3TextConfig`).
        device: where the model runs.
        dtype: what the model computes in.
        dtype_is_set: `dtype` is the operator's choice; else a backend may load another.
        quantize: PARLEY_QUANTIZE.
        block_size: tokens in a K/V block, where a backend leaves the choice.
        spread: the layers are spread over several devices.
    """

    config: Any
    device: torch.device
    dtype: torch.dtype
    dtype_is_set: bool = True
    quantize: str = "none"
    block_size: int = 16
    spread: bool = False


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something faster than what runs, and why it doesn't.

    `is_expected`: nothing is slower than the operator expects, since a setting asks for something
    else or the machine is no faster with it.
    """

    name: str
    reason: str
    is_expected: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class BackendRejected(Exception):
    """A backend can't serve a query; the text is the reason, in a few words for the operator.

    `is_expected`: see `Rejection`.
    """

    def __init__(self, reason: str, *, is_expected: bool = False) -> None:
        super().__init__(reason)
        self.is_expected = is_expected


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """How the decoder layers are computed: what a backend proposes, and `choose_backend` returns.

    Attributes:
        attention: the backend, for the query's shapes and device.
        build_layers: makes the layers that run on it.
        load_dtype: the dtype in which the checkpoint is to be loaded.
        weights: the format of the linear layers' weights, as the operator knows it: "int8",
            "bfloat16", ...
        records_graphs: decode steps are to be recorded as CUDA graphs.
        rejections: everything faster, with the reason why it doesn't run. A backend names what of
            its own it goes without; `choose_backend` adds the backends before it.
        name: as registered; `choose_backend` fills it in.
    """

    attention: AttentionBackend
    build_layers: BuildLayers
    load_dtype: torch.dtype
    weights: str
    records_graphs: bool = False
    rejections: tuple[Rejection, ...] = ()
    name: str = ""

    @property
    def slower_than_expected(self) -> tuple[Rejection, ...]:
        """The rejections that an operator must hear of."""
        return tuple(rejection for rejection in self.rejections if not rejection.is_expected)


ProposeBackend: TypeAlias = Callable[[BackendQuery], BackendChoice]
"""A backend's answer to a query. Raises BackendRejected; tries its kernels before it promises
them. Anything else it raises counts as a rejection too."""
