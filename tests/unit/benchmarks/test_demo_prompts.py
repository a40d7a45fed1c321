"""The benchmark's prompts are held out: none of them occurs in the training chats."""

from __future__ import annotations

import re

import pytest

from benchmarks import demo_prompts as held
from bot.demo.eyes.scene import COLORS
from bot.demo.training import build, sight, words
from bot.demo.training import personas as training_personas


def normalize(text: str) -> str:
    return re.sub(r"[^a-z0-9+]+", " ", text.lower()).strip()


@pytest.fixture(scope="module")
def chats() -> list[build.Chat]:
    return build.build_chats()


@pytest.fixture(scope="module")
def asked(chats: list[build.Chat]) -> set[str]:
    texts = (text for chat in chats for text in chat.turns[::2])
    return {normalize(text.rpartition(sight.PICTURE)[2]) for text in texts}


def held_out() -> set[str]:
    prompts = {item.prompt for item in held.GENERAL} | set(held.PERSONA_QUESTIONS)
    prompts |= {question for _, question, _ in held.SEED_CHATS}
    prompts |= {text for chat in held.NAME_CHATS for text in chat[1:]}
    prompts |= {text for chat in held.FACT_CHATS for text in chat[:3]}
    prompts |= {f"What is the capital of {country}?" for country in held.CAPITALS}
    prompts |= {f"What is {a} + {b}?" for a, b in held.SUMS}
    prompts |= set(held.PICTURE_DESCRIBE).union(*held.PICTURE_QUESTIONS.values())
    prompts |= {ask.format(c=color) for ask in held.PICTURE_YES_NO for color in COLORS}
    prompts |= {chat[0].format(name=name) for chat in held.NAME_CHATS for name in held.NAMES}
    return {normalize(prompt) for prompt in prompts}


def test_no_held_out_prompt_is_trained_on(asked: set[str]) -> None:
    assert held_out() & asked == set()


def test_no_held_out_name_or_country_is_trained_on(asked: set[str]) -> None:
    assert set(held.NAMES) & set(words.NAMES) == set()
    assert set(held.CAPITALS) & set(words.CAPITALS) == set()


def test_the_held_out_sums_are_the_ones_left_out_of_the_data(asked: set[str]) -> None:
    assert set(held.SUMS) == build.HELD_OUT_SUMS
    for a, b in held.SUMS:
        for one, two in ((a, b), (b, a)):
            assert not any(re.search(rf"\b{one} (\+|plus|and) {two}\b", text) for text in asked)


def test_the_personas_measured_are_the_personas_trained() -> None:
    voices = dict(zip("PLFBTH", held.PERSONAS.values(), strict=True))
    assert {voice: texts[0] for voice, texts in training_personas.SYSTEMS.items()} == voices
    assert held.DEFAULT_SYSTEM == training_personas.DEFAULT_SYSTEM


def test_the_chats_are_many_and_well_formed(chats: list[build.Chat]) -> None:
    assert len(chats) >= 4500
    for chat in chats:
        assert len(chat.turns) % 2 == 0
        assert all(text.strip() for text in chat.turns[1::2]), chat


def test_the_same_seed_gives_the_same_chats(chats: list[build.Chat]) -> None:
    assert build.build_chats() == chats
