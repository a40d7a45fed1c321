"""Low-rank adapters for a frozen model, and a cross-entropy that fits a 262,144-word vocabulary."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

LAYER_KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoraLinear(nn.Module):
    """A frozen linear layer plus `scale * B @ A`; fp32 master weights, computes in the input's type."""

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.base, self.scale = base, scale
        self.lora_A = nn.Parameter(torch.empty(rank, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        low = nn.functional.linear(x, self.lora_A.to(x.dtype))
        up = nn.functional.linear(low, (self.lora_B * self.scale).to(x.dtype))
        return self.base(x) + up  # type: ignore[no-any-return]


def add_lora(model: nn.Module, rank: int, alpha: float) -> list[nn.Parameter]:
    """Freeze the model and wrap every attention and MLP linear; returns the new parameters."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    added: list[nn.Parameter] = []
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if name in LAYER_KINDS and isinstance(child, nn.Linear):
                wrapped = LoraLinear(child, rank, alpha / rank)
                setattr(module, name, wrapped)
                added += [wrapped.lora_A, wrapped.lora_B]
    return added


def save_adapter(model: nn.Module, path: Path, rank: int, alpha: float) -> None:
    """bf16 safetensors; `merge_adapter` in prepare.py reads the names and the metadata."""
    tensors = {
        f"{name}.{half}": getattr(module, half).detach().to(torch.bfloat16).contiguous()
        for name, module in model.named_modules()
        if isinstance(module, LoraLinear)
        for half in ("lora_A", "lora_B")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path), metadata={"rank": str(rank), "alpha": str(alpha)})


def load_adapter(model: nn.Module, path: Path) -> None:
    """Continue from a saved adapter (of the same rank)."""
    from safetensors.torch import load_file

    tensors = load_file(str(path))
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, LoraLinear):
                module.lora_A.copy_(tensors[f"{name}.lora_A"])
                module.lora_B.copy_(tensors[f"{name}.lora_B"])


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of `hidden @ weight.T`, a few rows at a time.

    The logits of one reply token take half a megabyte, so autograd must not keep them: the gradient
    with respect to `hidden` is computed in the same pass and the logits are dropped. The weight is
    frozen and gets no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int, bias: Tensor | None
    ) -> Tensor:
        grad = torch.empty_like(hidden)
        total = torch.zeros((), dtype=torch.float32)
        count = targets.numel()
        for start in range(0, count, rows):
            part, target = hidden[start : start + rows], targets[start : start + rows, None]
            logits = part @ weight.T
            if bias is not None:
                logits += bias
            probabilities = torch.softmax(logits, dim=-1)
            right = probabilities.gather(1, target)
            total -= right.float().clamp_min(1e-30).log().sum()
            probabilities.scatter_(1, target, right - 1)
            torch.mm(probabilities, weight, out=grad[start : start + rows])
        ctx.save_for_backward(grad / count)
        return total / count

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None, None, None]:
        (grad,) = ctx.saved_tensors
        return grad * outputs[0].to(grad.dtype), None, None, None, None


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    rows: int = 128,
    bias: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy of `hidden @ weight.T + bias`; the weight and the bias get no gradient."""
    return _ChunkedCrossEntropy.apply(hidden, weight, targets, rows, bias)  # type: ignore[no-any-return, no-untyped-call]


class SampledVocabulary:
    """The words that occur in replies, and a new sample of all others at every step.

    The whole vocabulary would cost a third of the training time, but most of its words never occur.
    A sampled word represents the ones that weren't drawn: adding `log(others / drawn)` to its logit
    preserves the expected sum of the softmax over all words.
    """

    def __init__(self, used: list[int], size: int, drawn: int) -> None:
        self.used = torch.tensor(sorted(set(used)))
        others = torch.ones(size, dtype=torch.bool)
        others[self.used] = False
        self.others = others.nonzero()[:, 0]
        self.drawn = min(drawn, len(self.others))

    def sample(self, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The sampled rows of the vocabulary, the targets as indices into them, and the bias."""
        picked = self.others[torch.randperm(len(self.others))[: self.drawn]]
        bias = torch.zeros(len(self.used) + len(picked))
        bias[len(self.used) :] = math.log(len(self.others) / max(1, self.drawn))
        return torch.cat((self.used, picked)), torch.searchsorted(self.used, targets), bias
