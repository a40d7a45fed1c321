"""Linear layers in 8 bits on a CPU: one scale a weight row, one scale a token.

A token's activations are rounded by that token's own largest value, and sums of 8-bit products are
whole numbers: a row of the result depends on that row alone, to the last bit, whoever else is in
the batch. The kernels are PyTorch's own (oneDNN's): `qlinear_pointwise` for several rows,
`_int_mm` for one (it has a third of the overhead); both give the same bits.

Where Parley's own kernels run (`fused_model.py`), they serve instead; they round slightly
differently.
"""

from __future__ import annotations

from functools import lru_cache

import torch

_SLICE_ROWS = 16384  # weight rows converted at once: the whole LM head in float32 would be 670 MB
_MIN_ROWS = 4  # rows; for fewer of them `qlinear_pointwise` is slower than for these


class Int8Linear:
    """A linear layer without bias, in 8 bits.

    Args:
        weights: [out, in] each, any float type; several are laid below one another.
        single: keep a second copy of the weight, for the kernel that is quick for one row.
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
        """Keep the weight, int8 [out, in], as the kernels want it."""
        self._zeros = torch.zeros(len(whole), dtype=torch.int32)
        self._packed = torch.ops.onednn.qlinear_prepack(whole, None)
        self._single = whole.t() if single else None

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """[n, in] to [n, out], float32."""
        product, scale = self.unscaled_product(rows)
        return product.mul_(scale)

    def unscaled_product(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The product [n, out], each row of which is still to be multiplied by its scale [n, 1].

        For the LM head, whose largest values can be found without that.
        """
        scale = rows.abs().amax(-1, keepdim=True).mul_(1 / 127)
        # A row of zeros gives NaN here and whatever integers, times a scale of 0: zeros.
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
    """Do these kernels exist here, and are they exact?

    They are PyTorch's own but not public; and without VNNI (before 2019 or so) oneDNN adds pairs
    of products in 16 bits, which saturates.
    """
    try:
        return is_exact(Int8Linear)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False


@torch.inference_mode()
def is_exact(linear: type[Int8Linear]) -> bool:
    """Are these linear layers right about the largest sums, of one row and of several?"""
    weight = torch.full((96, 256), 0.5)
    weight[::2] *= -1
    rows = torch.ones(5, 256)
    rows[1::2] *= -1
    made, want = linear(weight), rows @ weight.t()
    return torch.allclose(made(rows), want) and torch.allclose(made(rows[:1]), want[:1])
