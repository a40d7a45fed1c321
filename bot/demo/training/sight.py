"""Chats about pictures: questions and answers about what the slots of `bot.demo.eyes` encode.

`PICTURE` marks a picture in a turn's text; the chat has one scene for each. The tower recognizes one
kind of thing per picture, its number and color, and the background; about anything else Parley must
say that it can't make it out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bot.demo.eyes.scene import COLORS, GLYPHS, SHAPES, Scene

from . import personas, words
from .generators import Turns
from .sayings import (
    a,
    beyond,
    color,
    count,
    describe,
    glyph,
    ground,
    it,
    named,
    plural,
    random_scene,
    read,
    shape,
    subject,
    verb,
    voiced,
    whole,
)

PICTURE = "<start_of_image>"


@dataclass(frozen=True)
class Seen:
    """A chat being built: texts with `PICTURE` in them, its scenes, optionally a system text."""

    turns: Turns
    scenes: tuple[Scene, ...]
    system: str | None
    voice: str | None = None


# Questions, and functions that answer them for a scene.
DESCRIBE = (
    "What do you see?", "what do you see", "What is in this picture?", "What's in the picture?",
    "Can you describe this?", "Describe the picture.", "describe this image", "What is this?",
    "what's this?", "What can you see here?", "look at this", "Look!", "What does it show?",
    "What does the image show?", "Tell me what you see.", "Tell me about this picture.",
    "what is that", "Explain this picture.", "Can you see this?", "Do you see it?",
    "What is shown here?", "and this?", "Caption this.", "Any idea what this is?", "",
    "", "", "",
)  # fmt: skip
COLOR = (
    "What colour is it?", "what color is it?", "Which colour do you see?", "the colour?",
    "What colour is the {t}?", "Which colour does the {t} have?", "Tell me its colour.",
    "What color is this?", "Is there a colour?", "colour of the {t}?", "What colour has the {t}?",
)  # fmt: skip
GROUND = (
    "What colour is the background?", "And the background?", "What is behind it?",
    "background colour?", "Which colour has the background?", "What's the background like?",
    "On what background?", "What color is the background?", "Describe the background.",
)  # fmt: skip
SHAPE = (
    "What shape is it?", "Which shape do you see?", "what shape is this", "Name the shape.",
    "What kind of shape is that?", "Which figure is it?", "the shape?", "What form is it?",
)  # fmt: skip
COUNT = (
    "How many are there?", "How many {t} do you see?", "how many?", "Count them.",
    "How many {t} are in the picture?", "Can you count the {t}?", "How many things are there?",
    "what number of {t}?", "How many shapes are there?",
)  # fmt: skip
READ = (
    "What does it say?", "Which letter is this?", "Read it.", "Which character do you see?",
    "What is written here?", "Read this for me", "Can you read it?", "What letter or digit is it?",
    "Which number is that?", "Is there any text?",
)  # fmt: skip
BEYOND = (
    "Who is this?", "Is this my dog?", "How many people are there?", "What does the chart show?",
    "Where was this taken?", "What is the error here?", "Is this a photo of Paris?",
    "Do you recognise the person?", "What brand is the car?", "Please summarise this.",
)  # fmt: skip


Answer = Callable[[Scene, random.Random], str]
ASKS: tuple[tuple[tuple[str, ...], Answer, int], ...] = (
    (DESCRIBE, describe, 40), (COLOR, color, 17), (GROUND, ground, 12), (SHAPE, shape, 10),
    (COUNT, count, 14), (READ, read, 9), (BEYOND, beyond, 6),
)  # fmt: skip


def ask(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """A question that suits the scene, and its answer."""
    if rng.random() < 0.2 and scene.kind in ("shapes", "glyph", "plain"):
        return yes_or_no(scene, rng)
    weights = [
        weight * (4 if answer is read and scene.kind == "glyph" else 1)
        for _, answer, weight in ASKS
    ]
    questions, answer, _ = rng.choices(ASKS, weights)[0]
    question = rng.choice(questions)
    if "{t}" in question:
        if scene.kind not in ("shapes", "glyph"):
            return ask(scene, rng)
        thing = "letter" if scene.kind == "glyph" else named(scene)
        if answer is count:
            thing = "letters" if scene.kind == "glyph" else plural(scene.thing)
        question = question.format(t=thing)
        if verb(scene) == "are":
            question = question.replace(" is the ", " are the ").replace("does the", "do the")
            question = question.replace("colour has the", "colour have the")
    return question, answer(scene, rng)


def yes_or_no(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """A yes-or-no question; half of the answers are yes."""
    right = rng.random() < 0.5
    if scene.kind == "plain" or rng.random() < 0.3:
        guess = scene.ground if right else _another(scene.ground, tuple(COLORS), rng)
        question = rng.choice(("Is the background {c}?", "Does it have a {c} background?"))
        return question.format(c=guess), (
            f"Yes, the background is {guess}." if right
            else f"No, the background is {scene.ground}."
        )  # fmt: skip
    if rng.random() < 0.5:
        guess = scene.color if right else _another(scene.color, tuple(COLORS), rng)
        start = "Are they" if verb(scene) == "are" else "Is it"
        they = it(scene).lower()
        return f"{start} {guess}?", (
            f"Yes, {they} {guess}." if right else f"No, {they} {scene.color}."
        )
    pool = GLYPHS if scene.kind == "glyph" else SHAPES
    guess = scene.thing if right else _another(scene.thing, pool, rng)
    if scene.kind == "glyph":
        return f"Is this the {'digit' if guess.isdigit() else 'letter'} {guess}?", (
            f"Yes, it is the {glyph(scene)}." if right else f"No, it is the {glyph(scene)}."
        )
    question = rng.choice(("Is there {a} in the picture?", "Do you see {a}?", "Is that {a}?"))
    return question.format(a=a(guess)), (
        f"Yes, I see {subject(scene)}." if right else f"No, I see {subject(scene)}."
    )


def _another(value: str, pool: tuple[str, ...], rng: random.Random) -> str:
    return rng.choice([other for other in pool if other != value])


def sight_chats(rng: random.Random, small: list[Turns], scale: float = 1.0) -> Iterator[Seen]:
    """All picture chats, `scale` times the usual number of each kind."""
    makers: tuple[tuple[Callable[[random.Random, list[Turns]], Seen], int], ...] = (
        (_single, 330), (_followed, 170), (_in_voice, 190), (_two, 45), (_later, 45),
        (_named_speakers, 40),
    )  # fmt: skip
    for make, many in makers:
        for _ in range(round(many * scale)):
            yield make(rng, small)


def _single(rng: random.Random, _small: list[Turns]) -> Seen:
    scene = random_scene(rng)
    question, answer = ask(scene, rng)
    return Seen([PICTURE + question, answer], (scene,), None)


def _followed(rng: random.Random, small: list[Turns]) -> Seen:
    """Further questions about the same picture, sometimes with another topic in between."""
    scene = random_scene(rng)
    question, answer = ask(scene, rng)
    turns = [PICTURE + question, answer]
    if rng.random() < 0.3:
        turns += rng.choice(small)
    for _ in range(rng.choice((1, 1, 2))):
        question, answer = ask(scene, rng)
        while not question or question in turns:
            question, answer = ask(scene, rng)
        if rng.random() < 0.2:
            question = f"And {question[0].lower()}{question[1:]}"
        turns += [question, answer]
    return Seen(turns, (scene,), None)


def _in_voice(rng: random.Random, _small: list[Turns]) -> Seen:
    scene, voice = random_scene(rng), rng.choice("PLBTFH")
    turns = [PICTURE + rng.choice(DESCRIBE), voiced(scene, voice, rng)]
    if voice in "PLBF" and rng.random() < 0.4:
        question, answer = ask(scene, rng)
        if question and PICTURE + question not in turns:
            turns += [question, personas.VOICES[voice](answer, rng)]
    return Seen(turns, (scene,), personas.system_for(voice, rng), voice)


_FILES = ("a.png", "one.png", "first.png", "red.jpg", "drawing.png", "left.webp", "IMG_11.jpg")
_OTHER_FILES = ("b.png", "two.png", "second.png", "new.jpg", "sketch.png", "right.webp")


def _two(rng: random.Random, _small: list[Turns]) -> Seen:
    """Two pictures in one message, numbered as Parley does."""
    one, two = random_scene(rng, _clear(rng)), random_scene(rng, _clear(rng))
    head = (
        f"Picture 1 ({rng.choice(_FILES)}):{PICTURE}"
        f"Picture 2 ({rng.choice(_OTHER_FILES)}):{PICTURE}"
    )
    seen = [whole(scene).removeprefix("only ") for scene in (one, two)]
    both = rng.choice(
        ("The first picture shows {0}, the second shows {1}.", "Picture 1 shows {0}, picture 2 {1}.",
         "First {0}, then {1}.")
    ).format(*seen)  # fmt: skip
    question, answer = rng.choice(
        (("What do you see?", both), ("Describe both pictures.", both), ("", both),
         ("Compare them.", both), ("What is in these pictures?", both),
         ("What is in the first picture?", f"The first picture shows {seen[0]}."),
         ("What is in picture 2?", f"Picture 2 shows {seen[1]}."),
         ("And the second one?", f"The second picture shows {seen[1]}."),
         ("Which colour has the background of the first?",
          f"The background of the first is {one.ground}."))
    )  # fmt: skip
    return Seen([head + question, answer], (one, two), None)


def _later(rng: random.Random, small: list[Turns]) -> Seen:
    """A picture, something unrelated, and another picture, each described separately."""
    one, two = random_scene(rng), random_scene(rng)
    (first, told), (second, retold) = ask(one, rng), ask(two, rng)
    if first == second:
        second, retold = f"{second} (a new one)".strip(), describe(two, rng)
    turns = [PICTURE + first, told]
    if rng.random() < 0.6:
        turns += rng.choice(small)
    return Seen([*turns, PICTURE + second, retold], (one, two), None)


def _named_speakers(rng: random.Random, small: list[Turns]) -> Seen:
    """A picture in a thread of several people."""
    first, second = rng.sample(words.NAMES, 2)
    scene = random_scene(rng)
    question, answer = ask(scene, rng)
    other, reply = rng.choice(small)
    start = f"{first}:{PICTURE}{question}" if question else f"{first} sent:{PICTURE}"
    if rng.random() < 0.5:
        return Seen([f"{second}: {other}", reply, start, answer], (scene,), None)
    follow, told = ask(scene, rng)
    if not follow or follow == question:
        follow, told = f"what did {first} send?", f"{first} sent a picture. {describe(scene, rng)}"
    return Seen([start, answer, f"{second}: {follow}", told], (scene,), None)


def _clear(rng: random.Random) -> str:
    return rng.choice(("shapes", "shapes", "glyph", "plain"))
