"""Measure the demo's vision tower on held-out renders: its soft tokens, and answers end to end.

    python -m benchmarks.demo_eyes                          # the shipped demo, both parts
    python -m benchmarks.demo_eyes --model build/demo --pictures 2000 --only tower

`tower`: each picture goes through the model's processor, tower and projector, and each soft token
is decoded to the nearest word. `answers`: Parley's engine answers questions about pictures
greedily, with the default persona and with the six others.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bot.demo.eyes import judge, pictures
from bot.demo.eyes.lexicon import Lexicon
from bot.demo.eyes.render import draw
from bot.demo.eyes.scene import Scene
from bot.demo.prepare import default_cache_dir, ensure_demo_model
from bot.engine.api import Delta, Finish, Image, Message, SamplingParams, Text
from bot.engine.batcher import LocalEngine
from bot.engine.model.loading import LocalEngineConfig

from . import demo_pictures

SEED = "held out of training"
BATCH = 50


def tower_figures(folder: Path, count: int) -> dict[str, float]:
    """How often the soft tokens match the truth."""
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

    model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.bfloat16).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    lexicon = Lexicon.read(folder, AutoTokenizer.from_pretrained(folder))
    rng, labels, soft = random.Random(SEED), [], []
    started = time.perf_counter()
    looked = 0.0
    for _ in range(0, count, BATCH):
        drawn = [draw(rng) for _ in range(BATCH)]
        labels += [pictures.labels_of(scene) for _, scene, _ in drawn]
        pixels = processor(images=[image for image, _, _ in drawn], return_tensors="pt")
        values = torch.as_tensor(pixels["pixel_values"]).to(model.dtype)
        before = time.perf_counter()
        with torch.inference_mode():
            soft.append(model.get_image_features(values).pooler_output.float())
        looked += time.perf_counter() - before
    truth, said = torch.tensor(labels), lexicon.read_out(torch.cat(soft))
    print(f"{len(truth)} pictures in {time.perf_counter() - started:.0f} s, "
          f"{1000 * looked / len(truth):.1f} ms each in the tower")  # fmt: skip
    print("taken for another:", judge.confusions(said["thing"], truth))
    return {f"tower {name}": share for name, share in judge.figures(said, truth).items()}


@dataclass
class Questions:
    """Records the questions of `demo_pictures.ask_all` in a first pass, to be answered at once."""

    asked: list[tuple[bytes, str | None, str]] = field(default_factory=list)
    answers: list[tuple[str, bool]] = field(default_factory=list)

    @staticmethod
    def seen(rng: random.Random, kind: str) -> tuple[Scene, bytes]:
        """A scene and its picture as PNG bytes."""
        image, scene, _spots = draw(rng, kind)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return scene, buffer.getvalue()

    def note(
        self, _scene: Scene, picture: bytes, system: str | None, question: str
    ) -> tuple[str, bool]:
        self.asked.append((picture, system, question))
        return "", False

    def replay(self, *_: Any) -> tuple[str, bool]:
        return self.answers.pop(0)


async def answer_all(
    folder: Path, asked: list[tuple[bytes, str | None, str]], limit: int
) -> list[tuple[str, bool]]:
    """The engine's replies to all questions at once, and whether each ended by itself."""
    engine = LocalEngine(LocalEngineConfig(model=str(folder), max_context=1024))
    await engine.start()
    sampling = SamplingParams(temperature=0, max_new_tokens=limit)

    async def answer(
        number: int, picture: bytes, system: str | None, question: str
    ) -> tuple[str, bool]:
        image = Image(picture, hashlib.sha256(picture).hexdigest())
        messages = [Message("system", (Text(system),))] if system else []
        messages.append(Message("user", (image, Text(question)) if question else (image,)))
        text, ended = "", False
        name = f"person {number}"
        async for item in engine.stream(messages, sampling, owner=name, conversation=name):
            if isinstance(item, Delta):
                text += item.text
            elif isinstance(item, Finish):
                ended = item.reason == "stop"
        return text.strip(), ended

    try:
        work = [answer(number, *question) for number, question in enumerate(asked)]
        return list(await asyncio.gather(*work))
    finally:
        await engine.stop()


def answer_figures(folder: Path, limit: int, show: bool) -> dict[str, float]:
    """The scores of the whole model's answers, through Parley's engine."""
    questions = Questions()
    demo_pictures.ask_all(questions.note, questions.seen)
    questions.answers = asyncio.run(answer_all(folder, questions.asked, limit))
    asked = demo_pictures.ask_all(questions.replay, questions.seen)
    for item in asked if show else []:
        if ": " not in item.kind or item.kind.startswith("persona"):
            print(f"{'+' if item.passed else '-'} [{item.kind}] {item.prompt!r}\n    {item.text!r}")
    figures = demo_pictures.figures(asked)
    return figures | {"picture stops by itself": sum(a.stopped for a in asked) / len(asked)}


def main(argv: list[str] | None = None) -> int:
    """Measure and print the figures; exits with 1 if the tower misses a bar."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_eyes", description=__doc__)
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--max-new-tokens", type=int, default=60)
    parser.add_argument("--only", choices=("tower", "answers"))
    parser.add_argument("--show", action="store_true", help="print every answer")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    folder = options.model or ensure_demo_model(default_cache_dir(), print)
    figures: dict[str, float] = {}
    if options.only != "answers":
        figures |= tower_figures(folder, options.pictures)
    if options.only != "tower":
        figures |= answer_figures(folder, options.max_new_tokens, options.show)
    met = True
    for name, share in figures.items():
        bar = judge.BARS.get(name.removeprefix("tower ")) if name.startswith("tower") else None
        verdict = "" if bar is None else "ok" if share >= bar else f"below the bar ({bar:.0%})"
        met &= bar is None or share >= bar
        print(f"{name:32} {share:6.1%}  {verdict}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
