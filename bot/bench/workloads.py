"""Seeded workloads: who asks what, when, and how many tokens come back.

A workload makes the phases of one run from a number of conversations and a seed. Every run has a
seed of its own (the same for all systems), so no system finds a message of an earlier run in its
prefix cache; personas are shared over all runs, as in real use. Lengths are in words of the
vocabulary below, each one token of Gemma's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from bot.bench.trace import Conversation, Trace, Turn

_VOCABULARY = (
    "the of and to in is that for it as was with on by this are from at have an which you one all "
    "were when we there can more if out other about time will some only after into two has water "
    "first been long little very make world over such still own see work long here between both "
    "life being under never day same another know while last might great year house since against "
    "where much way well down should because each just those people how too state good around "
    "home small found thought went say part once general high upon school every does got united "
    "left number course war until always away something fact though less public put think almost "
    "hand enough far took head yet government system better set told nothing night end why called "
    "find going look asked later knew point next program city business give group toward young "
    "days let room word car music light blue sky river stone garden winter summer bread glass"
)
_WORDS = _VOCABULARY.split()
_QUESTIONS = (
    "what is the most important thing to know here?",
    "please explain it to a colleague who is new in the team.",
    "which of these comes first, and why?",
    "can you sum this up in a few sentences?",
    "what would you do next, and what should we leave alone?",
)
PERSONAS = (
    "You are Parley, a helpful assistant in a team chat. Be friendly, clear and brief.",
    "You are a physicist. Explain with everyday pictures first, then name the law behind them.",
    "You are the office butler. You speak with old-fashioned courtesy, never lose your calm, and "
    "always offer one small practical help at the end of what you say.",
    "You are the release manager of this channel. You know the calendar, the open reviews and the "
    "people on call. Answer in short lines, the decision first, then the reason, then who does "
    "what until when. If something is unclear, ask one question and only one. Never promise a "
    "date that nobody has confirmed.",
)


@dataclass(frozen=True, slots=True)
class Workload:
    """`phases(conversations, seed, scale)` gives the traces of one run, one after another.

    `scale` shrinks lengths and numbers for a quick look (1: the real thing).
    """

    name: str
    about: str
    phases: Callable[[int, int, float], list[Trace]]
    conversations: str  # the numbers of conversations measured where none is given


class _Writer:
    """Texts and lengths from one seed."""

    def __init__(self, seed: int, scale: float) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
        self._scale = scale

    def some(self, count: float, least: int = 1) -> int:
        """`count` scaled, at least `least`."""
        return max(least, round(count * self._scale))

    def message(self, words: int) -> str:
        """About so many tokens; begins unlike any other message, so no prefix cache has it."""
        number = self.rng.randrange(10**6)
        ends = self.rng.choice(_QUESTIONS)
        middle = max(0, words - 8 - len(ends.split()))
        return f"No. {number}: {' '.join(self.rng.choices(_WORDS, k=middle))} {ends}"

    def lognormal(self, median: float, sigma: float, low: int, high: int) -> int:
        """A length in tokens, skewed as people's messages are."""
        drawn = self.rng.lognormvariate(math.log(median), sigma)
        return self.some(min(high, max(low, drawn)), 2)


def steady(conversations: int, seed: int, scale: float = 1.0) -> list[Trace]:
    """`conversations` different questions, all at once, 48 new tokens each."""
    writer = _Writer(seed, scale)
    return [
        Trace(
            tuple(
                Conversation(
                    name=f"c{n}",
                    owner=f"u{n}",
                    persona=PERSONAS[0],
                    turns=(
                        Turn(writer.message(writer.rng.choice((12, 24, 40))), writer.some(48, 4)),
                    ),
                )
                for n in range(conversations)
            )
        )
    ]


def chat(conversations: int, seed: int, scale: float = 1.0) -> list[Trace]:
    """Threads arrive as a Poisson process (four a second), 2 to 5 turns each, four personas.

    Messages and replies have log-normal lengths (medians 30 and 48 tokens); people take a second
    between a reply and their next message, exponentially distributed.
    """
    writer = _Writer(seed, scale)
    threads, at = [], 0.0
    for n in range(conversations):
        at += writer.rng.expovariate(4.0) * min(1.0, scale)
        turns = tuple(
            Turn(
                writer.message(writer.lognormal(30, 0.8, 8, 400)),
                writer.lognormal(48, 0.6, 8, 160),
                pause_s=min(4.0, writer.rng.expovariate(1.0)) * min(1.0, scale) if turn else 0.0,
            )
            for turn in range(writer.rng.randint(2, 5))
        )
        threads.append(
            Conversation(
                name=f"t{n}",
                owner=f"u{writer.rng.randrange(max(1, conversations // 2))}",
                persona=writer.rng.choice(PERSONAS),
                turns=turns,
                starts_s=at,
            )
        )
    return [Trace(tuple(threads))]


def turns(conversations: int, seed: int, scale: float = 1.0) -> list[Trace]:
    """Threads of eight turns; the eighth has about 2,000 tokens of history.

    Messages of 190 tokens, replies of 96: what turn 8 costs beside turn 1, all else equal.
    """
    writer = _Writer(seed, scale)
    return [
        Trace(
            tuple(
                Conversation(
                    name=f"t{n}",
                    owner=f"u{n}",
                    persona=PERSONAS[0],
                    turns=tuple(
                        Turn(writer.message(writer.some(190, 12)), writer.some(96, 4))
                        for _ in range(8)
                    ),
                )
                for n in range(conversations)
            )
        )
    ]


def mixed(conversations: int, seed: int, scale: float = 1.0) -> list[Trace]:
    """A prompt of 4,000 tokens lands while `conversations` others decode.

    It comes when each of them has some 48 tokens, so they give the quiet figure first; their
    replies are long enough to last until the long prompt is read.
    """
    writer = _Writer(seed, scale)
    decoding = tuple(
        Conversation(
            name=f"c{n}",
            owner=f"u{n}",
            persona=PERSONAS[0],
            turns=(Turn(writer.message(24), writer.some(256, 24)),),
            group="decoding",
        )
        for n in range(conversations)
    )
    long = Conversation(
        name="long",
        owner="reader",
        persona=PERSONAS[0],
        turns=(Turn(writer.message(writer.some(4000, 48)), writer.some(16, 2)),),
        after_tokens=conversations * writer.some(48, 6),
        group="long",
    )
    return [Trace((*decoding, long))]


def images(conversations: int, seed: int, scale: float = 1.0) -> list[Trace]:
    """A question about a picture, then two follow-ups on the same picture."""
    writer = _Writer(seed, scale)
    reply = writer.some(32, 4)
    return [
        Trace(
            tuple(
                Conversation(
                    name=f"p{n}",
                    owner=f"u{n}",
                    persona=PERSONAS[0],
                    turns=(
                        Turn(writer.message(16), reply, picture=writer.rng.randrange(10**6)),
                        Turn(writer.message(16), reply),
                        Turn(writer.message(16), reply),
                    ),
                )
                for n in range(conversations)
            )
        )
    ]


def unfair(conversations: int, seed: int, scale: float = 1.0) -> list[Trace]:
    """`conversations` people ask now and then; in the second phase one owner floods.

    The flood is 50 requests at once, at the start. The others ask the same number of questions in
    both phases, so their time to first token can be compared with that of no flood.
    """
    writer = _Writer(seed, scale)
    return [
        Trace(_others(writer, conversations, "others, no flood")),
        Trace(
            (
                *(
                    Conversation(
                        name=f"flood{n}",
                        owner="flooder",
                        persona=PERSONAS[0],
                        turns=(Turn(writer.message(40), writer.some(48, 4)),),
                        group="flood",
                    )
                    for n in range(writer.some(50, 6))
                ),
                *_others(writer, conversations, "others"),
            )
        ),
    ]


def _others(writer: _Writer, count: int, group: str) -> tuple[Conversation, ...]:
    pace = min(1.0, writer.some(100) / 100)
    return tuple(
        Conversation(
            name=f"{group}{n}",
            owner=f"u{n}",
            persona=PERSONAS[n % len(PERSONAS)],
            turns=tuple(
                Turn(writer.message(24), writer.some(24, 4), pause_s=0.5 * pace if turn else 0.0)
                for turn in range(3)
            ),
            starts_s=(0.3 + 0.2 * n) * pace,
            group=group,
        )
        for n in range(count)
    )


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("steady", "N questions at once, 48 new tokens each", steady, "1,4,8,16,32"),
        Workload("chat", "N threads arrive, several turns each, shared personas", chat, "16"),
        Workload("turns", "eight turns: what 2,000 tokens of history cost", turns, "1"),
        Workload("mixed", "a 4,000-token prompt lands while N decode", mixed, "8"),
        Workload("images", "a question, then two follow-ups on the same picture", images, "1"),
        Workload("unfair", "one owner floods, N others ask", unfair, "4"),
    )
}
