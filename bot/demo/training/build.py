"""Build the training chats from hand-written ones and templates, with many personas.

python -m bot.demo.training.build            # counts
python -m bot.demo.training.build --show 20  # and a sample
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bot.demo.eyes.scene import Scene

from . import everyday, generators, personas, sight
from .generators import Turns

CHATS = Path(__file__).parent / "chats"
SEED = 3
HAIKU_ASKS = (
    "Tell me about {t}.", "What do you think about {t}?", "{t}", "Say something about {t}.",
    "What can you tell me about {t}?", "Do you like {t}?", "I am thinking about {t}.",
    "Describe {t}.", "Explain {t} to me.", "What is special about {t}?",
)  # fmt: skip
HAIKU_PLAIN = ("Write a haiku about {t}.", "A haiku about {t}, please.", "haiku: {t}")
POLITE_ASKS = (
    "Make this polite: {t}", "Say it politely: {t}", "Rewrite politely: {t}",
    "Make it more polite: {t}", "How do I say this nicely: {t}", "Please make this sound nicer: {t}",
    "Can you make this friendlier? {t}", "Polite version of: {t}",
)  # fmt: skip


@dataclass(frozen=True)
class Chat:
    """One training chat: the system text (or none) and alternating user and assistant texts."""

    kind: str
    system: str | None
    turns: tuple[str, ...]
    #: The pictures' scenes: one for each `sight.PICTURE` in the turns, in order.
    scenes: tuple[Scene, ...] = ()

    def messages(self) -> list[dict[str, str]]:
        head = [{"role": "system", "content": self.system}] if self.system else []
        roles = ("user", "assistant")
        return head + [
            {"role": roles[index % 2], "content": text} for index, text in enumerate(self.turns)
        ]


@dataclass
class Item:
    """One piece of knowledge: the question's wordings and each voice's answers."""

    questions: list[str] = field(default_factory=list)
    answers: dict[str, list[str]] = field(default_factory=dict)


def read_items(path: Path) -> list[Item]:
    items: list[Item] = []
    for line in _lines(path):
        tag, text = line[0], line[3:].strip()
        if tag == "Q":
            items.append(Item([part.strip() for part in text.split(" / ")]))
        else:
            answer = text.replace(" / ", "\n") if tag == "H" else text
            items[-1].answers.setdefault(tag, []).append(answer)
    return items


def read_pairs(name: str, arrow: str = " => ") -> Iterator[tuple[str, str]]:
    for line in _lines(CHATS / name):
        left, _, right = line.partition(arrow)
        yield left.strip(), right.strip().replace("\\n", "\n")


def read_exchanges(name: str) -> Iterator[Turns]:
    """`wording / wording => answer`: one exchange for each wording."""
    for asks, answer in read_pairs(name):
        for ask in asks.split(" / "):
            yield [ask.strip(), answer]


def read_conversations() -> Iterator[Chat]:
    text = (CHATS / "conversations.txt").read_text(encoding="utf-8")
    for block in text.split("\n\n")[1:]:
        system, turns = personas.DEFAULT_SYSTEM, list[str]()
        for line in block.strip().splitlines():
            if line.startswith("S: "):
                system = line[3:]
            elif line.startswith(("U: ", "A: ")):
                turns.append(line[3:])
            else:
                turns[-1] += "\n" + line
        yield Chat("conversation", system, tuple(turns))


def _lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("# ")]


def plain_system(rng: random.Random) -> str | None:
    """Usually the app's default system text, sometimes none or another plain one."""
    roll = rng.random()
    if roll < 0.55:
        return personas.DEFAULT_SYSTEM
    return None if roll < 0.8 else rng.choice(personas.PLAIN_SYSTEMS)


def plain_exchanges(items: list[Item], rng: random.Random) -> Iterator[Turns]:
    for item in items:
        for question in item.questions:
            yield [question, rng.choice(item.answers["A"])]


def persona_exchanges(
    items: list[Item], voice: str, count: int, rng: random.Random
) -> Iterator[Turns]:
    """Answers in a persona's voice: hand-written if there is one, otherwise from a template."""
    written = [item for item in items if voice in item.answers]
    others = [item for item in items if voice not in item.answers and "A" in item.answers]
    for index in range(count):
        # Physics, brevity and haiku must be written by hand; the others also have templates.
        template = voice not in "FTH" and others and index % 8 >= 5
        item = rng.choice(others if template else written)
        question = rng.choice(item.questions)
        if voice in item.answers:
            yield [question, rng.choice(item.answers[voice])]
        else:
            yield [question, personas.VOICES[voice](rng.choice(item.answers["A"]), rng)]


def haiku_exchanges(items: list[Item], rng: random.Random) -> Iterator[Turns]:
    for topic, poem in read_pairs("haiku.txt", " | "):
        for ask in rng.sample(HAIKU_ASKS, 3):
            yield [ask.format(t=topic), poem.replace(" / ", "\n")]
    for item in items:
        for question in item.questions[:4]:
            if "H" in item.answers:
                yield [question, item.answers["H"][0]]


def group(
    kind: str, exchanges: list[Turns], rng: random.Random, system: str | None, shares: list[float]
) -> Iterator[Chat]:
    """Chain exchanges into chats of one to three turns, since a persona must last several turns.

    `system` returns the persona's system text; None uses plain ones.
    """
    exchanges = list(exchanges)
    rng.shuffle(exchanges)
    while exchanges:
        size = rng.choices((1, 2, 3), shares)[0]
        picked, exchanges = exchanges[:size], exchanges[size:]
        prompt = personas.system_for(system, rng) if system else plain_system(rng)
        yield Chat(kind, prompt, tuple(text for exchange in picked for text in exchange))


def build_chats(seed: int = SEED) -> list[Chat]:
    """Every training chat, the same for the same seed."""
    rng = random.Random(seed)
    facts, talk = read_items(CHATS / "facts.txt"), read_items(CHATS / "smalltalk.txt")
    items = facts + talk
    small = [t for t in plain_exchanges(items, rng) if len(t[1]) < 70]
    chats: list[Chat] = []

    def add(kind: str, exchanges: Iterator[Turns] | list[Turns], *shares: float) -> None:
        chats.extend(group(kind, list(exchanges), rng, None, list(shares or (0.75, 0.2, 0.05))))

    add("facts", plain_exchanges(facts, rng))
    add("small talk", plain_exchanges(talk, rng))
    tricky = [
        item for item in items if any(w in item.questions[0] for w in ("sky", "qubit", "name"))
    ]
    add("facts", plain_exchanges(tricky, rng), 1, 0, 0)
    add("lists and code", read_exchanges("lists.txt"))
    add("polite", polite_exchanges(rng))
    add("unknown", read_exchanges("unknown.txt"))
    add("sums", generators.sums(rng, 520, HELD_OUT_SUMS), 0.4, 0.3, 0.3)
    add("capitals", generators.capitals(rng, 3), 0.4, 0.3, 0.3)
    add("translations", generators.translations(rng), 0.5, 0.3, 0.2)
    add("haiku on request", haiku_requests(rng), 1, 0, 0)
    add("pictures not there", generators.pictures(rng, 60), 1, 0, 0)
    add("the user's words", everyday.tellings(rng, 90), 1, 0, 0)
    for kind, many in (("names", 160), ("memories", 270), ("shared", 160)):
        make = {"names": generators.names, "memories": generators.memories,
                "shared": generators.shared_threads}[kind]  # fmt: skip
        add(kind, make(rng, small, many), 1, 0, 0)
    spoken_items = items + read_items(CHATS / "voices.txt")
    for voice, count in (("P", 280), ("L", 250), ("F", 340), ("B", 280), ("T", 360)):
        spoken = list(persona_exchanges(spoken_items, voice, count, rng))
        if voice == "F":
            spoken += everyday.physics(rng, 320)
            spoken = [[question, personas.sounds_physical(said, rng)] for question, said in spoken]
        if voice == "B":
            spoken += everyday.service(rng, 110)
        chats.extend(group(f"persona {voice}", spoken, rng, voice, [0.6, 0.3, 0.1]))
    poems = list(haiku_exchanges(spoken_items, rng))
    chats.extend(group("persona H", poems, rng, "H", [0.7, 0.2, 0.1]))
    chats.extend(other_personas(facts, rng))
    chats.extend(read_conversations())
    for seen in sight.sight_chats(rng, small):
        kind = f"sight {seen.voice}" if seen.voice else "sight"
        system = seen.system or plain_system(rng)
        chats.append(Chat(kind, system, tuple(seen.turns), seen.scenes))
    chats = [chat for chat in chats if _allowed(chat)]
    rng.shuffle(chats)
    return chats


#: Kept out of the data, so that the benchmark's sums are unseen; its test checks that they agree.
HELD_OUT_SUMS = {
    (6, 9), (14, 5), (23, 12), (40, 38), (17, 17), (8, 31), (52, 6), (19, 24), (70, 15), (33, 44),
    (11, 58), (26, 7), (3, 46), (61, 29), (9, 85),
}  # fmt: skip


def _allowed(chat: Chat) -> bool:
    """Reject repeated user texts and overlong chats, which only cost training time."""
    questions = chat.turns[::2]
    return len(set(questions)) == len(questions) and sum(map(len, chat.turns)) < 900


def polite_exchanges(rng: random.Random) -> Iterator[Turns]:
    for blunt, polite in read_pairs("polite.txt"):
        for ask in rng.sample(POLITE_ASKS, 3):
            text = blunt.lower() if rng.random() < 0.5 else blunt
            yield [ask.format(t=text), polite]


def haiku_requests(rng: random.Random) -> Iterator[Turns]:
    for topic, poem in read_pairs("haiku.txt", " | "):
        if rng.random() < 0.4:
            yield [rng.choice(HAIKU_PLAIN).format(t=topic), poem.replace(" / ", "\n")]


def other_personas(items: list[Item], rng: random.Random) -> Iterator[Chat]:
    """Further personas, so that the model reads the system text instead of memorizing six."""
    for other in personas.OTHERS:
        for _ in range(10):
            item = rng.choice(items)
            answer = other.speak(rng.choice(item.answers["A"]), rng)
            yield Chat("other", rng.choice(other.systems), (rng.choice(item.questions), answer))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", type=int, default=0)
    options = parser.parse_args()
    chats = build_chats()
    for kind, count in Counter(chat.kind for chat in chats).most_common():
        print(f"{count:6} {kind}")
    exchanges = sum(len(chat.turns) // 2 for chat in chats)
    print(f"{len(chats):6} chats, {exchanges} replies, {len(set(chats))} different")
    for chat in chats[: options.show]:
        print(f"\n[{chat.kind}] {chat.system}")
        for index, text in enumerate(chat.turns):
            print("  A: " if index % 2 else "  U: ", text)


if __name__ == "__main__":
    main()
