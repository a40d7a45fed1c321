"""Scores the tower's output per attribute."""

from __future__ import annotations

import torch
from torch import Tensor

from .lexicon import KEYS
from .scene import CLASSES, SHAPES

#: The least share of correct pictures, per attribute.
BARS = {"color": 0.95, "ground": 0.95, "shape": 0.90, "count": 0.85}
_KIND, _COUNT, _THING = (KEYS.index(key) for key in ("kind", "count", "thing"))


def figures(said: dict[str, Tensor], labels: Tensor) -> dict[str, float]:
    """The share of pictures for which each attribute is right.

    Args:
        said: for every key of `CLASSES` the class decoded from the soft tokens, [n].
        labels: the truth, [n, keys].
    """
    right = {key: said[key] == labels[:, place] for place, key in enumerate(KEYS)}
    kind = labels[:, _KIND]
    kinds = {name: kind == place for place, name in enumerate(CLASSES["kind"])}
    shapes, single = kinds["shapes"], labels[:, _COUNT] == 1
    groups = {
        "kind": ("kind", kind >= 0),
        "color": ("color", shapes | kinds["glyph"] | kinds["plain"]),
        "ground": ("ground", ~kinds["photo"]),
        "shape": ("thing", shapes),
        "one shape": ("thing", shapes & single),
        "count": ("count", shapes),
        "glyph": ("thing", kinds["glyph"]),
        "photo": ("kind", kinds["photo"]),
    }
    for place, name in enumerate(SHAPES):
        groups[f"shape {name}"] = ("thing", shapes & (labels[:, _THING] == place))
    for number in range(1, 6):
        groups[f"count {number}"] = ("count", shapes & (labels[:, _COUNT] == number))
    return {name: _share(right[key][rows]) for name, (key, rows) in groups.items()}


def confusions(said: Tensor, labels: Tensor, least: int = 3) -> list[tuple[str, str, int]]:
    """The most frequent confusions: the true thing, the predicted one, and how often."""
    truth = labels[:, _THING]
    pairs = torch.stack((truth, said), 1)[truth != said]
    confused_pairs, counts = torch.unique(pairs, dim=0, return_counts=True)
    names = CLASSES["thing"]
    rows = [
        (names[was], names[heard], count)
        for (was, heard), count in zip(confused_pairs.tolist(), counts.tolist(), strict=True)
        if count >= least
    ]
    return sorted(rows, key=lambda row: -row[2])


def _share(right: Tensor) -> float:
    return float(right.float().mean()) if len(right) else float("nan")
