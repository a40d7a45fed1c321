"""8-bit linear layers on a CPU: one scale per weight row, one scale per token.

A token's activations are quantized by their own largest value, and sums of 8-bit products are
integers, so a row of the result depends on that row alone, to the last bit, whatever else is in the
batch. The kernels are PyTorch's (oneDNN's): `qlinear_pointwise` for several rows and `_int_mm`,
with a third of the overhead, for one; both give the same bits.

Parley's own kernels (`fused_model.py`) replace them where they run; they round slightly
differently.
"""

from __future__ import annotations

from functools import lru_cache

import torch

_SLICE_ROWS = 16384  # weight rows converted at once: the LM head in float32 would take 670 MB
_MIN_ROWS = 4  # `qlinear_pointwise` is slower for fewer rows than for this many


class Int8Linear:
    """An 8-bit linear layer without bias.

    Args:
        weights: [out, in] each, any float type; several are stacked along `out`.
        single: keep a second copy of the weight for `_int_mm`, which is faster for one row.
    """

    def __init__(self, *weights: torch.Tensor, single: bool = True) -> None:
        rows = sum(len(weight) for weight in weights)
        whole = torch.empty((rows, weights[0].shape[1]), dtype=torch.int8)
        self._scales = torch.empty(rows)
        at = 0
        for weight in weights:
            for part in torch.split(weight.detach(), _SLICE_ROWS):
                scaled = part.float()
                scale = scaled.abs().amax(1).clamp_(min=1e-12) / 127
                whole[at : at + len(part)] = (scaled / scale[:, None]).round_().to(torch.int8)
                self._scales[at : at + len(part)] = scale
                at += len(part)
        self._lay_out(whole, single)

    def _lay_out(self, whole: torch.Tensor, single: bool) -> None:
        """Keep the weight, int8 [out, in], in the kernels' layout."""
        self._zeros = torch.zeros(len(whole), dtype=torch.int32)
        self._packed = torch.ops.onednn.qlinear_prepack(whole, None)
        self._single = whole.t() if single else None

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """[n, in] to [n, out], float32."""
        product, scale = self.unscaled_product(rows)
        return product.mul_(scale)

    def unscaled_product(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The product [n, out] and the scales [n, 1] its rows must still be multiplied by.

        The LM head skips the multiplication, since the order of the logits doesn't depend on it.
        """
        scale = rows.abs().amax(-1, keepdim=True).mul_(1 / 127)
        # A row of zeros gives NaN and arbitrary integers here, but its scale is 0.
        levels = rows.div(scale).round_().to(torch.int8)
        count = len(levels)
        if self._single is not None and count == 1:
            return torch._int_mm(levels, self._single) * self._scales, scale
        if count < _MIN_ROWS:
            levels = torch.nn.functional.pad(levels, (0, 0, 0, _MIN_ROWS - count))
        product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            levels.view(torch.uint8).bitwise_xor_(128), 1.0, 128,  # unsigned around 128
            self._packed, self._scales, self._zeros,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return product[:count], scale


@lru_cache(maxsize=1)
def kernels_are_exact() -> bool:
    """Whether these kernels exist and are exact here.

    They aren't part of PyTorch's public API, and without VNNI (before about 2019) oneDNN sums pairs
    of products in 16 bits, which saturates.
    """
    try:
        return is_exact(Int8Linear)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False


@torch.inference_mode()
def is_exact(linear: type[Int8Linear]) -> bool:
    """Whether a linear class computes the largest sums exactly, for one row and for several."""
    weight = torch.full((96, 256), 0.5)
    weight[::2] *= -1
    rows = torch.ones(5, 256)
    rows[1::2] *= -1
    made, want = linear(weight), rows @ weight.t()
    return torch.allclose(made(rows), want) and torch.allclose(made(rows[:1]), want[:1])
