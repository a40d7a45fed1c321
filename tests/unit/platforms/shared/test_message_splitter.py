"""The splitter's invariants on any text, and the breaks that people would choose."""

from __future__ import annotations

import re

import pytest
import regex
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bot.platforms.shared.message_splitter import pieces, split, utf16_units

LINE = st.sampled_from(
    ["```", "```python", "~~~", "````md", "   ```", "```x`y", "", "a word or two", "x" * 30,
     "😀" * 9, "é́ ", "`code`", "``` ", "\r", "```" + "i" * 40]
)  # fmt: skip
TEXT = st.lists(LINE | st.text(max_size=12), max_size=25).map("\n".join) | st.text(max_size=300)


def open_fence(text: str) -> str | None:
    """CommonMark's rule, written once more and apart from the splitter's."""
    fence: str | None = None
    for line in text.split("\n"):
        match = re.match(r"^ {0,3}((`|~)\2{2,})([\s\S]*)$", line)
        if match is None:
            continue
        run, char, info = match[1], match[2], match[3]
        if fence is None:
            if char == "~" or "`" not in info:
                fence = run
        elif char == fence[0] and len(run) >= len(fence) and info.strip() == "":
            fence = None
    return fence


@given(TEXT, st.integers(1, 80))
@example("```py\n" + "x = 1\n" * 40 + "```\nend", 40)
def test_nothing_is_lost_and_every_chunk_is_within_the_limit(text: str, limit: int) -> None:
    found = pieces(text, limit)
    assert "".join(piece.body for piece in found) == text
    assert all(len(str(piece)) <= limit for piece in found)
    assert split(text, limit) == [str(piece) for piece in found if piece.body.strip()]


@given(TEXT, st.integers(2, 80))
def test_utf16_units_are_counted_like_utf16(text: str, limit: int) -> None:

    for chunk in split(text, limit, measure=utf16_units):
        assert len(chunk.encode("utf-16-le")) // 2 <= limit


@given(TEXT, st.integers(80, 200))
def test_fences_are_balanced_in_every_chunk(text: str, limit: int) -> None:
    found = pieces(text, limit)
    if len(found) > 1:
        assert [open_fence(str(piece)) for piece in found] == [None] * len(found)


@given(TEXT, st.integers(1, 80))
def test_only_fences_are_inserted(text: str, limit: int) -> None:
    for piece in pieces(text, limit):
        assert re.fullmatch(r"(?:(?:`{3,}|~{3,})[^\n]*\n)?", piece.opened)
        assert re.fullmatch(r"(?:\n?(?:`{3,}|~{3,}))?", piece.closed)


def test_code_goes_on_in_the_next_chunk_as_code() -> None:
    code = "".join(f"line {number}\n" for number in range(12))
    chunks = split(f"Look:\n```python\n{code}```\nDone.", 60)
    assert len(chunks) > 2
    assert chunks[0].startswith("Look:\n```python\nline 0\n")
    assert all(chunk.endswith("\n```") for chunk in chunks[:-1])
    assert all(chunk.startswith("```python\nline ") for chunk in chunks[1:])
    assert chunks[-1].endswith("```\nDone.")


def test_a_text_that_fits_is_left_alone() -> None:
    assert split("```py\nunfinished", 2000) == ["```py\nunfinished"]
    assert split("", 10) == []


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("aaaa aaaa\naaaa\n\nbbbb bbbb bbbb", "aaaa aaaa\naaaa\n\n"),  # after a paragraph
        ("aaaa aaaa aaaa\nbbbb bbbb bbbb", "aaaa aaaa aaaa\n"),  # after a line
        ("aaaa aaaa aaaa aaaa bbbb bbbb", "aaaa aaaa aaaa aaaa "),  # after a word
        ("a" * 40, "a" * 20),  # anywhere
        ("a\n\n" + "b" * 8 + " " + "b" * 30, "a\n\nbbbbbbbb "),  # not for a crumb
    ],
)
def test_where_it_breaks(text: str, first: str) -> None:
    assert pieces(text, 20)[0].body == first


def test_no_empty_code_block_is_left_at_the_end_of_a_chunk() -> None:
    chunks = split("Some words here.\n```python\n" + "x = 1111\n" * 5 + "```", 36)
    assert chunks[0] == "Some words here.\n"
    assert chunks[1].startswith("```python\nx = 1111\n")


def test_an_over_long_info_string_is_not_repeated() -> None:
    chunks = split("```" + "i" * 30 + "\n" + "code\n" * 20 + "```", 60)
    assert chunks[1].startswith("```\ncode\n")


@pytest.mark.parametrize(
    "glued",
    ["👩‍👩‍👧", "e\u0301", "👍🏽", "\r\n", "🇩🇪", "\u1100\u1161\u11a8", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "a" + "\u0301" * 8],
    ids=["family", "accent", "skin tone", "line end", "flag", "Hangul", "England", "many accents"],
)
def test_what_is_seen_as_one_character_is_not_cut(glued: str) -> None:
    text = "x" * 9 + glued + "y" * 20
    assert any(glued in piece.body for piece in pieces(text, 10))


@given(
    st.text("🇩🇪👩\u200d👧é\u0301\u1100\u1161\u11a8👍🏽x", min_size=1, max_size=60),
    st.integers(12, 30),
)
def test_no_chunk_ends_inside_of_a_grapheme_cluster(text: str, limit: int) -> None:
    ends = {match.end() for match in regex.finditer(r"\X", text)}
    assume(max(map(len, regex.findall(r"\X", text))) <= limit)
    position = 0
    for piece in pieces(text, limit):
        position += len(piece.body)
        assert position in ends


def test_a_cluster_longer_than_the_limit_is_cut() -> None:
    text = "e" + "\u0301" * 50
    assert [piece.body for piece in pieces(text, 20)] == [text[:20], text[20:40], text[40:]]


def test_white_space_only_chunks_are_not_sent() -> None:
    assert [chunk.strip() for chunk in split("a" + "\n" * 50 + "b", 10)] == ["a", "b"]


def test_a_limit_below_one_character_is_refused() -> None:
    with pytest.raises(ValueError, match="less than one character"):
        split("😀😀", 1, measure=utf16_units)


@given(st.text())
def test_utf16_units_are_what_a_browser_counts(text: str) -> None:
    assert utf16_units(text) == len(text.encode("utf-16-le", "surrogatepass")) // 2
