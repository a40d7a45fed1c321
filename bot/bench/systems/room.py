"""How much room a workload needs, counted with the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

from bot.bench.systems.base import Room
from bot.bench.trace import Conversation, Trace
from bot.engine.text.tokenizer import ChatTokenizer

_AROUND = 12  # control tokens and role names of one turn, and some to spare
_MOST_AT_ONCE = 64  # as Parley's own batch


def room_for(traces: Sequence[Trace], tokenizer: ChatTokenizer) -> Room:
    """Slots for all conversations of the largest phase, each as long as the longest."""
    longest = max(_length(c, tokenizer) for trace in traces for c in trace.conversations)
    at_once = max(len(trace.conversations) for trace in traces)
    return Room(min(_MOST_AT_ONCE, at_once), longest)


def _length(conversation: Conversation, tokenizer: ChatTokenizer) -> int:
    images = tokenizer.image_tokens
    total = len(tokenizer.encode_text(conversation.persona)) + _AROUND
    for turn in conversation.turns:
        total += len(tokenizer.encode_text(turn.text)) + turn.new_tokens + 2 * _AROUND
        if turn.picture is not None and images is not None:
            total += images.num_soft_tokens + _AROUND
    return total
