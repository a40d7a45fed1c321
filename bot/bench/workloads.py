"""Seeded workloads: who asks what, when, and how long the replies are.

A workload creates the phases of one run from a number of conversations and a seed. Each run has its
own seed (the same for all systems), so no message of an earlier run is in a prefix cache; personas
are shared by all runs, as in real use. Lengths are in words of the vocabulary below, each of which
is one Gemma token.
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
    """`phases(conversations, seed, scale)` returns the traces of one run, in order.

    A `scale` below 1 shrinks lengths and numbers for a quick look.
    """

    name: str
    description: str
    phases: Callable[[int, int, float], list[Trace]]
    conversations: str  # the default of --conversations


class _Writer:
    """Draws texts and lengths from one seed."""

    def __init__(self, seed: int, scale: float) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
        self._scale = scale

    def scaled(self, count: float, minimum: int = 1) -> int:
        return max(minimum, round(count * self._scale))

    def write_message(self, words: int) -> str:
        """A message of about `words` tokens; its random start keeps it out of prefix caches."""
        number = self.rng.randrange(10**6)
        ends = self.rng.choice(_QUESTIONS)
        middle = max(0, words - 8 - len(ends.split()))
        return f"No. {number}: {' '.join(self.rng.choices(_WORDS, k=middle))} {ends}"

    def lognormal_length(self, median: float, sigma: float, low: int, high: int) -> int:
        """A length in tokens, skewed like those of people's messages."""
        drawn = self.rng.lognormvariate(math.log(median), sigma)
        return self.scaled(min(high, max(low, drawn)), 2)


def steady(conversations: int, seed: int, scale: float = 1.0) -> list[Trace]:
    """`conversations` different questions at once, 48 new tokens each."""
    writer = _Writer(seed, scale)
    return [
        Trace(
            tuple(
                Conversation(
                    name=f"c{n}",
                    owner=f"u{n}",
                    persona=PERSONAS[0],
                    turns=(
                        Turn(
                            writer.write_message(writer.rng.choice((12, 24, 40))),
                            writer.scaled(48, 4),
                        ),
                    ),
                )
                for n in range(conversations)
            )
        )
    ]


def chat(conversations: int, seed: int, scale: float = 1.0) -> list[Trace]:
    """Threads arrive as a Poisson process (four a second), 2 to 5 turns each, four personas.

    Messages and replies have log-normal lengths (medians 30 and 48 tokens). The pause between a
    reply and the next message is exponentially distributed with a mean of a second.
    """
    writer = _Writer(seed, scale)
    threads, at = [], 0.0
    for n in range(conversations):
        at += writer.rng.expovariate(4.0) * min(1.0, scale)
        turns = tuple(
            Turn(
                writer.write_message(writer.lognormal_length(30, 0.8, 8, 400)),
                writer.lognormal_length(48, 0.6, 8, 160),
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
    """Threads of eight turns, the eighth after about 2,000 tokens of history.

    All messages have 190 tokens and all replies 96, so turns differ only in their history.
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
                        Turn(writer.write_message(writer.scaled(190, 12)), writer.scaled(96, 4))
                        for _ in range(8)
                    ),
                )
                for n in range(conversations)
            )
        )
    ]


def mixed(conversations: int, seed: int, scale: float = 1.0) -> list[Trace]:
    """A prompt of 4,000 tokens arrives while `conversations` others decode.

    It arrives when each of them has about 48 tokens, which gives the undisturbed figure; their
    replies are long enough to last until the long prompt is prefilled.
    """
    writer = _Writer(seed, scale)
    decoding = tuple(
        Conversation(
            name=f"c{n}",
            owner=f"u{n}",
            persona=PERSONAS[0],
            turns=(Turn(writer.write_message(24), writer.scaled(256, 24)),),
            group="decoding",
        )
        for n in range(conversations)
    )
    long = Conversation(
        name="long",
        owner="reader",
        persona=PERSONAS[0],
        turns=(Turn(writer.write_message(writer.scaled(4000, 48)), writer.scaled(16, 2)),),
        after_tokens=conversations * writer.scaled(48, 6),
        group="long",
    )
    return [Trace((*decoding, long))]


def images(conversations: int, seed: int, scale: float = 1.0) -> list[Trace]:
    """A question about a picture, then two follow-ups on the same picture."""
    writer = _Writer(seed, scale)
    reply = writer.scaled(32, 4)
    return [
        Trace(
            tuple(
                Conversation(
                    name=f"p{n}",
                    owner=f"u{n}",
                    persona=PERSONAS[0],
                    turns=(
                        Turn(writer.write_message(16), reply, picture=writer.rng.randrange(10**6)),
                        Turn(writer.write_message(16), reply),
                        Turn(writer.write_message(16), reply),
                    ),
                )
                for n in range(conversations)
            )
        )
    ]


def unfair(conversations: int, seed: int, scale: float = 1.0) -> list[Trace]:
    """`conversations` people ask now and then; in the second phase one owner floods the system.

    The flood is 50 requests at once, at the start. The others send the same number of messages in
    both phases, so their TTFT with and without the flood can be compared.
    """
    writer = _Writer(seed, scale)
    return [
        Trace(_other_conversations(writer, conversations, "others, no flood")),
        Trace(
            (
                *(
                    Conversation(
                        name=f"flood{n}",
                        owner="flooder",
                        persona=PERSONAS[0],
                        turns=(Turn(writer.write_message(40), writer.scaled(48, 4)),),
                        group="flood",
                    )
                    for n in range(writer.scaled(50, 6))
                ),
                *_other_conversations(writer, conversations, "others"),
            )
        ),
    ]


def _other_conversations(writer: _Writer, count: int, group: str) -> tuple[Conversation, ...]:
    time_scale = min(1.0, writer.scaled(100) / 100)
    return tuple(
        Conversation(
            name=f"{group}{n}",
            owner=f"u{n}",
            persona=PERSONAS[n % len(PERSONAS)],
            turns=tuple(
                Turn(
                    writer.write_message(24),
                    writer.scaled(24, 4),
                    pause_s=0.5 * time_scale if turn else 0.0,
                )
                for turn in range(3)
            ),
            starts_s=(0.3 + 0.2 * n) * time_scale,
            group=group,
        )
        for n in range(count)
    )


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("steady", "N questions at once, 48 new tokens each", steady, "1,4,8,16,32"),
        Workload("chat", "N threads arrive, several turns each, shared personas", chat, "16"),
        Workload("turns", "eight turns, up to 2,000 tokens of history", turns, "1"),
        Workload("mixed", "a 4,000-token prompt arrives while N decode", mixed, "8"),
        Workload("images", "a question, then two follow-ups on the same picture", images, "1"),
        Workload("unfair", "one owner floods while N others ask", unfair, "4"),
    )
}
