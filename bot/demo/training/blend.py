"""Blend two adapters of one family: the mean of their weights, tensor by tensor.

python -m bot.demo.training.blend FIRST SECOND --out OUT

A polish that teaches one persona costs another a little; half of it keeps most of both (the idea of
"model soups", Wortsman et al. 2022). The second must have been trained on from the first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file


def blend(first: Path, second: Path, out: Path, share: float) -> None:
    """Write `first` with `share` of the way to `second`; both have the same tensors."""
    start, end = load_file(str(first)), load_file(str(second))
    with safe_open(str(second), "pt") as file:
        metadata = file.metadata()
    mixed = {
        name: start[name].float().lerp(end[name].float(), share).to(end[name].dtype) for name in end
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(mixed, str(out), metadata=metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.5, help="0 is the first, 1 the second")
    options = parser.parse_args()
    blend(options.first, options.second, options.out, options.share)


if __name__ == "__main__":
    main()
