"""Workloads are seeded, sized as their names promise, and never repeat a message."""

from __future__ import annotations

import pytest

from bot.bench.trace import Trace, warm_up_trace
from bot.bench.workloads import PERSONAS, WORKLOADS


def texts(traces: list[Trace]) -> list[str]:
    return [turn.text for t in traces for c in t.conversations for turn in c.turns]


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_same_seed_asks_the_same(name: str) -> None:
    phases = WORKLOADS[name].phases
    assert phases(4, 7, 1.0) == phases(4, 7, 1.0)


@pytest.mark.parametrize("name", WORKLOADS)
def test_runs_with_other_seeds_share_no_beginning(name: str) -> None:
    """Else a prefix cache would make a later run quicker than the first."""
    phases = WORKLOADS[name].phases
    starts = [text[:10] for seed in range(3) for text in texts(phases(4, seed, 1.0))]
    assert len(set(starts)) == len(starts)


@pytest.mark.parametrize("name", WORKLOADS)
def test_conversations_of_a_phase_have_names_of_their_own(name: str) -> None:
    for trace in WORKLOADS[name].phases(5, 1, 1.0):
        names = [c.name for c in trace.conversations]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_small_scale_still_asks_for_something(name: str) -> None:
    for trace in WORKLOADS[name].phases(2, 0, 0.01):
        assert trace.conversations
        assert all(turn.new_tokens >= 2 for c in trace.conversations for turn in c.turns)


def test_steady_asks_everybody_at_once_for_48_tokens() -> None:
    (trace,) = WORKLOADS["steady"].phases(16, 0, 1.0)
    assert len(trace.conversations) == 16
    assert {c.starts_s for c in trace.conversations} == {0.0}
    assert trace.new_tokens == 16 * 48


def test_chat_arrives_one_by_one_with_shared_personas_and_several_turns() -> None:
    (trace,) = WORKLOADS["chat"].phases(64, 0, 1.0)
    starts = [c.starts_s for c in trace.conversations]
    assert starts == sorted(starts)
    assert 64 / 4 / 2 < starts[-1] < 64 / 4 * 2  # four a second
    assert {c.persona for c in trace.conversations} == set(PERSONAS)
    assert {len(c.turns) for c in trace.conversations} == {2, 3, 4, 5}
    replies = [turn.new_tokens for c in trace.conversations for turn in c.turns]
    assert min(replies) >= 8
    assert max(replies) <= 160
    assert sorted(replies)[len(replies) // 2] < sum(replies) / len(replies)  # skewed to the right


def test_the_eighth_turn_has_about_2000_tokens_before_it() -> None:
    (trace,) = WORKLOADS["turns"].phases(1, 0, 1.0)
    *before, _ = trace.conversations[0].turns
    assert len(before) == 7
    words = sum(len(turn.text.split()) + turn.new_tokens for turn in before)
    assert 1800 < words < 2200


def test_the_long_prompt_lands_while_the_others_decode() -> None:
    (trace,) = WORKLOADS["mixed"].phases(8, 0, 1.0)
    *decoding, long = trace.conversations
    assert {c.group for c in decoding} == {"decoding"}
    assert long.group == "long"
    assert 0 < long.after_tokens < sum(c.turns[0].new_tokens for c in decoding) / 2
    assert 3900 < len(long.turns[0].text.split()) < 4100


def test_every_conversation_about_a_picture_has_its_own_and_asks_on() -> None:
    (trace,) = WORKLOADS["images"].phases(4, 0, 1.0)
    assert trace.has_pictures
    pictures = [[turn.picture for turn in c.turns] for c in trace.conversations]
    assert all(first is not None and rest == [None, None] for first, *rest in pictures)
    assert len({first for first, *_ in pictures}) == 4


def test_the_flood_comes_from_one_owner_and_the_others_are_the_same_without_it() -> None:
    quiet, flooded = WORKLOADS["unfair"].phases(4, 0, 1.0)
    flood = [c for c in flooded.conversations if c.group == "flood"]
    others = [c for c in flooded.conversations if c.group == "others"]
    assert len(flood) == 50
    assert {c.owner for c in flood} == {"flooder"}
    assert [(c.owner, c.starts_s, [t.new_tokens for t in c.turns]) for c in others] == [
        (c.owner, c.starts_s, [t.new_tokens for t in c.turns]) for c in quiet.conversations
    ]


def test_a_warm_up_has_everybody_once_and_short() -> None:
    (trace,) = WORKLOADS["mixed"].phases(8, 0, 1.0)
    short = warm_up_trace(trace)
    assert len(short.conversations) == len(trace.conversations)
    assert all(len(c.turns) == 1 and c.turns[0].new_tokens <= 8 for c in short.conversations)
    assert all(c.starts_s == c.after_tokens == 0 for c in short.conversations)
    assert not {c.name for c in short.conversations} & {c.name for c in trace.conversations}
