"""Checks whether a persona is recognizable, and checks that apply to any reply.

Each persona has a keyword or form check that an ordinary answer should fail. The benchmark also
prints how many answers without a persona pass it, which exposes a check that always passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

PIRATE = re.compile(
    r"\b(arr+|ahoy|matey|mateys|ye|yer|aye|nay|yo ho|me hearties|landlubber|shiver|cap'n|avast)\b",
    re.IGNORECASE,
)
LOVE = re.compile(
    r"\b(sweetheart|darling|honey|my dear|dear|love|lovely|loved|hug|hugs|kiss|heart|adore|sweet|"
    r"cuddle|sweetie)\b",
    re.IGNORECASE,
)
PHYSICS = re.compile(
    r"\b(physics|physical|physicist|energy|force|forces|mass|gravity|gravitational|photons?|"
    r"electrons?|atoms?|molecules?|waves?|wavelengths?|frequenc\w+|pressure|temperature|heat|"
    r"entropy|equilibrium|momentum|velocity|particles?|quantum|radiation|density|friction|"
    r"oscillat\w+|orbit\w*|thermodynamic\w*|kinetic|system|state)\b",
    re.IGNORECASE,
)
BUTLER = re.compile(r"\b(sir|madam|ma'am)\b", re.IGNORECASE)

TERSE_WORDS = 10
HAIKU_SYLLABLES = range(3, 10)


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z0-9'’-]+", text)


def syllables(line: str) -> int:
    """Counts vowel groups, minus a silent final e; sometimes off by one, but good enough."""
    total = 0
    for word in re.findall(r"[a-z']+", line.lower()):
        groups = len(re.findall(r"[aeiouy]+", word))
        if groups > 1 and re.search(r"[^aeiouyl]e$|[^aeiouytd]ed$", word):
            groups -= 1
        total += max(1, groups)
    return total


def is_haiku(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    return len(lines) == 3 and all(syllables(line) in HAIKU_SYLLABLES for line in lines)


def is_strict_haiku(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    return [syllables(line) for line in lines] == [5, 7, 5]


def is_terse(text: str) -> bool:
    sentences = [part for part in re.split(r"[.!?]+(?:\s|$)", text.strip()) if part.strip()]
    return 0 < len(words(text)) <= TERSE_WORDS and len(sentences) == 1


CHECKS: dict[str, Callable[[str], bool]] = {
    "pirate": lambda text: bool(PIRATE.search(text)),
    "love bug": lambda text: bool(LOVE.search(text)),
    "physicist": lambda text: bool(PHYSICS.search(text)),
    "butler": lambda text: bool(BUTLER.search(text)),
    "terse": is_terse,
    "haiku": is_haiku,
}

_CONTROL = re.compile(r"<(unused\d+|[a-z]+_of_[a-z]+|bos|eos|pad|unk|mask)>", re.IGNORECASE)
_FOREIGN = re.compile(r"[^\W\d_a-zA-Z²³]")  # a letter outside A to Z


def stray(text: str, translation: bool = False) -> str | None:
    """A control token or an unexpected foreign letter; None if the reply has neither."""
    if match := _CONTROL.search(text):
        return match.group()
    allowed = "áéíóúñüäößàâçèêëîïôûœ¿¡" if translation else "é"
    foreign = [c for c in _FOREIGN.findall(text) if c.lower() not in allowed]
    return foreign[0] if foreign else None


def loops(text: str) -> bool:
    """Whether the same four words occur three times."""
    all_words = [word.lower() for word in words(text)]
    seen: dict[tuple[str, ...], int] = {}
    for index in range(len(all_words) - 3):
        gram = tuple(all_words[index : index + 4])
        seen[gram] = seen.get(gram, 0) + 1
    return any(count >= 3 for count in seen.values())
