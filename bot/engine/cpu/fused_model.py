"""Gemma 3 in 8 bits on Parley's own kernels: all decoder layers of a step are one call.

The same as `LeanGemma` on `Int8Linear`, more than twice as fast for one row. Products, norms,
quantization, RoPE, attention and GELU are those of `layer_kernels.py` and `attention_kernel.py` at
every batch size, so a row has the same bits alone and in a batch; they differ slightly from
PyTorch's.

Whatever a call needs besides the weights it makes for itself, so threads may call at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bot.engine.cpu import attention_kernel, jit, layer_kernels
from bot.engine.cpu.int8_linear import Int8Linear, exact
from bot.engine.cpu.jit import PANEL, STEP_BYTES
from bot.engine.cpu.layer_kernels import JOB, STAGES
from bot.engine.cpu.lean_model import LeanGemma


def works() -> bool:
    """Are the kernels exact here?"""
    return exact(FusedLinear)


class FusedLinear(Int8Linear):
    """A linear layer in 8 bits whose weight lies as the kernels read it, once for all batches."""

    def _lay_out(self, whole: torch.Tensor, single: bool) -> None:
        self._outputs = len(whole)
        self._packed = layer_kernels.pack(whole)
        self._scales = torch.nn.functional.pad(self._scales, (0, self.width - self._outputs))

    @property
    def width(self) -> int:
        """Outputs, filled up to whole panels."""
        return int(self._packed.shape[0]) * PANEL

    @property
    def steps(self) -> int:
        """Instructions for one row's products."""
        return int(self._packed.shape[1])

    def described(self) -> tuple[int, int, int, int]:
        """A job's `LINEAR`."""
        panels = int(self._packed.shape[0])
        return self._packed.data_ptr(), self._scales.data_ptr(), panels, self.steps

    def unscaled(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The product [n, out], each row of which is still to be multiplied by its scale [n, 1]."""
        rows, count = rows.float().contiguous(), len(rows)
        room = _Room(count, self.steps)
        product, ones = torch.empty(count, self.width), torch.ones(count)
        job = np.zeros(1, JOB)
        room.describe(job)
        job["linear"], job["width"] = self.described(), rows.shape[1]
        _addresses(job, rows=rows, product=product, ones=ones)
        jit.run(layer_kernels.linear, job.ctypes.data)
        return product[:, : self._outputs], room.sizes[:, None]


class FusedGemma(LeanGemma):
    """`LeanGemma` on `FusedLinear`, with all layers of a step in one call."""

    def __init__(self, text_model: Any) -> None:
        super().__init__(text_model, FusedLinear)
        config = text_model.config
        jobs = self._jobs = np.zeros(len(self._layers), JOB)  # what is the same in every step
        jobs["layers"] = len(jobs)
        jobs["eps"] = config.rms_norm_eps
        jobs["width"] = config.hidden_size
        jobs["query_heads"] = self._queries
        jobs["kv_heads"] = self._keys
        jobs["dim"] = self._dim
        jobs["scale"] = [layer.scale for layer in self._layers]
        jobs["pool"]["most"] = attention_kernel.bound(self._dim)
        jobs["scratch_size"] = attention_kernel.room(self._queries // self._keys, self._dim)
        jobs["attended_width"] = self._queries * self._dim
        jobs["hidden"] = config.intermediate_size
        norms = ("before_attention", "after_attention", "before_mlp", "after_mlp", "head_norms")
        for job, layer in zip(jobs, self._layers, strict=True):
            for name in norms:
                job[name] = getattr(layer, name).data_ptr()
            for name in ("qkv", "out", "gate_up", "down"):
                job[name] = getattr(layer, name).described()

    @staticmethod
    def can_run(config: Any, block_size: int) -> bool:
        """Do a head and a block divide into the 16s that attention works in?"""
        return not (
            config.head_dim % attention_kernel.TOGETHER or block_size % attention_kernel.TOGETHER
        )

    def forward(
        self, embeds: torch.Tensor, positions: torch.Tensor, pools: Sequence[Any]
    ) -> torch.Tensor:
        """One step; as `LeanGemma.forward`, but over the pools of `Int16Backend`."""
        count, one = len(embeds), self._layers[0]
        linears: list[Any] = [one.qkv, one.out, one.gate_up, one.down]
        rows = embeds.to(torch.float32, copy=True).contiguous()
        room = _Room(count, max(linear.steps for linear in linears), len(self._layers))
        states, gated = torch.empty(count, linears[0].width), torch.empty(count, linears[2].width)
        product = torch.empty(count, max(linears[1].width, linears[3].width))
        attended = torch.empty(count, self._queries * self._dim)
        jobs = self._jobs.copy()
        scratch = torch.empty(
            torch.get_num_threads() * int(jobs["scratch_size"][0]), dtype=torch.uint8
        )
        room.describe(jobs)
        _addresses(jobs, rows=rows, states=states, gated=gated, product=product, attended=attended,
                   scratch=scratch)  # fmt: skip
        turns = {kind: self._turn(positions, kind) for kind in self._kinds}
        jobs["cos"] = [turns[layer.kind][0].data_ptr() for layer in self._layers]
        jobs["sin"] = [turns[layer.kind][1].data_ptr() for layer in self._layers]
        for job, pool in zip(jobs["pool"], pools, strict=True):
            plan = pool.plan()
            job["size"], job["tiles_count"] = pool.size, len(plan.tiles)
            for name in ("keys", "values", "key_sizes", "value_sizes"):
                job[name] = getattr(pool, name).data_ptr()
            for name in ("slots", "lows", "highs", "tables", "tiles"):
                job[name] = getattr(plan, name).ctypes.data
        jit.run(layer_kernels.layers, jobs.ctypes.data)
        return self._rms(rows, self._norm)


class _Room:
    """Room for a linear layer's rounded rows, and for counting the shares of some jobs' stages."""

    def __init__(self, count: int, steps: int, jobs: int = 1) -> None:
        self.count = count
        self.taken = torch.zeros(jobs, STAGES, dtype=torch.int64)
        self.levels = torch.empty(count, steps * STEP_BYTES, dtype=torch.uint8)
        self.sizes = torch.empty(count)
        self.starts = torch.empty(count, dtype=torch.int32)

    def describe(self, jobs: np.ndarray[Any, Any]) -> None:
        """Fill it into the jobs."""
        jobs["count"] = self.count
        jobs["taken"] = self.taken.data_ptr() + np.arange(len(jobs)) * (8 * STAGES)
        _addresses(jobs, levels=self.levels, sizes=self.sizes, starts=self.starts)


def _addresses(jobs: np.ndarray[Any, Any], **tensors: torch.Tensor) -> None:
    for name, tensor in tensors.items():
        jobs[name] = tensor.data_ptr()
