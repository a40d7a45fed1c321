"""Measure decode steps on a GPU against the memory bandwidth's floor and against `generate()`.

    python -m benchmarks.gpu_decode --out build/bench

Creates a Gemma 3 4B (text only) with random bfloat16 weights in the cache folder: its steps cost as
much as the real model's. The floor of a step is the size of the weights divided by the memory
bandwidth, which is measured with a large copy.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gemma_shapes import SHAPES
from bot import config
from bot.app import engine_config, local_model_folder
from bot.bench.errors import BenchFailed
from bot.bench.report import headline, report_table
from bot.bench.runner import Plan, Session
from bot.bench.systems.base import Setup

#: batch size -> the largest allowed ratio of a step to its floor
STEPS = {1: 1.5, 16: 1.7, 64: 2.2}
OVER_GENERATE = 4.0
GIB = 2**30


def say(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


def random_model(tokenizer: Path, folder: Path, shape: dict[str, Any]) -> Path:
    """Write the model, with the tokenizer of another folder, unless it exists."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    if (folder / "config.json").is_file():
        return folder
    say(f"creating a model with random weights in {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = Gemma3ForCausalLM(Gemma3TextConfig(**shape)).to(torch.bfloat16)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, folder / name)
    model.save_pretrained(folder)
    return folder


def weight_bytes(folder: Path) -> int:
    """The bytes a decode step must read: every weight once (the head is the embedding)."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def bandwidth(size: int = 2 * GIB, rounds: int = 20) -> float:
    """Bytes per second of a large copy on the device, reads and writes combined."""
    import torch

    source = torch.empty(size, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        best = max(best, 2 * size / (start.elapsed_time(end) / 1000))
    return best


def verdicts(report: dict[str, Any], floor_s: float) -> str:
    """The bars as a Markdown table."""
    lines = ["| bar | target | measured | |", "|---|---:|---:|---|"]
    rows = {(row["system"], row["conversations"]): row for row in report["results"]}
    for batch, limit in STEPS.items():
        own, peer = rows["parley", batch], rows["generate-static", batch]
        step = own["itl_s"]["p50"] / floor_s
        lines.append(
            f"| decode step of {batch} over weights/bandwidth ({floor_s * 1000:.2f} ms) "
            f"| <= {limit} | {step:.2f} | {'met' if step <= limit else 'missed'} |"
        )
        over = own["tokens_per_s"] / peer["tokens_per_s"]
        lines.append(
            f"| `steady` {batch} vs. `generate()` on the same batch: tokens/s "
            f"| >= {OVER_GENERATE:g}x | {over:.2f}x "
            f"| {'met' if over >= OVER_GENERATE else 'missed'} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tokenizer", type=Path, help="a model folder; default: the demo's")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        raise BenchFailed("PyTorch sees no GPU here: these bars need one")
    settings = config.load({"model": "demo"})
    tokenizer = options.tokenizer or Path(local_model_folder(settings))
    folder = random_model(tokenizer, settings.cache_dir / "bench" / "random-4b", SHAPES["4b"])
    floor_s = weight_bytes(folder) / bandwidth()
    torch.cuda.empty_cache()
    setup = Setup(
        engine=replace(engine_config(settings), model=str(folder), locate=None, quantize="none"),
        folder=str(folder),
        threads=torch.get_num_threads(),
        model="Gemma 3 4B, random weights",
    )
    with Session(setup, say) as session:
        plan = Plan("steady", tuple(STEPS), ("generate-static",), options.runs)
        report = session.measure_workload(plan)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gpu.json").write_text(json.dumps({**report, "floor_s": floor_s}, indent=1))
    print(
        verdicts(report, floor_s), "", f"**{headline(report)}**", "", report_table(report), sep="\n"
    )
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except BenchFailed as error:
        raise SystemExit(f"gpu_decode: {error}") from None
