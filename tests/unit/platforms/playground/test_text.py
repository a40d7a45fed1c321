"""Mentions, names, lengths: what the playground reads out of a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.platforms.playground.refusal import Refused
from bot.platforms.playground.text import channel_name, read_message


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("@Parley hello", "hello"),
        ("@parley, hello", "hello"),
        ("@PARLEY: hello", "hello"),
        ("  @Parley\nhello", "hello"),
        ("hello @Parley", "hello @Parley"),
        ("thanks, @parley!", "thanks, @Parley!"),
        ("what can @Parley do?", "what can @Parley do?"),
        ("who is better than @Parley!", "who is better than @Parley!"),
        ("@Parley", ""),
        ("@Parley @Parley hi", "hi"),
        ("@Ben @Parley hi", "@Ben @Parley hi"),
        ("(@Parley) hi", "(@Parley) hi"),
        ("@Parley's idea", "@Parley's idea"),
    ],
)
def test_a_mention_calls_the_bot_and_goes_where_it_is_an_address(raw: str, text: str) -> None:
    content = read_message(raw)
    assert content.calls_bot
    assert content.text == text


@pytest.mark.parametrize(
    "raw",
    [
        "parley is a word",
        "write to help@parley.org",
        "see x@parley",
        "@parleying",
        "@parley-bot",
        "@parley.org is a host",
        "@@parley",
        "like `@Parley hello` in code",
        "```\n@Parley hello\n```",
        "```\n@Parley unclosed",
        "> @Parley is quoted\nyes",
        "",
    ],
)
def test_what_is_no_mention_of_the_bot(raw: str) -> None:
    content = read_message(raw)
    assert not content.calls_bot
    assert content.text == raw.strip()


@pytest.mark.parametrize(
    ("raw", "other"),
    [
        ("@Ben can you look?", True),
        ("  @chloe: look", True),
        ("@Ben @Parley look", True),
        ("look, @Ben", False),
        ("@Parley tell @Ben", False),
        ("@everyone look", False),
        ("hello", False),
    ],
)
def test_who_is_addressed_first(raw: str, other: bool) -> None:
    assert read_message(raw).addresses_other is other


@pytest.mark.parametrize("word", ["everyone", "here", "channel", "Everyone"])
def test_everyone(word: str) -> None:
    assert read_message(f"dear @{word}, hello").calls_everyone
    assert not read_message(f"dear {word}, hello").calls_everyone


@given(st.text())
def test_no_text_breaks_it_and_none_grows(raw: str) -> None:
    assert len(read_message(raw).text) <= len(raw)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("General", "general"),
        (" #help desk ", "help-desk"),
        ("café_1", "café_1"),
        ("cafe\u0301", "café"),
        ("a" * 40, "a" * 40),
    ],
)
def test_a_channel_name_is_tidied(raw: str, name: str) -> None:
    assert channel_name(raw) == name


@pytest.mark.parametrize("raw", ["", "#", "  ", "a" * 41, "a/b", "<b>", "a\u202eb", "a\0"])
def test_a_channel_name_that_is_refused(raw: str) -> None:
    with pytest.raises(Refused) as refused:
        channel_name(raw)
    assert refused.value.status == 400
