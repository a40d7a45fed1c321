"""The token of Gemma's vocabulary that each slot of a picture stands for."""

from __future__ import annotations

from typing import Any

from .scene import CLASSES, SLOTS, SPOKEN, Scene, attribute


def word_token_id(word: str, tokenizer: Any) -> int:
    """The token of a slot's word as in running text: with a leading space.

    Digits have no such token, so theirs is without. Raises ValueError for a word of two tokens.
    """
    spoken = SPOKEN.get(word, word)
    ids = tokenizer.encode(spoken if spoken.isdigit() else f" {spoken}", add_special_tokens=False)
    if len(ids) != 1:
        raise ValueError(f"{spoken!r} is {len(ids)} tokens; a slot needs a word of one")
    return int(ids[0])


def class_token_ids(tokenizer: Any) -> dict[str, list[int]]:
    """For each key of `CLASSES`, the tokens of its classes, in order."""
    return {
        name: [word_token_id(word, tokenizer) for word in classes]
        for name, classes in CLASSES.items()
    }


def slot_words(scene: Scene) -> list[str]:
    """The slots' words for a scene, in reading order."""
    return [slot[1:] if slot.startswith("=") else attribute(scene, slot) for slot in SLOTS]


def slot_token_ids(scene: Scene, tokenizer: Any) -> list[int]:
    """The tokens that stand in for a picture's soft tokens, one per slot."""
    return [word_token_id(word, tokenizer) for word in slot_words(scene)]
