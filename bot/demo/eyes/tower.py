"""A small SigLIP tower and Gemma 3's projector, and their initialization.

A tower trained from scratch on a few hundred thousand pictures has too little time to learn that
neighboring patches belong together. So it is initialized with that knowledge: in the first layers
every head attends to the patch at one fixed offset, like the taps of a convolution; training may
unlearn it. The projector's first rows are initialized with the words' embeddings.
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
#: The dimensions of `HIDDEN` that encode a patch's position: sine and cosine per wave and axis.
WAVES = 8
PLACE = 4 * WAVES
#: The initial attention logit of the patch at a head's offset, above all others.
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
        attention: replaces PyTorch's attention.
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
    """Unfused attention: on a CPU, its backward pass is several times as fast as the fused one."""
    weights = (query * scaling) @ key.transpose(2, 3)
    return (weights.softmax(-1) @ value).transpose(1, 2).contiguous(), None


def look(eyes: nn.ModuleDict, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Soft tokens [n, slots, text size] and every layer's hidden states [n, patches, HIDDEN]."""
    seen = eyes["vision_tower"](pixel_values=pixels, output_hidden_states=True)
    soft = eyes["multi_modal_projector"](seen.last_hidden_state)
    return soft, seen.hidden_states


def to_pixels(pictures: np.ndarray) -> Tensor:
    """Convert bytes [n, side, side, 3] like the processor: to [n, 3, side, side], -1 to 1."""
    pixels = torch.tensor(pictures).permute(0, 3, 1, 2).float()
    return pixels / 127.5 - 1


@torch.no_grad()
def start_out(eyes: nn.ModuleDict, pictures: np.ndarray, words: Tensor) -> None:
    """Initialize the weights from some pictures and from the words' embeddings.

    Args:
        pictures: a few hundred, [n, side, side, 3].
        words: [classes, text size], the targets of the soft tokens.
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
    """Principal components of patches in the first dimensions, positions in the last."""
    patches = to_pixels(pictures).unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)
    rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3 * PATCH * PATCH)
    mean = rows.mean(0)
    _, sizes, parts = torch.linalg.svd(
        (rows - mean)[torch.randperm(len(rows))[:20_000]], full_matrices=False
    )
    content = HIDDEN - PLACE
    deviation = sizes[:content] / min(len(rows), 20_000) ** 0.5
    # Halfway to whitening: weak components are details, not only noise.
    spread = deviation.sqrt()
    weight = parts[:content] * (content**0.5 / spread.norm() / spread)[:, None]
    embeddings.patch_embedding.weight.zero_()
    embeddings.patch_embedding.weight[:content] = weight.view(content, 3, PATCH, PATCH)
    embeddings.patch_embedding.bias.zero_()
    embeddings.patch_embedding.bias[:content] = -weight @ mean
    embeddings.position_embedding.weight.zero_()
    embeddings.position_embedding.weight[:, content:] = places()


def places() -> Tensor:
    """Sines and cosines of each patch's position, [patches, PLACE]: first x, then y."""
    waves = (torch.arange(WAVES) + 0.5) * math.pi / GRID
    turns = torch.arange(GRID)[:, None] * waves
    axis = torch.stack((turns.cos(), turns.sin()), -1).flatten(1)
    across = axis.repeat(GRID, 1)
    down = axis.repeat_interleave(GRID, 0)
    return torch.cat((across, down), 1)


def shift(dx: int, dy: int) -> Tensor:
    """The matrix that maps a patch's position encoding to that of the patch at (dx, dy)."""
    waves = (torch.arange(WAVES) + 0.5) * math.pi / GRID
    blocks = []
    for step in (dx, dy):
        for turn in (waves * step).tolist():
            cos, sin = math.cos(turn), math.sin(turn)
            blocks.append(torch.tensor([[cos, -sin], [sin, cos]]))
    whole: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return whole


def _start_heads(attention: Any, offsets: list[tuple[int, int]]) -> None:
    """Each head's queries look for the position at its offset; keys encode their own position."""
    size = HIDDEN // HEADS
    if size != PLACE:
        raise ValueError("a head is as wide as a place is described")
    gain = (
        SHARPNESS * size**0.5 / (2 * WAVES)
    ) ** 0.5  # a position encoding's squared norm is 2 * WAVES
    attention.q_proj.weight.mul_(0.3)
    attention.k_proj.weight.mul_(0.3)
    for head, (dx, dy) in enumerate(offsets):
        rows = slice(head * size, (head + 1) * size)
        attention.q_proj.weight[rows, -PLACE:] += gain * shift(dx, dy)
        attention.k_proj.weight[rows, -PLACE:] += gain * torch.eye(PLACE)
