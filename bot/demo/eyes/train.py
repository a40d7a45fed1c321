"""Train the demo's vision tower: each soft token learns the embedding of its slot's word.

    python -m bot.demo.prepare --base BASE
    python -m bot.demo.eyes.pictures --to PICTURES --sets 30
    python -m bot.demo.eyes.train --base BASE --pictures PICTURES --out OUT --minutes 40

The language model isn't needed: it was trained on those words in place of pictures.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from . import dense, judge
from . import pictures as sets_of
from .crops import crops, look_at_crops
from .lexicon import Lexicon
from .pictures import Pictures
from .render import SIZE
from .tower import HIDDEN, build_eyes, look, plain_attention, start_out, to_pixels

SHARPNESS = 8.0  # of the softmax over the words' distances
OUTLINE_LAYER, CONTENTS_LAYER = 2, 4  # the layers whose output the heads are trained on


class Heads(nn.Module):
    """Auxiliary heads that predict each patch's content; discarded after training."""

    def __init__(self) -> None:
        super().__init__()
        self.outline = nn.Sequential(nn.LayerNorm(HIDDEN), nn.Linear(HIDDEN, dense.CELLS**2))
        self.contents = nn.Sequential(
            nn.LayerNorm(HIDDEN), nn.Linear(HIDDEN, dense.THINGS + 1 + dense.COLORS + 1)
        )

    def forward(self, layers: tuple[Tensor, ...], batch: Pictures) -> Tensor:
        """The loss of each patch's outline and content; background patches count half."""
        thing, color, middle = dense.contents(batch)
        told = self.contents(layers[CONTENTS_LAYER].float())
        weight = torch.where(thing == dense.THINGS, 0.5, 1.0).flatten()
        things = told[..., : dense.THINGS + 1].flatten(0, 1)
        entropy = nn.functional.cross_entropy(things, thing.flatten(), reduction="none")
        colors = told[..., dense.THINGS + 1 : -1].flatten(0, 1)
        binary = nn.functional.binary_cross_entropy_with_logits
        cells, has_outline = dense.outlines(batch)
        outline = self.outline(layers[OUTLINE_LAYER][has_outline].float())
        return (
            (entropy * weight).sum() / weight.sum()
            + 0.3 * nn.functional.cross_entropy(colors, color.flatten())
            + 2 * binary(told[..., -1], middle)
            + (2 * binary(outline, cells[has_outline]) if has_outline.any() else 0)
        )


def word_loss(lexicon: Lexicon, soft: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The words' cross-entropy, and the squared distance from the right ones."""
    entropy = torch.zeros(())
    for slot, key in enumerate(lexicon.keys):
        if key >= 0:
            logits = lexicon.logits(soft, slot, SHARPNESS)
            entropy = entropy + nn.functional.cross_entropy(logits, labels[:, key])
    right = lexicon.vectors[lexicon.target_rows(labels)]
    distance = (soft - right).square().sum(-1).mean() / lexicon.spread
    return entropy / sum(key >= 0 for key in lexicon.keys), distance


@torch.no_grad()
def report(eyes: nn.ModuleDict, lexicon: Lexicon, held: Pictures) -> str:
    """The accuracy on held-out pictures, in one line."""
    dtype = next(eyes.parameters()).dtype
    parts = []
    for at in range(0, len(held), 100):
        pixels = to_pixels(held.pixels[at : at + 100]).to(dtype)
        parts.append(look(eyes, pixels)[0].float())
    soft, labels = torch.cat(parts), torch.from_numpy(held.labels)
    said = lexicon.read_out(soft)
    shares = " ".join(f"{k} {100 * v:.1f}" for k, v in judge.figures(said, labels).items())
    _, distance = word_loss(lexicon, soft, labels)
    return f"held out: {shares} distance {distance:.4f}\n{judge.confusions(said['thing'], labels)}"


class Trainer:
    """The training state: bf16 weights to compute with, float32 master weights."""

    def __init__(self, options: argparse.Namespace) -> None:
        from transformers import AutoTokenizer

        self.options = options
        self.lexicon = Lexicon.read(options.base, AutoTokenizer.from_pretrained(options.base))
        sets = sets_of.load_all(options.pictures)
        print(f"{sum(map(len, sets))} pictures", flush=True)
        self.pool = ThreadPoolExecutor(
            options.threads, initializer=torch.set_num_threads, initargs=(1,)
        )
        self.held = sets_of.make("held out", 1000)
        self.eyes = build_eyes(self.lexicon.vectors.shape[1], plain_attention)
        if options.resume:
            self.eyes.load_state_dict(load_file(options.resume), strict=True)
        else:
            some = sets_of.join([part.take(np.arange(100)) for part in sets[:5]])
            start_out(self.eyes, some.pixels, self.lexicon.vectors)
        self.heads = Heads()
        self.eyes.to(torch.bfloat16)
        self.weights: list[Tensor] = list(self.eyes.parameters())
        self.masters = [weight.detach().float().clone() for weight in self.weights]
        matrices = [master for master in self.masters if master.ndim > 1]
        rest = [master for master in self.masters if master.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": 0.05},
                {"params": [*rest, *self.heads.parameters()], "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
            fused=True,
        )

    def stream(self, seed: int, size: int) -> Iterator[Pictures]:
        """Endless batches of all pictures rendered so far."""
        folder = self.options.pictures
        return sets_of.batches(lambda: sets_of.load_all(folder), size, seed)

    def step(self, batch: Pictures, rate: float, weight: float) -> dict[str, float]:
        """Take one step on one batch; returns the losses.

        Each thread computes parts of the batch by itself, two on average. On a busy machine that is
        much faster than threads that wait for each other in every operation.
        """
        shares = np.array_split(np.arange(len(batch)), 2 * self.options.threads)
        work = [self.pool.submit(self._gradients, batch.take(rows), weight) for rows in shares]
        results = [future.result() for future in work]
        for place, parameter in enumerate([*self.masters, *self.heads.parameters()]):
            parts = [gradients[place] for gradients, _ in results]
            gradients_of_shares = [part.float() for part in parts if part is not None]
            parameter.grad = (
                torch.stack(gradients_of_shares).mean(0) if gradients_of_shares else None
            )
        nn.utils.clip_grad_norm_([*self.masters, *self.heads.parameters()], 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(self.weights, self.masters)
        return {
            name: sum(losses[name] for _, losses in results) / len(results)
            for name in results[0][1]
        }

    def _gradients(
        self, batch: Pictures, weight: float
    ) -> tuple[tuple[Tensor | None, ...], dict[str, float]]:
        losses = {}
        if batch.pixels.shape[1] < SIZE:
            layers = look_at_crops(self.eyes, batch.pixels, CONTENTS_LAYER)
            loss = losses["crops"] = self.heads(layers, batch)
        else:
            soft, layers = look(self.eyes, to_pixels(batch.pixels).bfloat16())
            labels = torch.from_numpy(batch.labels)
            entropy, distance = word_loss(self.lexicon, soft.float(), labels)
            patches = self.heads(layers, batch)
            loss = entropy + 0.5 * distance + weight * patches
            losses |= {"words": entropy, "distance": distance, "patches": patches}
        every = [*self.weights, *self.heads.parameters()]
        gradients = torch.autograd.grad(loss, every, allow_unused=True)
        return gradients, {name: float(value.detach()) for name, value in losses.items()}

    def save(self, path: Path) -> None:
        """Save the tower and projector in bf16."""
        path.parent.mkdir(parents=True, exist_ok=True)
        work = path.with_suffix(".part")
        tensors = {name: t.detach().contiguous() for name, t in self.eyes.state_dict().items()}
        save_file(tensors, str(work))
        work.rename(path)


def rate_at(done: float, warm: float, peak: float) -> float:
    """The learning rate after the fraction `done` of the time."""
    if done < warm:
        return peak * (done + 1e-4) / warm
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm))))


def prefetched(stream: Iterator[Pictures]) -> Iterator[Pictures]:
    """Prepare each batch in the background while the previous one is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, stream)
        while True:
            batch = coming.result()
            coming = pool.submit(next, stream)
            yield batch


def train(options: argparse.Namespace) -> None:
    """Train for the given time, with a checkpoint and evaluation every few minutes."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    trainer = Trainer(options)
    pieces = prefetched(crops(trainer.stream(options.seed, 2 * options.batch), options.seed))
    every = prefetched(trainer.stream(options.seed + 1, options.batch))
    started = said = judged = time.monotonic()
    steps, seen, running = 0, 0, dict[str, float]()
    while (done := (time.monotonic() - started) / (60 * options.minutes)) < 1:
        batch = next(pieces if done < options.crops else every)
        rate = rate_at(done, options.warmup, options.rate)
        losses = trainer.step(batch, rate, options.dense * (1 - 0.7 * done))
        steps, seen = steps + 1, seen + len(batch)
        if running.keys() != losses.keys():
            running = losses
        share = 0.02
        running = {k: (1 - share) * running.get(k, 0) + share * v for k, v in losses.items()}
        now = time.monotonic()
        if now - said > options.say:
            said = now
            text = " ".join(f"{name} {value:.3f}" for name, value in running.items())
            print(f"{(now - started) / 60:.1f} min step {steps} {text} rate {rate:.1e} "
                  f"{seen / (now - started):.0f}/s", flush=True)  # fmt: skip
        if now - judged > 60 * options.judge and done > options.crops:
            judged = now
            _report(trainer)
    _report(trainer)


def _report(trainer: Trainer) -> None:
    trainer.save(trainer.options.out / "eyes.safetensors")
    print(report(trainer.eyes, trainer.lexicon, trainer.held), flush=True)


def main(argv: list[str] | None = None) -> int:
    """Train from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bot.demo.eyes.train", description=__doc__)
    add: Any = parser.add_argument
    add("--base", type=Path, required=True, metavar="FOLDER", help="the prepared text model")
    add("--pictures", type=Path, required=True, metavar="FOLDER")
    add("--out", type=Path, required=True, metavar="FOLDER")
    add("--resume", type=Path, metavar="FILE", help="start from these eyes")
    add("--minutes", type=float, default=40)
    add("--batch", type=int, default=64)
    add("--rate", type=float, default=1e-3)
    add("--warmup", type=float, default=0.03, help="share of the time")
    add("--crops", type=float, default=0.4, help="share of the time on pieces of pictures")
    add("--dense", type=float, default=1.0, help="weight of what the patches tell")
    add("--threads", type=int, default=2)
    add("--seed", type=int, default=1)
    add("--judge", type=float, default=5, help="minutes between judgments")
    add("--say", type=float, default=20, help="seconds between lines")
    train(parser.parse_args(argv))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
