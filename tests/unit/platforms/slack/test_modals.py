"""The persona's modal: whatever the text, opening and saving it changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.limits import MAX_PERSONA_LENGTH
from bot.platforms.slack.modals import TEXT_AT_MOST, Metadata, halves, joined

WORDS = st.text(st.sampled_from("ab \n"), min_size=2_900, max_size=MAX_PERSONA_LENGTH)


def saved(text: str) -> str:
    """What comes back from a modal that nobody touched, as Slack and `values` hand it on."""
    head, joint, rest = halves(text)
    assert len(head) <= TEXT_AT_MOST
    assert len(rest) <= TEXT_AT_MOST
    filled = {"text": head.strip(), **({"more": rest.strip()} if rest else {})}
    return joined(filled, Metadata.load(Metadata("C1", joint=joint).dump()))["text"]


@pytest.mark.parametrize(
    "text",
    [
        "short",
        "x" * TEXT_AT_MOST,
        "x" * MAX_PERSONA_LENGTH,  # no place to cut it at
        "word " + "x" * (MAX_PERSONA_LENGTH - 5),  # the one place leaves too much after it
        "word " * 799 + "end",
        "line\n\n" * 660 + "end",
    ],
)
def test_a_text_comes_back_as_it_went(text: str) -> None:
    assert saved(text) == text


@given(WORDS)
def test_any_text_comes_back_as_it_went(text: str) -> None:
    assert saved(text) == text.strip()


def test_a_text_is_cut_between_words() -> None:
    head, joint, rest = halves("word " * 799 + "end")
    assert head.endswith("word")
    assert joint == " "
    assert rest.startswith("word")


def test_what_is_left_of_two_inputs_is_the_text() -> None:
    metadata = Metadata("C1", joint=" ")
    assert joined({"text": "a", "scope": "channel"}, metadata) == {"text": "a", "scope": "channel"}
    assert joined({"text": "a", "more": "b"}, metadata) == {"text": "a b"}
