"""The benchmark's judgment of answers about pictures."""

from __future__ import annotations

import random
from typing import Any

import pytest

from benchmarks import demo_pictures as pictures
from bot.demo.eyes.scene import UNKNOWN, Scene
from bot.demo.training import sayings

TWO = Scene("shapes", "two", "red", "cross", "blue")
PHOTO = Scene("photo", "several", UNKNOWN, UNKNOWN, UNKNOWN)
LETTER = Scene("glyph", "one", "red", "A", "blue")


def judge(scene: Scene, text: str) -> bool:
    wanted = tuple(pictures.describing(scene).values())
    return pictures.Asked("describe", "?", wanted, text, True).passed


@pytest.mark.parametrize("scene", [TWO, PHOTO, LETTER])
def test_what_the_training_says_passes(scene: Scene) -> None:
    for seed in range(12):
        assert judge(scene, sayings.describe(scene, random.Random(seed)))


@pytest.mark.parametrize(
    ("scene", "text"),
    [
        (TWO, "I see three red crosses on a blue background."),
        (TWO, "I see two blue crosses on a blue background."),
        (TWO, "I see two red crosses on a green background."),
        (TWO, "I see two red stars on a blue background."),
        (PHOTO, "I see a dog on a beach."),
        (LETTER, "A red circle on a blue background."),
    ],
)
def test_one_wrong_part_fails(scene: Scene, text: str) -> None:
    assert not judge(scene, text)


def test_the_questions_are_asked_in_every_kind_and_a_parrot_fails() -> None:
    def parrot(
        _scene: Scene, _picture: Any, _system: str | None, question: str
    ) -> tuple[str, bool]:
        return question, True

    figures = pictures.figures(pictures.ask_all(parrot, pictures.Words.seen))
    assert {"picture describe", "picture count", "picture yes or no"} <= set(figures)
    content = [value for kind, value in figures.items() if not kind.endswith("voice")]
    assert max(content) < 0.5
