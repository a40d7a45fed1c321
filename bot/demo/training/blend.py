"""Blend two related adapters by interpolating their weights.

python -m bot.demo.training.blend FIRST SECOND --out OUT

Fine-tuning on one persona makes another slightly worse; going halfway keeps most of both ("model
soups", Wortsman et al. 2022). The second adapter must have been trained from the first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file


def blend(first: Path, second: Path, out: Path, share: float) -> None:
    """Write the interpolation from `first` (0) to `second` (1) at `share`."""
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
