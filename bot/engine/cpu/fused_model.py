"""Gemma 3 in 8 bits on Parley's own kernels: all decoder layers of a step are one call.

Equivalent to `LeanGemma` on `Int8Linear`, but more than twice as fast for one row. Products, norms,
quantization, RoPE, attention and GELU run in `layer_kernels.py` and `attention_kernel.py` at every
batch size, so a row has the same bits alone and in a batch; they differ slightly from PyTorch's.

A call allocates everything but the weights, so several threads may call at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bot.engine.cpu import attention_kernel, jit, layer_kernels
from bot.engine.cpu.int8_linear import Int8Linear, is_exact
from bot.engine.cpu.jit import PANEL_WIDTH, STEP_BYTES
from bot.engine.cpu.layer_kernels import JOB, Stage
from bot.engine.cpu.lean_model import LeanGemma


def kernels_are_exact() -> bool:
    return is_exact(FusedLinear)


class FusedLinear(Int8Linear):
    """An 8-bit linear layer whose weight is packed once, for all batch sizes."""

    def _lay_out(self, whole: torch.Tensor, single: bool) -> None:
        self._outputs = len(whole)
        self._packed = layer_kernels.pack_weight(whole)
        self._scales = torch.nn.functional.pad(
            self._scales, (0, self.padded_outputs - self._outputs)
        )

    @property
    def padded_outputs(self) -> int:
        """Outputs, padded to whole panels."""
        return int(self._packed.shape[0]) * PANEL_WIDTH

    @property
    def num_steps(self) -> int:
        """Dot-product instructions per output."""
        return int(self._packed.shape[1])

    def job_fields(self) -> tuple[int, int, int, int]:
        """The fields of a job's `LINEAR`."""
        panels = int(self._packed.shape[0])
        return self._packed.data_ptr(), self._scales.data_ptr(), panels, self.num_steps

    def unscaled_product(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The product [n, out] and the scales [n, 1] its rows must still be multiplied by."""
        rows, count = rows.float().contiguous(), len(rows)
        workspace = _Workspace(count, self.num_steps)
        product, ones = torch.empty(count, self.padded_outputs), torch.ones(count)
        job = np.zeros(1, JOB)
        workspace.fill_jobs(job)
        job["linear"], job["width"] = self.job_fields(), rows.shape[1]
        _set_addresses(job, rows=rows, product=product, unit_scales=ones)
        jit.run_parallel(layer_kernels.run_linear, job.ctypes.data)
        return product[:, : self._outputs], workspace.row_scales[:, None]


class FusedGemma(LeanGemma):
    """`LeanGemma` on `FusedLinear`, with all layers of a step in one call."""

    def __init__(self, text_model: Any) -> None:
        super().__init__(text_model, FusedLinear)
        config = text_model.config
        jobs = self._jobs = np.zeros(
            len(self._layers), JOB
        )  # the fields that are the same in every step
        jobs["num_layers"] = len(jobs)
        jobs["eps"] = config.rms_norm_eps
        jobs["width"] = config.hidden_size
        jobs["query_heads"] = self._num_heads
        jobs["kv_heads"] = self._num_kv_heads
        jobs["head_dim"] = self._head_dim
        jobs["attention_scale"] = [layer.scale for layer in self._layers]
        jobs["pool"]["qmax"] = attention_kernel.qmax_for(self._head_dim)
        jobs["scratch_bytes"] = attention_kernel.scratch_bytes(
            self._num_heads // self._num_kv_heads, self._head_dim
        )
        jobs["attention_width"] = self._num_heads * self._head_dim
        jobs["intermediate_size"] = config.intermediate_size
        norms = ("before_attention", "after_attention", "before_mlp", "after_mlp", "head_norms")
        for job, layer in zip(jobs, self._layers, strict=True):
            for name in norms:
                job[name] = getattr(layer, name).data_ptr()
            for name in ("qkv", "out", "gate_up", "down"):
                job[name] = getattr(layer, name).job_fields()

    @staticmethod
    def can_run(config: Any, block_size: int) -> bool:
        """Whether the head size and the block size are multiples of what attention needs."""
        return not (
            config.head_dim % attention_kernel.KEY_GROUP or block_size % attention_kernel.KEY_GROUP
        )

    def forward(
        self, embeds: torch.Tensor, positions: torch.Tensor, pools: Sequence[Any]
    ) -> torch.Tensor:
        """One step; as `LeanGemma.forward`, but over the pools of `Int16Backend`."""
        count, one = len(embeds), self._layers[0]
        linears: list[Any] = [one.qkv, one.out, one.gate_up, one.down]
        rows = embeds.to(torch.float32, copy=True).contiguous()
        workspace = _Workspace(
            count, max(linear.num_steps for linear in linears), len(self._layers)
        )
        states, gated = (
            torch.empty(count, linears[0].padded_outputs),
            torch.empty(count, linears[2].padded_outputs),
        )
        product = torch.empty(count, max(linears[1].padded_outputs, linears[3].padded_outputs))
        attended = torch.empty(count, self._num_heads * self._head_dim)
        jobs = self._jobs.copy()
        scratch = torch.empty(
            torch.get_num_threads() * int(jobs["scratch_bytes"][0]), dtype=torch.uint8
        )
        workspace.fill_jobs(jobs)
        _set_addresses(
            jobs,
            rows=rows,
            qkv_states=states,
            gated=gated,
            product=product,
            attended=attended,
            scratch=scratch,
        )
        rope = {kind: self._rope_tables(positions, kind) for kind in self._kinds}
        jobs["cos"] = [rope[layer.kind][0].data_ptr() for layer in self._layers]
        jobs["sin"] = [rope[layer.kind][1].data_ptr() for layer in self._layers]
        for job, pool in zip(jobs["pool"], pools, strict=True):
            plan = pool.plan()
            job["block_size"], job["num_tiles"] = pool.block_size, len(plan.tiles)
            for name in ("keys", "values", "key_scales", "value_scales"):
                job[name] = getattr(pool, name).data_ptr()
            for name in ("slot_mapping", "first_visible", "last_visible", "block_tables", "tiles"):
                job[name] = getattr(plan, name).ctypes.data
        jit.run_parallel(layer_kernels.run_layers, jobs.ctypes.data)
        return self._rms_norm(rows, self._norm)


class _Workspace:
    """Memory for a linear layer's quantized rows and for the jobs' work counters."""

    def __init__(self, count: int, num_steps: int, jobs: int = 1) -> None:
        self.count = count
        self.work_counters = torch.zeros(jobs, len(Stage), dtype=torch.int64)
        self.activations = torch.empty(count, num_steps * STEP_BYTES, dtype=torch.uint8)
        self.row_scales = torch.empty(count)
        self.zero_point_sums = torch.empty(count, dtype=torch.int32)

    def fill_jobs(self, jobs: np.ndarray[Any, Any]) -> None:
        """Write the addresses into the jobs."""
        jobs["num_rows"] = self.count
        jobs["work_counters"] = self.work_counters.data_ptr() + np.arange(len(jobs)) * (
            8 * len(Stage)
        )
        _set_addresses(
            jobs,
            activations=self.activations,
            row_scales=self.row_scales,
            zero_point_sums=self.zero_point_sums,
        )


def _set_addresses(jobs: np.ndarray[Any, Any], **tensors: torch.Tensor) -> None:
    for name, tensor in tensors.items():
        jobs[name] = tensor.data_ptr()
