"""The vectors of the words that soft tokens stand for; decodes soft tokens to the nearest word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .scene import CLASSES, SLOTS
from .words import class_token_ids, word_token_id

KEYS = tuple(CLASSES)


class Lexicon:
    """Every slot's candidate words and their scaled embeddings.

    Attributes:
        vectors: [words, text size] float32, as the text model feeds them to its first layer.
        choices: for each slot, its candidate rows of `vectors`; one row for a fixed word.
        keys: for each slot, the index of its attribute in `KEYS`; -1 for a fixed word.
    """

    def __init__(self, vectors: Tensor, choices: list[Tensor]) -> None:
        self.vectors = vectors
        self.choices = choices
        self.keys = [-1 if slot.startswith("=") else KEYS.index(slot) for slot in SLOTS]
        #: The mean squared distance of the words from their mean: the unit of `logits`.
        self.spread = float((vectors - vectors.mean(0)).square().sum(1).mean())

    @classmethod
    def read(cls, folder: Path, tokenizer: Any) -> Lexicon:
        """Load from a prepared text model's folder; reads only the rows it needs."""
        tokens = class_token_ids(tokenizer)
        fixed = {slot: word_token_id(slot[1:], tokenizer) for slot in SLOTS if slot[0] == "="}
        token_ids = sorted({t for ids in tokens.values() for t in ids} | set(fixed.values()))
        row = {token: number for number, token in enumerate(token_ids)}
        choices = [
            torch.tensor([row[t] for t in ([fixed[slot]] if slot in fixed else tokens[slot])])
            for slot in SLOTS
        ]
        return cls(_embeddings(folder, token_ids), choices)

    def target_rows(self, labels: Tensor) -> Tensor:
        """The target row of `vectors` for each slot, [n, slots], from labels [n, KEYS]."""
        columns = [
            choice.expand(len(labels)) if key < 0 else choice[labels[:, key]]
            for choice, key in zip(self.choices, self.keys, strict=True)
        ]
        return torch.stack(columns, 1)

    def logits(self, soft: Tensor, slot: int, sharpness: float) -> Tensor:
        """Logits of the choices of `slot`, [n, choices], from the distances to their vectors."""
        vectors = self.vectors[self.choices[slot]]
        gap = vectors.square().sum(1) - 2 * soft[:, slot] @ vectors.T
        return -gap * (sharpness / self.spread)

    def read_out(self, soft: Tensor) -> dict[str, Tensor]:
        """The class decoded from all slots of an attribute, [n] for every key."""
        classes = {}
        for place, key in enumerate(KEYS):
            slots = [slot for slot, owner in enumerate(self.keys) if owner == place]
            said = sum(self.logits(soft, slot, 1.0).softmax(-1) for slot in slots)
            classes[key] = torch.as_tensor(said).argmax(-1)
        return classes


def _embeddings(folder: Path, tokens: list[int]) -> Tensor:
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            names = [name for name in file.keys() if name.endswith("embed_tokens.weight")]  # noqa: SIM118
            if names:
                rows = file.get_slice(names[0])
                vectors = torch.stack([rows[token : token + 1][0] for token in tokens])
                scale = torch.tensor(vectors.shape[1] ** 0.5, dtype=vectors.dtype)
                return (vectors * scale).float()
    raise ValueError(f"{folder} holds no word embeddings")
