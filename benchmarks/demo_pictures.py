"""Measure the demo's answers about pictures, given as stand-in words or through its vision tower.

`words`: the soft tokens are the words that the tower should produce, which measures the chat
adapter alone. `eyes`: rendered pictures go through the model's processor and tower.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from bot.demo.eyes.scene import Scene

from . import demo_checks as checks
from . import demo_prompts as prompts

Mode = Literal["words", "eyes"]
Answer = Callable[[Scene, Any, str | None, str], tuple[str, bool]]
SEED = 20261124  # scenes may also occur in training: there are 8,000, and training uses 900
KINDS = ("shapes",) * 6 + ("glyph",) * 2 + ("plain", "photo")
NUMBERS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}
HONEST = ("colours and simple shapes", "can't", "cannot", "not photo", "no photo")


class Asked(NamedTuple):
    """One question about one picture, the words its answer must contain, and the answer."""

    kind: str
    prompt: str
    wanted: tuple[tuple[str, ...], ...]
    text: str
    stopped: bool

    @property
    def passed(self) -> bool:
        said = checks.words(self.text) + checks.words(self.text.lower())
        return all(
            any(word in said or (" " in word and word in self.text.lower()) for word in words)
            for words in self.wanted
        )


def names(thing: str) -> tuple[str, ...]:
    """A shape's name and plural; a character itself, except "A", which is also a word."""
    if thing == "A":
        return ("letter a", "says a", "character a", "sign a")
    if len(thing) == 1:
        return (thing,)
    return (thing, thing + "s", thing + "es")


def describing(scene: Scene) -> dict[str, tuple[str, ...]]:
    """The words that a full description must contain, by attribute."""
    if scene.kind == "photo":
        return {"photo": HONEST}
    if scene.kind == "plain":
        return {"background": (scene.ground,)}
    parts = {"thing": names(scene.thing), "color": (scene.color,), "background": (scene.ground,)}
    if scene.count in NUMBERS and scene.count != "one":
        parts["count"] = (scene.count, NUMBERS[scene.count])
    return parts


def ask_all(answer: Answer, seen: Callable[[random.Random, str], tuple[Scene, Any]]) -> list[Asked]:
    """Ask every held-out question about its own pictures."""
    rng = random.Random(SEED)
    asked: list[Asked] = []

    def ask(kind: str, scene: Scene, picture: Any, system: str | None, question: str,
            *wanted: tuple[str, ...]) -> str:  # fmt: skip
        text, stopped = answer(scene, picture, system, question)
        asked.append(Asked(kind, question, wanted, text, stopped))
        return text

    for index in range(40):
        scene, picture = seen(rng, KINDS[index % len(KINDS)])
        question = prompts.PICTURE_DESCRIBE[index % len(prompts.PICTURE_DESCRIBE)]
        parts = describing(scene)
        ask("describe", scene, picture, prompts.DEFAULT_SYSTEM, question, *parts.values())
        said = asked[-1]
        asked += [said._replace(kind=f"describe: {name}", wanted=(words,))
                  for name, words in parts.items()]  # fmt: skip
    for kind, questions in prompts.PICTURE_QUESTIONS.items():
        for index in range(12):
            scene, picture = seen(rng, "glyph" if kind == "read" else "shapes")
            wanted = {
                "color": (scene.color,), "background": (scene.ground,),
                "shape": names(scene.thing), "count": (scene.count, NUMBERS[scene.count]),
                "read": names(scene.thing),
            }[kind]  # fmt: skip
            question = questions[index % len(questions)]
            ask(kind, scene, picture, prompts.DEFAULT_SYSTEM, question, wanted)
    for index in range(16):
        scene, picture = seen(rng, "shapes")
        right = index % 2 == 0
        color = scene.color if right else rng.choice(
            [c for c in ("red", "blue", "green", "yellow") if c not in (scene.color, scene.ground)]
        )  # fmt: skip
        question = prompts.PICTURE_YES_NO[index % 2 if index < 8 else 0].format(c=color)
        ask("yes or no", scene, picture, prompts.DEFAULT_SYSTEM, question,
            ("yes",) if right else ("no",))  # fmt: skip
    for name, system in prompts.PERSONAS.items():
        for index in range(5):
            scene, picture = seen(rng, "shapes")
            question = prompts.PICTURE_DESCRIBE[index % len(prompts.PICTURE_DESCRIBE)]
            text = ask(f"persona {name}: thing", scene, picture, system, question,
                       names(scene.thing), (scene.color,))  # fmt: skip
            # Require nothing if the voice is right, and an impossible word otherwise.
            voice: tuple[tuple[str, ...], ...] = () if checks.CHECKS[name](text) else (("\0",),)
            asked.append(asked[-1]._replace(kind=f"persona {name}: voice", wanted=voice))
    return asked


def figures(asked: list[Asked]) -> dict[str, float]:
    kinds = list(dict.fromkeys(item.kind for item in asked))
    return {
        f"picture {kind}": sum(i.passed for i in asked if i.kind == kind)
        / sum(i.kind == kind for i in asked)
        for kind in kinds
    }


class Words:
    """Answers from stand-in words, which attend to each other like a picture's soft tokens."""

    def __init__(self, model: Any, tokenizer: Any, limit: int) -> None:
        self.tokenizer, self.limit = tokenizer, limit
        decoder = model.model
        self.decoder = getattr(decoder, "language_model", decoder)
        self.head = model.lm_head

    @staticmethod
    def seen(rng: random.Random, kind: str) -> tuple[Scene, None]:
        from bot.demo.training.sayings import random_scene

        return random_scene(rng, kind), None

    def answer(
        self, scene: Scene, _picture: Any, system: str | None, question: str
    ) -> tuple[str, bool]:
        """A greedy reply and whether it stopped by itself."""
        import torch
        from transformers import DynamicCache

        from bot.demo.training import build, sight, train

        chat = build.Chat("picture", system, (sight.PICTURE + question,), (scene,))
        prompt = train.encode_prompt(self.tokenizer, chat)
        ids, said = torch.tensor([prompt.ids]), list[int]()
        cache = DynamicCache(config=self.decoder.config)
        mask: Any = train.picture_masks([prompt], len(prompt.ids))
        with torch.inference_mode():
            while len(said) < self.limit:
                hidden = self.decoder(
                    input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True
                ).last_hidden_state
                token = int(self.head(hidden[:, -1]).argmax())
                if token in (1, train.END_OF_TURN):
                    return self.tokenizer.decode(said).strip(), True
                said.append(token)
                ids, mask = torch.tensor([[token]]), None
        return self.tokenizer.decode(said).strip(), False


class Eyes:
    """Answers from rendered pictures, through the processor and the tower."""

    def __init__(self, model: Any, processor: Any, limit: int) -> None:
        self.model, self.processor, self.limit = model, processor, limit

    @staticmethod
    def seen(rng: random.Random, kind: str) -> tuple[Scene, Any]:
        from bot.demo.eyes.render import draw

        picture, scene, _spots = draw(rng, kind)
        return scene, picture

    def answer(
        self, _scene: Scene, picture: Any, system: str | None, question: str
    ) -> tuple[str, bool]:
        """A greedy reply and whether it stopped by itself."""
        import torch

        content: list[dict[str, Any]] = [{"type": "image", "image": picture}]
        if question:
            content.append({"type": "text", "text": question})
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if system:
            head = [{"type": "text", "text": system}]
            messages.insert(0, {"role": "system", "content": head})
        inputs = self.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt",
        ).to(self.model.dtype)  # fmt: skip
        with torch.inference_mode():
            output = self.model.generate(**inputs, max_new_tokens=self.limit, do_sample=False)
        said = output[0, inputs["input_ids"].shape[1] :].tolist()
        ends = [said.index(token) for token in (1, 106) if token in said]
        text = self.processor.tokenizer.decode(said[: min(ends)] if ends else said)
        return text.strip(), bool(ends)


def measure(folder: Any, mode: Mode, limit: int) -> list[Asked]:
    """Load the prepared model and ask all questions greedily."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoProcessor,
        AutoTokenizer,
    )

    if mode == "words":
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
        words = Words(model, AutoTokenizer.from_pretrained(folder), limit)
        return ask_all(words.answer, words.seen)
    whole = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.bfloat16).eval()
    eyes = Eyes(whole, AutoProcessor.from_pretrained(folder), limit)
    return ask_all(eyes.answer, eyes.seen)
