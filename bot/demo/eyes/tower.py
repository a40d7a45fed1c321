"""The eyes themselves: a small SigLIP tower and Gemma 3's projector, and how they start out.

A tower trained from nothing on some hundred thousand pictures has no time to find out that
neighboring patches belong together. So it starts with that knowledge: in the first layers every
head looks at the patch at one fixed offset, as the taps of a convolution do; training is free to
unlearn it. The projector starts out with the words: its first rows are their embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .render import SIZE
from .scene import SLOTS

PATCH = 12
HIDDEN, LAYERS, HEADS, INNER = 192, 6, 6, 576
GRID = SIZE // PATCH
#: Two axes, sine and cosine of each wave: the dimensions of `HIDDEN` that tell where a patch lies.
WAVES = 8
PLACE = 4 * WAVES
#: How much higher than all others a head rates the patch at its offset at first.
SHARPNESS = 8.0
RING = [(0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (1, 1)]
OFFSETS = (
    RING,
    [(-1, 1), (1, -1), (0, -1), (0, 1), (-1, 0), (1, 0)],
    [(2 * x, 2 * y) for x, y in RING],
)


def vision_settings() -> dict[str, Any]:
    """The tower's part of the model's configuration."""
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "image_size": SIZE,
        "patch_size": PATCH,
        "vision_use_head": False,
    }


def build_eyes(text_size: int, attention: Callable[..., Any] | None = None) -> nn.ModuleDict:
    """An untrained tower and projector, named as in `Gemma3Model`.

    Args:
        text_size: the width of the text model's embeddings.
        attention: instead of PyTorch's own.
    """
    from transformers import (
        AttentionInterface,
        Gemma3Config,
        SiglipVisionConfig,
        SiglipVisionModel,
    )
    from transformers.models.gemma3.modeling_gemma3 import Gemma3MultiModalProjector

    vision = SiglipVisionConfig(**vision_settings())
    vision._attn_implementation = "sdpa"
    if attention is not None:
        AttentionInterface.register("parley_eyes", attention)
        vision._attn_implementation = "parley_eyes"
    settings = Gemma3Config(
        vision_config=vision,
        text_config={"hidden_size": text_size},
        mm_tokens_per_image=len(SLOTS),
    )
    return nn.ModuleDict(
        {
            "vision_tower": SiglipVisionModel(vision),
            "multi_modal_projector": Gemma3MultiModalProjector(settings),
        }
    )


def plain_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention spelled out: its backward pass on a CPU is several times quicker than the fused."""
    weights = (query * scaling) @ key.transpose(2, 3)
    return (weights.softmax(-1) @ value).transpose(1, 2).contiguous(), None


def look(eyes: nn.ModuleDict, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Soft tokens [n, slots, text size] and what every layer sees [n, patches, HIDDEN]."""
    seen = eyes["vision_tower"](pixel_values=pixels, output_hidden_states=True)
    soft = eyes["multi_modal_projector"](seen.last_hidden_state)
    return soft, seen.hidden_states


def to_pixels(pictures: np.ndarray) -> Tensor:
    """Bytes [n, side, side, 3] as the processor hands them on: [n, 3, side, side], -1 to 1."""
    pixels = torch.tensor(pictures).permute(0, 3, 1, 2).float()
    return pixels / 127.5 - 1


@torch.no_grad()
def start_out(eyes: nn.ModuleDict, pictures: np.ndarray, words: Tensor) -> None:
    """Set the first weights from some pictures and from the words' embeddings.

    Args:
        pictures: some hundreds, [n, side, side, 3].
        words: [classes, text size], what the soft tokens are to be.
    """
    tower: Any = eyes["vision_tower"]
    _start_patches(tower.embeddings, pictures)
    for number, layer in enumerate(tower.encoder.layers):
        for weight in (layer.self_attn.out_proj.weight, layer.mlp.fc2.weight):
            weight.mul_((2 * LAYERS) ** -0.5)
        if number < len(OFFSETS):
            _start_heads(layer.self_attn, OFFSETS[number])
    projector: Any = eyes["multi_modal_projector"]
    matrix: Tensor = projector.mm_input_projection_weight
    # The norm in front gives every row the length sqrt(HIDDEN).
    matrix.normal_(0, float(words.std()) / HIDDEN**0.5 / 8)
    matrix[: len(words)] = words / HIDDEN**0.5


def _start_patches(embeddings: Any, pictures: np.ndarray) -> None:
    """Principal components of patches in front, places behind."""
    patches = to_pixels(pictures).unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)
    rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3 * PATCH * PATCH)
    mean = rows.mean(0)
    _, sizes, parts = torch.linalg.svd(
        (rows - mean)[torch.randperm(len(rows))[:20_000]], full_matrices=False
    )
    content = HIDDEN - PLACE
    deviation = sizes[:content] / min(len(rows), 20_000) ** 0.5
    # Half way to whitening: weak components are details, but not only noise.
    spread = deviation.sqrt()
    weight = parts[:content] * (content**0.5 / spread.norm() / spread)[:, None]
    embeddings.patch_embedding.weight.zero_()
    embeddings.patch_embedding.weight[:content] = weight.view(content, 3, PATCH, PATCH)
    embeddings.patch_embedding.bias.zero_()
    embeddings.patch_embedding.bias[:content] = -weight @ mean
    embeddings.position_embedding.weight.zero_()
    embeddings.position_embedding.weight[:, content:] = places()


def places() -> Tensor:
    """Sines and cosines of where each patch lies, [patches, PLACE]: first across, then down."""
    waves = (torch.arange(WAVES) + 0.5) * math.pi / GRID
    turns = torch.arange(GRID)[:, None] * waves
    axis = torch.stack((turns.cos(), turns.sin()), -1).flatten(1)
    across = axis.repeat(GRID, 1)
    down = axis.repeat_interleave(GRID, 0)
    return torch.cat((across, down), 1)


def shift(dx: int, dy: int) -> Tensor:
    """The matrix that takes the place of one patch to the place `dx` to the right, `dy` below."""
    waves = (torch.arange(WAVES) + 0.5) * math.pi / GRID
    blocks = []
    for step in (dx, dy):
        for turn in (waves * step).tolist():
            cos, sin = math.cos(turn), math.sin(turn)
            blocks.append(torch.tensor([[cos, -sin], [sin, cos]]))
    whole: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return whole


def _start_heads(attention: Any, offsets: list[tuple[int, int]]) -> None:
    """Each head's queries ask for the place at its offset, its keys say where they are."""
    size = HIDDEN // HEADS
    if size != PLACE:
        raise ValueError("a head is as wide as a place is described")
    gain = (SHARPNESS * size**0.5 / (2 * WAVES)) ** 0.5  # a place times itself is 2 * WAVES
    attention.q_proj.weight.mul_(0.3)
    attention.k_proj.weight.mul_(0.3)
    for head, (dx, dy) in enumerate(offsets):
        rows = slice(head * size, (head + 1) * size)
        attention.q_proj.weight[rows, -PLACE:] += gain * shift(dx, dy)
        attention.k_proj.weight[rows, -PLACE:] += gain * torch.eye(PLACE)
