"""What is asked in one run: conversations, their turns, when each begins. Pure data, no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Turn:
    """One user message and how long a reply it gets.

    `new_tokens`: exactly so many come back, the end of the turn is ignored. `pause_s`: how long
    the person reads and types before it. `picture`: the seed of a picture shown with the text.
    """

    text: str
    new_tokens: int
    pause_s: float = 0.0
    picture: int | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """One thread. A turn is asked when the reply before it is complete and its pause is over.

    It begins `starts_s` seconds after the run did, and not before the run as a whole has produced
    `after_tokens` tokens. `group` keeps figures of different roles apart ("" : no role).
    """

    name: str
    owner: str
    persona: str
    turns: tuple[Turn, ...]
    starts_s: float = 0.0
    after_tokens: int = 0
    group: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything one phase of a run asks. The same trace goes to every system."""

    conversations: tuple[Conversation, ...]

    @property
    def new_tokens(self) -> int:
        """Tokens that come back in all."""
        return sum(turn.new_tokens for c in self.conversations for turn in c.turns)

    @property
    def sees(self) -> bool:
        """Does it show pictures?"""
        return any(turn.picture is not None for c in self.conversations for turn in c.turns)


def shortened(trace: Trace, new_tokens: int = 8) -> Trace:
    """The trace as a warm-up: as many conversations, one short turn each, all at once."""
    return Trace(
        tuple(
            replace(
                conversation,
                name=f"{conversation.name}-warm",
                turns=(
                    replace(
                        conversation.turns[0],
                        new_tokens=min(new_tokens, conversation.turns[0].new_tokens),
                        pause_s=0.0,
                    ),
                ),
                starts_s=0.0,
                after_tokens=0,
            )
            for conversation in trace.conversations
        )
    )
