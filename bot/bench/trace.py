"""The requests of one run: conversations, their turns and start times. Pure data, no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Turn:
    """One user message and the length of its reply.

    `new_tokens`: the exact length of the reply; end-of-turn tokens are ignored. `pause_s`: reading
    and typing time before the message. `picture`: the seed of a picture sent with the text.
    """

    text: str
    new_tokens: int
    pause_s: float = 0.0
    picture: int | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """One thread. A turn is sent when the previous reply is complete and its pause is over.

    It starts `starts_s` seconds into the run, but not before the whole run has produced
    `after_tokens` tokens. Figures are also reported by `group`, unless it is empty.
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
    """All requests of one phase of a run; every system gets the same trace."""

    conversations: tuple[Conversation, ...]

    @property
    def new_tokens(self) -> int:
        """The total length of all replies."""
        return sum(turn.new_tokens for c in self.conversations for turn in c.turns)

    @property
    def has_pictures(self) -> bool:
        return any(turn.picture is not None for c in self.conversations for turn in c.turns)


def warm_up_trace(trace: Trace, new_tokens: int = 8) -> Trace:
    """A short version of the trace: every conversation, one short turn each, all at once."""
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
