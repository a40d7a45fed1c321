"""Streaming text: nothing arrives in pieces, nothing after a stop string, nothing lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.engine.api import Delta
from bot.engine.text.detokenizer import IncrementalDetokenizer
from bot.engine.text.tokenizer import ChatTokenizer
from tests.support import models

FAMILY = "👨‍👩‍👧‍👦"
EMOJI = ["😀", FAMILY, "👍🏽", "❤️", "🇩🇪", "🏳️‍🌈", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]


@pytest.fixture(scope="module")
def tiny() -> ChatTokenizer:
    return ChatTokenizer(models.tiny_tokenizer(), None, 383)


def run(tokenizer: ChatTokenizer, ids: list[int], stop: tuple[str, ...] = ()) -> list[Delta]:
    reply = IncrementalDetokenizer(tokenizer, stop)
    deltas = []
    for token in ids:
        deltas.append(reply.push_token(token))
        if reply.stopped:
            break
    else:
        deltas.append(reply.flush_text())
    return [delta for delta in deltas if delta]


def joined(deltas: list[Delta]) -> tuple[str, list[int]]:
    return "".join(d.text for d in deltas), [i for d in deltas for i in d.token_ids]


@given(st.lists(st.sampled_from(EMOJI) | st.text(max_size=4)).map("".join))
def test_nothing_lost(tiny: ChatTokenizer, text: str) -> None:
    ids = list(tiny.encode_text(text))
    assert joined(run(tiny, ids)) == (text.replace("▁", " "), ids)


@given(st.lists(st.integers(0, 382), max_size=30))
def test_any_ids(tiny: ChatTokenizer, ids: list[int]) -> None:
    """Broken UTF-8 too: it becomes replacement characters, and every id is emitted once."""
    text, emitted_ids = joined(run(tiny, ids))
    assert emitted_ids == ids
    assert text == b"".join(map(tiny.token_to_bytes, ids)).decode(errors="replace")


@given(st.lists(st.sampled_from(EMOJI), min_size=1, max_size=5))
def test_emoji_arrive_whole(tiny: ChatTokenizer, emoji: list[str]) -> None:
    """Each delta is a concatenation of whole emoji (flags and families included)."""
    whole = re.compile(
        "(?:" + "|".join(map(re.escape, sorted(EMOJI, key=len, reverse=True))) + ")*"
    )
    for delta in run(tiny, list(tiny.encode_text("".join(emoji)))):
        assert whole.fullmatch(delta.text), delta.text


def test_plain_text_is_not_held_back(tiny: ChatTokenizer) -> None:
    ids = tiny.encode_text("the user")
    assert [d.text for d in run(tiny, list(ids))] == [tiny.token_to_bytes(i).decode() for i in ids]


@given(
    st.text("abc ", max_size=30),
    st.lists(st.text("abc ", min_size=1, max_size=5), min_size=1, max_size=3),
)
def test_stop_strings(tiny: ChatTokenizer, text: str, stop: list[str]) -> None:
    """The emitted text ends before the stop string that is complete first."""
    ends = [(at + len(s), at) for s in stop if (at := text.find(s)) >= 0]
    first_end = min((end for end, _ in ends), default=None)
    starts = [at for end, at in ends if end == first_end]
    want = text[: min(starts)] if starts else text
    got, ids = joined(run(tiny, list(tiny.encode_text(text)), tuple(stop)))
    assert got == want or (starts and got in {text[:at] for _, at in ends})
    assert b"".join(map(tiny.token_to_bytes, ids)).decode() == got


def test_stop_inside_a_token(tiny: ChatTokenizer) -> None:
    """`model` is one token; the emitted ids still spell the text before the cut."""
    ids = list(tiny.encode_text("a model"))
    assert len(tiny.encode_text("model")) == 1
    text, emitted_ids = joined(run(tiny, ids, ("del",)))
    assert text == "a mo"
    assert b"".join(map(tiny.token_to_bytes, emitted_ids)).decode() == "a mo"


def test_stop_inside_a_token_whose_start_was_emitted(tiny: ChatTokenizer) -> None:
    """` a` is one token: its space was emitted before the stop string was recognized."""
    ids = list(tiny.encode_text(" aa"))
    assert len(ids) == 2
    text, emitted_ids = joined(run(tiny, ids, ("aa",)))
    assert text == b"".join(map(tiny.token_to_bytes, emitted_ids)).decode() == " "


def test_a_stop_over_several_tokens_is_never_emitted(tiny: ChatTokenizer) -> None:
    deltas = run(tiny, list(tiny.encode_text("ab\nUSER: hello")), ("\nUSER:",))
    assert joined(deltas)[0] == "ab"


def test_a_possible_stop_is_emitted_at_the_end(tiny: ChatTokenizer) -> None:
    assert joined(run(tiny, list(tiny.encode_text("ab\nUS")), ("\nUSER:",)))[0] == "ab\nUS"


def test_held_text_is_bounded(tiny: ChatTokenizer) -> None:
    """A long chain of joiners is emitted at some point."""
    deltas = run(tiny, list(tiny.encode_text("👨" + "\u200d👨" * 40)))
    assert len(deltas) > 1
