"""The engine from start to finish on pretend cards: `make gpu-dry-run`.

    python -m tests.gpu.dry_run --out build/gpu-dry-run.json

Each card is a process of its own (run.sh). PyTorch's CUDA build, Triton, the allocator, the
recordings and all checks of arguments are real; kernels compute nothing. So this, and nothing else,
replaces what depends on computed values: the comparison in kernel_check.py (its kernels are
launched), the tokens that are read, and the check for NaN. Weights are allocated but not read from
a file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "tests/gpu/pretend_gpu/run.sh"
MAX_BATCH = 64
TOKEN = 65  # what every draw gives
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Card:
    """What to run on; `card` is the name in the report."""

    card: str
    architecture: int
    gib: float
    model: str = "4b"
    quantize: str = "none"
    device: str = "cuda:0"


CARDS = [
    Card("H100 80", 90, 80),
    Card("RTX 4090 24", 89, 24),
    Card("RTX 4080 16", 89, 16),
    Card("RTX 4070 12", 89, 12),
    Card("RTX 4060 8, int4", 89, 8, quantize="int4"),
    Card("RTX 4090 24, 12B int4", 89, 24, "12b", "int4"),
    Card("RTX 4090 24, 12B int8", 89, 24, "12b", "int8"),
]
SECOND_CARD = Card("H100 80", 90, 80, device="cuda:1")


@dataclass(slots=True)
class Report:
    """One entry of the file; MiB where a name says so."""

    card: str
    model: str
    quantize: str
    attention: str = ""
    rejected: list[str] = field(default_factory=list)
    graphs: bool = False
    nodes_per_step: float | None = None
    capture_errors: int = 0
    refused_launches: int = 0
    pageable_copies_per_step: float | None = None
    waits_per_step: float | None = None
    weights_mib: float | None = None
    recording_mib: float | None = None
    pool_mib: float | None = None
    worst_step_mib: float | None = None
    free_mib: float | None = None
    steps_for_64_prompts_of_300: int | None = None
    begun_ahead_share_saturated: float | None = None
    error: str = ""


def write_model_folder(folder: Path, size: str) -> Path:
    """A model's configuration at its real size, with the tests' tokenizer; no weights."""
    from transformers import Gemma3Config, Gemma3Processor, SiglipVisionConfig
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    from benchmarks.gemma_shapes import SHAPES
    from tests.support import models

    tokenizer = models.tiny_tokenizer()
    ids = tokenizer.convert_tokens_to_ids([*models.IMAGE, models.SOFT])
    config = Gemma3Config(
        architectures=["Gemma3ForConditionalGeneration"],
        text_config=SHAPES[size],
        vision_config=SiglipVisionConfig(
            hidden_size=1152, intermediate_size=4304, num_hidden_layers=27,
            num_attention_heads=16, image_size=896, patch_size=14,
        ),
        mm_tokens_per_image=256,
        boi_token_index=ids[0], eoi_token_index=ids[1], image_token_index=ids[2],
    )  # fmt: skip
    config.save_pretrained(folder)
    Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size={"height": 896, "width": 896}),
        tokenizer=tokenizer,
        chat_template=models.CHAT_TEMPLATE,
        image_seq_length=256,
    ).save_pretrained(folder)
    return folder


@dataclass(slots=True)
class Watch:
    """What is noted while the engine runs, on its thread."""

    device: int
    memory: dict[str, float] = field(default_factory=dict)
    steps_at_first_token: list[int] = field(default_factory=list)
    saturated: int = 0  # steps while the batch was full and others waited
    saturated_ahead: int = 0  # of these, launched while another ran

    def measure(self, name: str, call: Any) -> Any:
        from tests.gpu.pretend_gpu.counters import used

        before = used(self.device)
        result = call()
        self.memory[name] = used(self.device) - before
        return result


@contextmanager
def nothing_computed(watch: Watch) -> Iterator[None]:
    """In here what depends on computed values is replaced, and the watch notes what happens."""
    import torch

    from bot.engine.cuda import kernel_check
    from bot.engine.model import loading, runner, sampling
    from bot.engine.worker import Worker

    build_pools, record = runner.ModelRunner._build_pools, runner.ModelRunner.record_graphs
    append_token, run_step = Worker._append_token, Worker._run_step
    load_weights = loading._load_weights

    def allocate(config: Any, folder: str, settings: Any, sees: bool, device: torch.device,
                 dtype: torch.dtype, quantizer: Any = None) -> Any:  # fmt: skip
        if quantizer is not None:
            return load_weights(config, folder, settings, sees, device, dtype, quantizer)
        with torch.device("meta"):
            model = loading._model_class(sees)(settings if sees else settings.get_text_config())
        return model.to(dtype).to_empty(device=device).eval().requires_grad_(False)

    def read_tokens(self: sampling.Draws) -> list[int | Exception]:
        if self._ready is not None:
            self._ready.synchronize()
        return [TOKEN] * len(self._on_host)

    def read_finite_rows(hidden: torch.Tensor) -> list[bool]:
        return [True] * len(torch.isfinite(hidden).all(-1).tolist())

    def note_token(self: Worker, request: Any, token: int) -> None:
        if request.sequence.num_generated_tokens == 0:
            watch.steps_at_first_token.append(self.num_steps)
        append_token(self, request, token)

    def note_step(self: Worker) -> None:
        is_full = len(self.scheduler.running) == MAX_BATCH and len(self.scheduler.waiting) > 0
        watch.saturated += is_full
        run_step(self)
        watch.saturated_ahead += is_full and self._pending is not None

    with (
        patch.object(loading, "_load_weights",
                     lambda *a: watch.measure("weights", lambda: allocate(*a))),
        patch.object(runner.ModelRunner, "_build_pools",
                     lambda s: watch.measure("pool", lambda: build_pools(s))),
        patch.object(runner.ModelRunner, "record_graphs",
                     lambda s, *a, **k: watch.measure("recording", lambda: record(s, *a, **k))),
        patch.object(kernel_check, "_largest", lambda *_: 0.0),
        patch.object(sampling.Draws, "read_tokens", read_tokens),
        patch.object(runner, "read_finite_rows", read_finite_rows),
        patch.object(Worker, "_append_token", note_token),
        patch.object(Worker, "_run_step", note_step),
    ):  # fmt: skip
        yield


async def serve(engine: Any, watch: Watch, report: Report) -> None:
    """Start the engine, and measure what the report names."""
    import torch

    from bot.engine.api import Delta, Message, SamplingParams, Text
    from tests.gpu.pretend_gpu.counters import counts, reset, used
    from tests.support import models

    reset()
    await engine.start()
    worker = engine._running.worker
    report.capture_errors = counts().get("capture_errors", 0)
    report.attention = engine.info.backend
    report.rejected = list(engine.info.rejected_backends)
    report.graphs = worker.runner.graphs is not None
    report.weights_mib = round(watch.memory["weights"])
    report.pool_mib = round(watch.memory["pool"])
    report.recording_mib = round(watch.memory.get("recording", 0))

    async def reply(text: str, new: int, *, pictures: int = 0, greedy: bool = True) -> None:
        parts = (*(models.picture(n) for n in range(pictures)), Text(text))
        sampling = SamplingParams(temperature=0.0 if greedy else 1.0, max_new_tokens=new)
        message = [Message("user", parts)]
        async for item in engine.stream(message, sampling, owner=text, conversation=text):
            if isinstance(item, Delta):
                generated[text] = generated.get(text, 0) + 1

    generated: dict[str, int] = {}

    # Sixteen sequences decode, greedy and drawn.
    tasks = [asyncio.create_task(reply(f"{n:02d}", 400, greedy=n % 2 == 0)) for n in range(16)]
    while sum(count > 8 for count in generated.values()) < 16:
        await asyncio.sleep(0.01)
    reset()
    first = worker.num_steps
    while worker.num_steps < first + 100:
        await asyncio.sleep(0.01)
    seen, steps = counts(), worker.num_steps - first
    replays = seen.get("graphlaunch", 0)
    report.nodes_per_step = round(seen.get("replayed", 0) / replays, 1) if replays else None
    report.pageable_copies_per_step = round(seen.get("h2d_pageable", 0) / steps, 2)
    waits = ("streamsync", "devsync", "eventsync", "memcpysync")
    report.waits_per_step = round(sum(seen.get(name, 0) for name in waits) / steps, 2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    # 64 prompts of 300 tokens at once.
    filler = "x" * (300 - engine.count_tokens([Message("user", (Text("00"),))]))
    watch.steps_at_first_token.clear()
    first = worker.num_steps
    await asyncio.gather(*(reply(f"{n:02d}{filler}", 100) for n in range(64)))
    report.steps_for_64_prompts_of_300 = max(watch.steps_at_first_token) - first

    # A full batch, and as many in line.
    watch.saturated = watch.saturated_ahead = 0
    await asyncio.gather(*(reply(f"line {n}", 40) for n in range(2 * MAX_BATCH)))
    if watch.saturated:
        report.begun_ahead_share_saturated = round(watch.saturated_ahead / watch.saturated, 3)

    # The worst step: draws for a full batch, and a prompt with four pictures.
    torch.cuda.empty_cache()
    before = used(watch.device)
    tasks = [asyncio.create_task(reply(f"w{n}", 200, greedy=False)) for n in range(MAX_BATCH - 1)]
    await asyncio.sleep(1)
    await reply("four pictures", 4, pictures=4)
    report.worst_step_mib = round(used(watch.device) - before)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    report.free_mib = round(torch.cuda.mem_get_info(watch.device)[0] / MIB)
    report.refused_launches = counts().get("refused", 0)
    await engine.stop()


def run_card(card: Card) -> Report:
    """In a process that run.sh started for this card."""
    import torch

    from bot.engine.batcher import LocalEngine
    from bot.engine.model.loading import LocalEngineConfig

    torch.backends.cudnn.enabled = False  # the pretend GPU has none
    watch = Watch(int(card.device.partition(":")[2]))
    report = Report(card.card, card.model, card.quantize)
    with tempfile.TemporaryDirectory() as folder:
        config = LocalEngineConfig(
            str(write_model_folder(Path(folder), card.model)),
            device=card.device,
            dtype="bfloat16",
            quantize=card.quantize,
            max_batch=MAX_BATCH,
            ignore_eos=True,
        )
        with nothing_computed(watch):
            try:
                asyncio.run(asyncio.wait_for(serve(LocalEngine(config), watch, report), 1200))
            except Exception as error:
                report.error = f"{type(error).__name__}: {error}"
    return report


def start_card(card: Card, build: Path) -> dict[str, Any]:
    """Run a card in a process of its own."""
    environment = {
        **os.environ,
        "FAKE_ARCH": str(card.architecture),
        "FAKE_GIB": str(card.gib),
        "FAKE_GPUS": "2",
    }
    run = subprocess.run(
        ["bash", str(RUN), str(build), sys.executable, "-m", "tests.gpu.dry_run",
         "--card", json.dumps(asdict(card))],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = run.stdout.strip().splitlines()
    if run.returncode or not lines:
        error = f"exit code {run.returncode}: {run.stderr[-500:]}"
        return asdict(Report(card.card, card.model, card.quantize, error=error))
    report: dict[str, Any] = json.loads(lines[-1])
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("build/gpu-dry-run.json"))
    parser.add_argument("--build", type=Path, default=Path("build/pretend-gpu"))
    parser.add_argument("--card", help="in a card's own process: the card, as JSON")
    parser.add_argument("--only", default="", help="cards whose name has this in it")
    options = parser.parse_args()
    if options.card:
        print(json.dumps(asdict(run_card(Card(**json.loads(options.card))))), flush=True)
        os._exit(0)  # a thread that hangs is no reason to wait
    cards = []
    for card in CARDS:
        if options.only in card.card:
            cards.append(start_card(card, options.build))
            print(json.dumps(cards[-1]), flush=True)
    second = start_card(SECOND_CARD, options.build) if options.only in "cuda:1" else None
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"cards": cards, "cuda1": second}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
