"""Markdown on its way to Slack: tables, calls, and what of a growing text is final."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bot.platforms.slack.markdown import MarkdownStream, stable, to_markdown
from bot.platforms.slack.markdown_blocks import Kind, scan

TABLE = "| Name | Age |\n|---|---|\n| Ana | 7 |\n| **Bo** | 12 |"
ALIGNED = "```\nName | Age\n-----+----\nAna  | 7\nBo   | 12\n```"

PIECES = st.sampled_from(
    ["```", "~~~", "````", "`", "| a | b |", "|---|---|", "-|-", "|", "a|b", "- ", "* ", "1. ",
     "10) ", "> ", ">", "  ", "    ", "\t", "# ", "---", "===", "<@U1>", "<!here>", "@here", "@",
     "<", "here", "word", " ", "\n", "\n", "\n\n", "\r", "\\", "é", "[a]: /b"]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=25).map("".join) | st.text("ab|-`~<@!# \n>*1.", max_size=80)


def test_tables_become_aligned_code() -> None:
    assert to_markdown(TABLE) == ALIGNED
    assert to_markdown(f"Look:\n{TABLE}\nDone") == f"Look:\n{ALIGNED}\nDone"


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        # in lists and quotes a table stays where it is
        ("- a | b\n  --|--\n  1 | 2", "- ```\n  a | b\n  --+--\n  1 | 2\n  ```"),
        ("> a | b\n> --|--\n> 1 | 2\nend", "> ```\n> a | b\n> --+--\n> 1 | 2\n> ```\nend"),
        # these are none
        ("a | b\n\n--|--", "a | b\n\n--|--"),
        ("a | b | c\n--|--", "a | b | c\n--|--"),
        ("- a | b\n--|--", "- a | b\n--|--"),
        ("# a | b\n--|--", "# a | b\n--|--"),
        ("> a | b\n--|--", "> a | b\n--|--"),
        ("```\na | b\n--|--\n```", "```\na | b\n--|--\n```"),
        ("- ```\n  a | b\n  --|--\n  ```", "- ```\n  a | b\n  --|--\n  ```"),
    ],
)
def test_where_a_table_is_one(text: str, rendered: str) -> None:
    assert to_markdown(text) == rendered


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("hello <@U1> and <!here>", "hello &lt;@U1> and &lt;!here>"),
        ("hello @here and @Channel", "hello @\u2060here and @\u2060Channel"),
        ("mail@here.test", "mail@here.test"),
        ("`<@U1> @here`", "`<@U1> @here`"),
        ("`` ` <@U1> ``", "`` ` <@U1> ``"),
        ("```\n<@U1>\n```\n<@U1>", "```\n<@U1>\n```\n&lt;@U1>"),
        # code in a list or a quote, and its end
        ("1. x\n   ```\n   <!doctype html>\n   ```", "1. x\n   ```\n   <!doctype html>\n   ```"),
        ("> ```\n> <!--\n<!here>", "> ```\n> <!--\n&lt;!here>"),
        ("- ```\n<!here>", "- ```\n&lt;!here>"),
        # Slack may not take these for code
        ("    <!here>", "    &lt;!here>"),
        ("`not closed <!here>", "`not closed &lt;!here>"),
        ("``` `\n<!here>", "``` `\n&lt;!here>"),
    ],
)
def test_nobody_is_called_by_accident(text: str, rendered: str) -> None:
    assert to_markdown(text) == rendered


def table_heads(text: str) -> list[str]:
    """The first lines of a text's tables, without the marks of their lists and quotes."""
    lines = text.split("\n")
    tables = [block for block in scan(lines).blocks if block.kind is Kind.TABLE]
    return [lines[table.start][len(table.prefixes[0]) :] for table in tables]


@settings(deadline=None)  # machines differ
@given(TEXTS)
def test_twice_is_once(text: str) -> None:
    once = to_markdown(text)
    assert to_markdown(once) == once


@settings(deadline=None)  # machines differ
@given(TEXTS, st.data())
@example("- ```\n\n  @here", None)
@example("1. ~~~ <@U1>\n   <!here>\n<!here>", None)
def test_what_is_shown_of_a_growing_text_never_has_to_be_taken_back(
    text: str, data: st.DataObject | None
) -> None:
    assume(all(line.startswith("|") for line in table_heads(text)))
    rendered = to_markdown(text)
    cuts = range(len(text) + 1) if data is None else [data.draw(st.integers(0, len(text)))]
    for cut in cuts:
        assert rendered.startswith(to_markdown(stable(text[:cut])))


@settings(deadline=None)  # machines differ
@given(TEXTS, st.lists(st.integers(0, 200), max_size=8).map(sorted))
def test_a_stream_shows_what_rendering_all_would_show(text: str, cuts: list[int]) -> None:
    stream = MarkdownStream()
    for cut in cuts:
        assert stream.render(text[:cut]) == to_markdown(stable(text[:cut]))


def test_the_first_line_of_a_table_is_held_from_its_first_bar_on() -> None:
    assert stable("x\n| a") == "x\n"
    assert stable("x\na | b\n") == "x\n"
    assert stable("x\na | b\n\n") == "x\na | b\n\n"
    assert stable("x\na ") == "x\na "


def test_a_stream_goes_on_after_each_line() -> None:
    stream = MarkdownStream()
    text = f"Hello\n\n{TABLE}\n\n- one\n- two\n"
    assert stream.render(text[:9]) == "Hello\n\n"
    assert stream.render(text[:40]) == "Hello\n\n"  # the table may get more rows
    assert stream.render(text) == f"Hello\n\n{ALIGNED}\n\n- one\n- two\n"
