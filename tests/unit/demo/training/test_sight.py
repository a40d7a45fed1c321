"""The chats about pictures: they tell the truth about their scenes, in every voice."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from benchmarks import demo_checks as checks
from bot.demo.eyes.scene import CLASSES, COLORS, SLOTS, UNKNOWN, Scene
from bot.demo.eyes.words import slot_words
from bot.demo.training import build, everyday, personas, sayings, sight

CIRCLES = Scene("shapes", "three", "red", "circle", "blue")
LETTER = Scene("glyph", "one", "green", "R", "white")
PLAIN = Scene("plain", "no", "red", "nothing", "red")
MIXED = Scene("mixed", "several", UNKNOWN, "shapes", "black")
PHOTO = Scene("photo", "several", UNKNOWN, UNKNOWN, UNKNOWN)


@pytest.fixture(scope="module")
def chats() -> list[build.Chat]:
    return [chat for chat in build.build_chats() if chat.scenes]


def test_every_picture_in_a_text_has_its_scene(chats: list[build.Chat]) -> None:
    for chat in chats:
        assert sum(text.count(sight.PICTURE) for text in chat.turns[::2]) == len(chat.scenes)
        assert not any(sight.PICTURE in text for text in chat.turns[1::2])


def test_there_are_many_pictures_of_every_kind_and_class(chats: list[build.Chat]) -> None:
    scenes = [scene for chat in chats for scene in chat.scenes]
    assert len(scenes) >= 800
    for name, classes in CLASSES.items():
        counts = Counter(getattr(scene, name) for scene in scenes)
        assert set(counts) == set(classes), name
    assert {chat.kind for chat in chats} >= {f"sight {voice}" for voice in "PLBTFH"}
    assert any(text == sight.PICTURE for chat in chats for text in chat.turns[::2])


def test_no_reply_names_a_color_that_is_not_in_the_picture(chats: list[build.Chat]) -> None:
    judged = 0
    for chat in chats:
        if len(chat.turns) > 2 or chat.kind != "sight":
            continue
        colors = {scene.color for scene in chat.scenes} | {s.ground for s in chat.scenes}
        named = set(re.findall(r"\w+", chat.turns[1].lower())) & set(COLORS)
        judged += bool(named)
        assert named <= colors, chat
    assert judged > 150


@pytest.mark.parametrize(
    ("scene", "text"),
    [
        (CIRCLES, "three red circles on a blue background"),
        (LETTER, "the letter R in green on a white background"),
        (PLAIN, "only plain red"),
        (MIXED, "several different shapes on a black background"),
        (Scene("shapes", "one", "orange", "oval", "gray"), "an orange oval on a gray background"),
        (Scene("shapes", "two", "pink", "cross", "cyan"), "two pink crosses on a cyan background"),
        (Scene("glyph", "one", "pink", "7", "gray"), "the digit 7 in pink on a gray background"),
    ],
)  # fmt: skip
def test_a_scene_in_words(scene: Scene, text: str) -> None:
    assert sayings.whole(scene) == text


def test_every_question_about_a_photo_gets_the_honest_answer() -> None:
    rng = random.Random(1)
    for _ in range(60):
        assert sight.ask(PHOTO, rng)[1] in sayings.PHOTO


def test_yes_and_no_are_right_and_both_occur() -> None:
    rng = random.Random(2)
    begun = Counter[str]()
    for _ in range(200):
        question, answer = sight.yes_or_no(CIRCLES, rng)
        right = any(word in question for word in ("red", "blue", "circle"))
        mistaken = ("background" in question and "red" in question) or (
            "background" not in question and "blue" in question
        )
        assert answer.startswith("Yes" if right and not mistaken else "No"), (question, answer)
        begun[answer.split(",")[0]] += 1
    assert min(begun["Yes"], begun["No"]) > 60


@pytest.mark.parametrize("voice", "PLFBT")
@pytest.mark.parametrize("scene", [CIRCLES, LETTER, PHOTO])
def test_a_voiced_answer_is_in_its_voice(voice: str, scene: Scene) -> None:
    names = {"P": "pirate", "L": "love bug", "F": "physicist", "B": "butler", "T": "terse"}
    for seed in range(12):
        assert checks.CHECKS[names[voice]](sayings.voiced(scene, voice, random.Random(seed)))


def test_a_voiced_haiku_has_three_lines() -> None:
    for scene in (CIRCLES, LETTER, PLAIN, PHOTO):
        for seed in range(12):
            assert checks.is_haiku(sayings.voiced(scene, "H", random.Random(seed)))


def test_the_slots_say_the_scene_in_reading_order() -> None:
    said = " ".join(slot_words(CIRCLES))
    assert said.startswith("picture : shapes three red circle on a blue background .")
    assert len(slot_words(CIRCLES)) == len(SLOTS) == 16


def test_the_physicist_and_the_butler_keep_their_voices_in_everyday_talk() -> None:
    rng = random.Random(3)
    talk = [personas.sounds_physical(said, rng) for _, said in everyday.physics(rng, 300)]
    assert sum(map(checks.CHECKS["physicist"], talk)) >= 0.95 * len(talk)
    assert all(checks.CHECKS["butler"](said) for _, said in everyday.service(rng, 120))


def test_what_was_told_is_what_is_asked_for() -> None:
    for told, *_, answer in everyday.tellings(random.Random(4), 90):
        pet = answer.rstrip(".").split()[-1]
        assert pet in told
