"""How a reply is laid out in messages."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.ports import FinishedReply
from bot.core.records import TurnState
from bot.platforms.discord import layout
from bot.platforms.discord.layout import Draft
from bot.platforms.shared.message_splitter import utf16_units
from bot.platforms.shared.reply_ending import NO_ANSWER


def finished(text: str, **fields: object) -> FinishedReply:
    return FinishedReply(TurnState.DELIVERED, text, **fields)  # type: ignore[arg-type]


def test_the_foot_stands_outside_of_an_open_code_block() -> None:
    (draft,) = layout.ended_drafts(finished("```py\nprint(1)", notes=("It was cut.",)))
    assert draft.content == "```py\nprint(1)\n```\n-# It was cut."


def test_an_error_is_told_under_what_was_written() -> None:
    (draft,) = layout.ended_drafts(finished("Half a", error="Something went wrong (reference 12)."))
    assert draft.content == "Half a\n⚠️ Something went wrong (reference 12)."


def test_a_foot_that_does_not_fit_has_a_message_of_its_own() -> None:
    drafts = layout.ended_drafts(finished("x" * 1990, notes=("A note of some length.",)))
    assert [draft.content for draft in drafts] == ["x" * 1990, "-# A note of some length."]
    assert [draft.controls for draft in drafts] == ["", "ended"]


@pytest.mark.parametrize(
    ("state", "said"),
    [(TurnState.CANCELLED, "-# Stopped."), (TurnState.DELIVERED, f"-# {NO_ANSWER}")],
)
def test_a_reply_without_words_still_says_something(state: TurnState, said: str) -> None:
    (draft,) = layout.ended_drafts(FinishedReply(state, ""))
    assert draft.content.startswith(said)


def test_waiting() -> None:
    assert layout.waiting_drafts(3) == [Draft("⏳ 3 ahead of you", "running")]
    assert layout.running_drafts("  \n") == [Draft("…", "running")]


@settings(deadline=None)  # machines differ
@given(st.text(max_size=9000), st.lists(st.text(max_size=300), max_size=3), st.integers(2, 10))
def test_every_message_is_within_the_limits(text: str, notes: list[str], limit: int) -> None:
    drafts = layout.ended_drafts(finished(text, notes=tuple(notes)), limit)
    assert 1 <= len(drafts) <= limit
    assert all(draft.content and utf16_units(draft.content) <= 2000 for draft in drafts)
    assert [draft.controls for draft in drafts] == [""] * (len(drafts) - 1) + ["ended"]
    running = layout.running_drafts(text, limit)
    assert all(utf16_units(draft.content) <= 2000 for draft in running)
    assert len(running) <= limit


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Why is the **sky** blue?\nMore", "Why is the sky blue?"),
        ("\n\n# A heading\n", "A heading"),
        ("   ", "Question from Ana B"),
        ("`code`", "code"),
    ],
)
def test_a_threads_name_comes_from_the_question(text: str, name: str) -> None:
    assert layout.thread_name(text, "Ana  B") == name


@settings(deadline=None)  # machines differ
@given(st.text(), st.text(min_size=1))
def test_a_threads_name_is_one_that_discord_takes(text: str, author: str) -> None:
    assert 1 <= utf16_units(layout.thread_name(text, author)) <= 100
