"""The benchmark's checkers pass what they should and fail an ordinary answer."""

from __future__ import annotations

import pytest

from benchmarks import demo_checks as checks

PLAIN = "The moon goes around the Earth in about four weeks. It has no air and no water."
GOOD = {
    "pirate": "Arr, the moon be a fine lantern, matey!",
    "love bug": "Oh sweetheart, the moon shines for you.",
    "physicist": "The moon is held in its orbit by gravity.",
    "butler": "The moon is rather bright tonight, sir.",
    "terse": "A rock in orbit.",
    "haiku": "Lamp above the barn\nit lends its light to the pond\nand asks for none back",
}


@pytest.mark.parametrize("persona", GOOD)
def test_a_persona_check_tells_its_voice_from_a_plain_answer(persona: str) -> None:
    assert checks.CHECKS[persona](GOOD[persona])
    assert not checks.CHECKS[persona](PLAIN)


def test_a_long_sentence_and_two_short_ones_are_not_terse() -> None:
    assert not checks.is_terse("It is a large rock that goes around the Earth every month.")
    assert not checks.is_terse("A rock. It orbits.")


def test_two_lines_or_long_lines_are_no_haiku() -> None:
    assert not checks.is_haiku("one line\nanother line of it")
    assert not checks.is_haiku(
        "a\nb\nan extraordinarily long and complicated closing line of words"
    )


def test_a_strict_haiku_has_five_seven_and_five() -> None:
    assert checks.is_strict_haiku(GOOD["haiku"])
    assert not checks.is_strict_haiku("the moon\nthe moon\nthe moon")


@pytest.mark.parametrize(
    "text", ["all <unused43> right", "hi <start_of_turn>", "la fórmula", "你好"]
)
def test_stray_tokens_and_scripts_are_found(text: str) -> None:
    assert checks.stray(text)


@pytest.mark.parametrize("text", ["plain – “quoted”…", "a café", "E = mc²", "x < y > z"])
def test_typographic_text_is_not_stray(text: str) -> None:
    assert checks.stray(text) is None


def test_foreign_letters_are_fine_in_a_translation() -> None:
    assert checks.stray("señor, schön, déjà", translation=True) is None


def test_a_loop_is_the_same_four_words_three_times() -> None:
    assert checks.loops("we go to town " * 3)
    assert not checks.loops("we go to town and then we go home")
