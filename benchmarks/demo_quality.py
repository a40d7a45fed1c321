"""Measure the demo model on held-out prompts: endings, personas, recall, facts, sums, clean text.

    python -m benchmarks.demo_quality                    # the shipped adapter, greedy
    python -m benchmarks.demo_quality --temperature 0.7 --json build/demo-quality.json
    python -m benchmarks.demo_quality --pictures eyes    # pictures only: `words` or `eyes`

It uses transformers' `generate` in static batches, so it doesn't depend on Parley's engine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import demo_checks as checks
from . import demo_pictures
from . import demo_prompts as prompts

Messages = list[dict[str, str]]
BARS = {"stops by itself": 0.98, "name recall": 0.95, "stray": 0.0} | {
    f"persona {name}": 0.9 for name in prompts.PERSONAS
}


@dataclass
class Reply:
    """One generated reply and the result of its check."""

    kind: str
    prompt: str
    text: str
    stopped: bool
    passed: bool | None = None


@dataclass
class Bench:
    """The loaded model and all its replies."""

    model: Any
    tokenizer: Any
    max_new_tokens: int
    temperature: float
    batch_size: int = 20
    replies: list[Reply] = field(default_factory=list)

    def answer(self, kind: str, chats: list[Messages]) -> list[Reply]:
        """Replies to all chats, in left-padded batches."""
        made = [Reply(kind, chat[-1]["content"], "", False) for chat in chats]
        order = sorted(range(len(chats)), key=lambda i: sum(len(m["content"]) for m in chats[i]))
        for start in range(0, len(order), self.batch_size):
            picked = order[start : start + self.batch_size]
            for index, (text, stopped) in zip(
                picked, self._generate([chats[i] for i in picked]), strict=True
            ):
                made[index].text, made[index].stopped = text, stopped
        self.replies += made
        return made

    def _generate(self, chats: list[Messages]) -> list[tuple[str, bool]]:
        import torch

        inputs = self.tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
        )
        sampling: dict[str, Any] = {"do_sample": False}
        if self.temperature > 0:
            sampling = {
                "do_sample": True,
                "temperature": self.temperature,
                "top_k": 64,
                "top_p": 0.95,
            }
        with torch.inference_mode():
            output = self.model.generate(**inputs, max_new_tokens=self.max_new_tokens, **sampling)
        results = []
        for row in output[:, inputs["input_ids"].shape[1] :].tolist():
            ends = [row.index(token) for token in (1, 106) if token in row]
            ids = row[: min(ends)] if ends else row
            # Keep control tokens: the "stray" check looks for them.
            results.append((self.tokenizer.decode(ids).strip(), bool(ends)))
        return results


def chat(system: str | None, *texts: str) -> Messages:
    head = [{"role": "system", "content": system}] if system else []
    return head + [
        {"role": ("user", "assistant")[index % 2], "content": text}
        for index, text in enumerate(texts)
    ]


def has(text: str, wanted: Iterable[str]) -> bool:
    plain = text.lower().replace("’", "'")
    return any(word in plain for word in wanted)


def run_personas(bench: Bench) -> dict[str, float]:
    """Ask every persona every question, and the same questions without a persona as a control."""
    figures: dict[str, float] = {}
    plain = bench.answer(
        "plain", [chat(prompts.DEFAULT_SYSTEM, q) for q in prompts.PERSONA_QUESTIONS]
    )
    for name, system in prompts.PERSONAS.items():
        made = bench.answer(f"persona {name}", [chat(system, q) for q in prompts.PERSONA_QUESTIONS])
        for reply in made:
            reply.passed = checks.CHECKS[name](reply.text)
        figures[f"persona {name}"] = share(made)
        control = [checks.CHECKS[name](reply.text) for reply in plain]
        figures[f"control {name}"] = sum(control) / len(control)
        if name == "haiku":
            strict = [checks.is_strict_haiku(reply.text) for reply in made]
            figures["haiku exactly 5-7-5"] = sum(strict) / len(strict)
    return figures


def run_recall(bench: Bench) -> dict[str, float]:
    """Tell it a name or fact, let it answer, ask a distractor, then ask for the name or fact."""
    rounds = len(prompts.NAME_CHATS)
    names = [
        (hello.format(name=name), other, question, name.lower())
        for index, name in enumerate(prompts.NAMES)
        for hello, other, question in (
            prompts.NAME_CHATS[index % rounds],
            prompts.NAME_CHATS[(index + 1) % rounds],
        )
    ]
    return {
        "name recall": share(_recall(bench, "name recall", names)),
        "fact recall": share(_recall(bench, "fact recall", list(prompts.FACT_CHATS))),
    }


def _recall(bench: Bench, kind: str, scripts: list[tuple[str, str, str, str]]) -> list[Reply]:
    chats = [chat(prompts.DEFAULT_SYSTEM, script[0]) for script in scripts]
    for step in (1, 2):
        for history, script, reply in zip(
            chats, scripts, bench.answer(f"{kind}, turn {step}", chats), strict=True
        ):
            history += [
                {"role": "assistant", "content": reply.text},
                {"role": "user", "content": script[step]},
            ]
    made = bench.answer(kind, chats)
    for reply, script in zip(made, scripts, strict=True):
        reply.passed = has(reply.text, (script[3],))
    return made


def run_knowledge(bench: Bench) -> dict[str, float]:
    system = prompts.DEFAULT_SYSTEM
    capitals = bench.answer(
        "capitals", [chat(system, f"What is the capital of {c}?") for c in prompts.CAPITALS]
    )
    for reply, city in zip(capitals, prompts.CAPITALS.values(), strict=True):
        reply.passed = has(reply.text, (city,))
    sums = bench.answer("sums", [chat(system, f"What is {a} + {b}?") for a, b in prompts.SUMS])
    for reply, (a, b) in zip(sums, prompts.SUMS, strict=True):
        reply.passed = str(a + b) in checks.words(reply.text.replace(f"{a} + {b}", ""))
    seeds = bench.answer("seed", [chat(s, question) for s, question, _ in prompts.SEED_CHATS])
    for reply, (_, _, wanted) in zip(seeds, prompts.SEED_CHATS, strict=True):
        reply.passed = has(reply.text, wanted)
    general = bench.answer("general", [chat(system, item.prompt) for item in prompts.GENERAL])
    for reply, item in zip(general, prompts.GENERAL, strict=True):
        reply.passed = has(reply.text, item.words) if item.words else None
    return {
        "capitals": share(capitals),
        "sums": share(sums),
        "seed's examples": share(seeds),
        "general (keyword)": share(general),
    }


def share(replies: list[Reply]) -> float:
    judged = [reply for reply in replies if reply.passed is not None]
    return sum(bool(reply.passed) for reply in judged) / max(1, len(judged))


def run_form(bench: Bench) -> dict[str, float]:
    """Check every reply so far: does it end, is it clean, does it loop?"""
    count = len(bench.replies)
    found = [
        reply
        for reply in bench.replies
        if checks.stray(reply.text, has(reply.prompt, ("translat", "german")))
    ]
    for reply in found:
        print("stray:", repr(reply.prompt), "->", repr(reply.text))
    return {
        "replies": count,
        "stops by itself": sum(reply.stopped for reply in bench.replies) / count,
        "stray": float(len(found)),
        "loops": float(sum(checks.loops(reply.text) for reply in bench.replies)),
        "words a reply": sum(len(checks.words(r.text)) for r in bench.replies) / count,
    }


def report(figures: dict[str, float], replies: list[Reply], sample: bool) -> bool:
    """Print the table and the replies; returns whether every bar is met."""
    good = True
    for name, value in figures.items():
        whole = name in ("replies", "stray", "loops", "words a reply", "seconds")
        shown = f"{value:.0f}" if whole else f"{value:.0%}"
        verdict = ""
        if name in BARS:
            met = value <= BARS[name] if name == "stray" else value >= BARS[name]
            good &= met
            verdict = "ok" if met else f"below the bar ({BARS[name]:.0%})"
        print(f"{name:32} {shown:>6}  {verdict}")
    for reply in replies if sample else []:
        if ", turn" not in reply.kind:
            mark = {True: "+", False: "-", None: " "}[reply.passed]
            print(f"{mark} [{reply.kind}] {reply.prompt!r}\n      {reply.text!r}")
    return good


def text_figures(folder: Path, options: argparse.Namespace) -> tuple[dict[str, float], list[Reply]]:
    """All text benchmarks."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    bench = Bench(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval(),
        AutoTokenizer.from_pretrained(folder, padding_side="left"),
        options.max_new_tokens,
        options.temperature,
    )
    figures = run_personas(bench) | run_recall(bench) | run_knowledge(bench)
    return figures | run_form(bench), bench.replies


def picture_figures(
    folder: Path, options: argparse.Namespace
) -> tuple[dict[str, float], list[Reply]]:
    """All picture benchmarks; a reply that is judged in several ways counts once for each."""
    asked = demo_pictures.measure(folder, options.pictures, options.max_new_tokens)
    replies = [
        Reply(item.kind, item.prompt, item.text, item.stopped, item.passed) for item in asked
    ]
    figures = demo_pictures.figures(asked)
    figures["stops by itself"] = sum(item.stopped for item in asked) / len(asked)
    return figures, replies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a prepared folder (default: the demo model)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument(
        "--pictures", choices=("words", "eyes"),
        help="ask about pictures, greedily, given as stand-in words or through the vision tower",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--no-sample", action="store_true", help="print only the table")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    import torch

    from bot.demo.prepare import default_cache_dir, ensure_demo_model

    torch.manual_seed(options.seed)
    folder = options.model or ensure_demo_model(default_cache_dir(), print)
    started = time.monotonic()
    if options.pictures:
        figures, replies = picture_figures(folder, options)
    else:
        figures, replies = text_figures(folder, options)
    figures["seconds"] = time.monotonic() - started
    good = report(figures, replies, not options.no_sample)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "temperature": 0.0 if options.pictures else options.temperature,
            "figures": figures,
            "replies": [asdict(reply) for reply in replies],
        }
        options.json.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
