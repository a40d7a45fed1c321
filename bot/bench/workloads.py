"""Seeded workloads: who asks what, when, and how many tokens come back."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

SYSTEM = "You are Parley, a helpful assistant in a team chat. Be friendly, clear and brief."

_TOPICS = (
    "the sky", "a rainbow", "the tides", "bread", "a bicycle", "the moon", "a volcano", "honey",
    "glass", "thunder", "a compass", "chess", "coffee", "rain", "a violin", "snow", "salt", "steel",
)  # fmt: skip
_QUESTIONS = (
    "Tell me something about {topic}.",
    "Explain {topic} to a child, please, and say why people care about it.",
    "I have a meeting in ten minutes and was asked about {topic}. What are the three most "
    "important things that I should say, and which one comes first?",
    "What is {topic}?",
)


@dataclass(frozen=True, slots=True)
class Request:
    """One question. `at_s`: seconds after the start; `new_tokens`: exactly so many come back."""

    conversation: str
    owner: str
    at_s: float
    system: str
    text: str
    new_tokens: int


def steady(conversations: int, seed: int = 0) -> list[Request]:
    """`conversations` different questions, all at once, 48 new tokens each."""
    rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
    return [
        Request(
            conversation=f"c{n}",
            owner=f"u{n}",
            at_s=0.0,
            system=SYSTEM,
            text=rng.choice(_QUESTIONS).format(topic=rng.choice(_TOPICS)),
            new_tokens=48,
        )
        for n in range(conversations)
    ]


WORKLOADS: dict[str, Callable[[int, int], list[Request]]] = {"steady": steady}
