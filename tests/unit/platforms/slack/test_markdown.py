"""Markdown on its way to Slack: both dialects, tables, escapes, and a stream's stable prefix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.platforms.slack.markdown import stable, to_markdown, to_mrkdwn

TABLE = "| Name | Age |\n|---|---|\n| Ana | 7 |\n| **Bo** | 12 |"


@pytest.mark.parametrize(
    ("markdown", "mrkdwn"),
    [
        ("**bold** and *italic* and ~~gone~~", "*bold* and _italic_ and ~gone~"),
        ("# A **title**", "*A title*"),
        ("- one\n* two\n  + three", "• one\n• two\n  • three"),
        ("1. one", "1. one"),
        ("[text](https://a.test/?x=1&y=2)", "<https://a.test/?x=1&amp;y=2|text>"),
        ("[click](javascript:alert(1)", "click (javascript:alert(1)"),
        ("<https://a.test>", "<https://a.test>"),
        ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
        ("<@U123> <!channel> <#C1|x>", "&lt;@U123&gt; &lt;!channel&gt; &lt;#C1|x&gt;"),
        ("`a < b **not**`", "`a &lt; b **not**`"),
        ("```python\nif a < b: **x**\n```", "```\nif a &lt; b: **x**\n```"),
        ("> quoted **b**", "> quoted *b*"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("snake_case_name", "snake_case_name"),
        ("---", "──────────"),
    ],
)
def test_mrkdwn(markdown: str, mrkdwn: str) -> None:
    assert to_mrkdwn(markdown) == mrkdwn


def test_tables_become_aligned_code() -> None:
    wanted = "```\nName | Age\n-----+----\nAna  | 7\nBo   | 12\n```"
    assert to_markdown(TABLE) == wanted
    assert to_mrkdwn(f"Look:\n{TABLE}\nDone") == f"Look:\n{wanted}\nDone"


def test_nobody_is_called_by_accident() -> None:
    assert "<@" not in to_markdown("hello <@U1> and <!here>")
    assert "@here" not in to_markdown("hello @here and @Channel")
    assert to_markdown("mail@here.test") == "mail@here.test"
    assert to_markdown("`<@U1> @here`") == "`<@U1> @here`"


@given(st.text(alphabet="a|-`~<@!#\n *_h\\eré", max_size=120))
def test_twice_is_once(text: str) -> None:
    once = to_markdown(text)
    assert to_markdown(once) == once


@given(st.text(alphabet="ab|-`<@!\n here", max_size=80), st.data())
def test_what_is_shown_of_a_growing_text_never_has_to_be_taken_back(
    text: str, data: st.DataObject
) -> None:
    final = to_markdown(text)
    cut = data.draw(st.integers(0, len(text)))
    assert final.startswith(to_markdown(stable(text[:cut])))


@given(st.text(alphabet="ab<@!#&>|*`\n", max_size=80))
def test_no_mention_survives_mrkdwn(text: str) -> None:
    assert not any(call in to_mrkdwn(text) for call in ("<@", "<!", "<#"))
