"""Computes the capacity a workload needs, with the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

from bot.bench.systems.base import Capacity
from bot.bench.trace import Conversation, Trace
from bot.engine.text.tokenizer import ChatTokenizer

_TURN_OVERHEAD = 12  # control tokens and role names of one turn, with some slack
_MAX_CONCURRENT = 64  # Parley's default batch size


def capacity_for(traces: Sequence[Trace], tokenizer: ChatTokenizer) -> Capacity:
    """Enough slots for the largest phase, each as long as the longest conversation."""
    longest = max(
        _conversation_length(c, tokenizer) for trace in traces for c in trace.conversations
    )
    at_once = max(len(trace.conversations) for trace in traces)
    return Capacity(min(_MAX_CONCURRENT, at_once), longest)


def _conversation_length(conversation: Conversation, tokenizer: ChatTokenizer) -> int:
    images = tokenizer.image_tokens
    total = len(tokenizer.encode_text(conversation.persona)) + _TURN_OVERHEAD
    for turn in conversation.turns:
        total += len(tokenizer.encode_text(turn.text)) + turn.new_tokens + 2 * _TURN_OVERHEAD
        if turn.picture is not None and images is not None:
            total += images.num_soft_tokens + _TURN_OVERHEAD
    return total
