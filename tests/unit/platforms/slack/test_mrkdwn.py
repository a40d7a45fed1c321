"""Markdown as mrkdwn: another dialect, and one in which nobody is called by accident."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.platforms.slack.mrkdwn import to_mrkdwn

TABLE = "| Name | Age |\n|---|---|\n| Ana | 7 |\n| **Bo** | 12 |"


@pytest.mark.parametrize(
    ("markdown", "mrkdwn"),
    [
        ("**bold** and *italic* and ~~gone~~", "*bold* and _italic_ and ~gone~"),
        ("# A **title**", "*A title*"),
        ("- one\n* two\n  + three", "• one\n• two\n  • three"),
        ("1. one", "1. one"),
        ("[text](https://a.test/?x=1&y=2)", "<https://a.test/?x=1&amp;y=2|text>"),
        ("[click](javascript:alert(1))", "click (javascript:alert(1))"),
        ("[click](javascript:alert(1)", "[click](javascript:alert(1)"),
        ("[a **b** `c`](https://a.test)", "<https://a.test|a b c>"),
        ("![a cat](https://a.test/c.png)", "<https://a.test/c.png|a cat>"),
        ("[a|b](https://a.test/x|y)", "<https://a.test/x%7Cy|a¦b>"),
        ("<mailto:a@b.test> <a@b.test>", "<mailto:a@b.test> <mailto:a@b.test|a@b.test>"),
        ("<https://a.test>", "<https://a.test>"),
        ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
        ("<@U123> <!channel> <#C1|x>", "&lt;@U123&gt; &lt;!channel&gt; &lt;#C1|x&gt;"),
        ("`a < b **not**`", "`a &lt; b **not**`"),
        ("```python\nif a < b: **x**\n```", "```\nif a &lt; b: **x**\n```"),
        ("> quoted **b**", "> quoted *b*"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("snake_case_name", "snake_case_name"),
        ("***both***", "_*both*_"),
        ("## Closed ##", "*Closed*"),
        ("# C#", "*C#*"),
        ("`` a ` b ``", "`a ` b`"),
        (r"\*not italic\*", "*not italic*"),
        ("&lt;@U1&gt; &amp;", "&lt;@U1&gt; &amp;"),
        (r"\@here @**here** &#64;here", "@\u2060here @*here* @\u2060here"),
        ("@[here](/x)", "@\u2060here (/x)"),
        ("# @**here**", "*@\u2060here*"),
        ("[@here](https://a.test/@here)", "<https://a.test/@here|@\u2060here>"),
        ("- ```\n  a < b\n  ```", "```\na &lt; b\n```"),
        ("> ```\n> x", "```\nx\n```"),
        ("````\n```\n````", "```\n'''\n```"),
        ("```\n```", "```\n```"),
        ("---", "──────────"),
    ],
)
def test_mrkdwn(markdown: str, mrkdwn: str) -> None:
    assert to_mrkdwn(markdown) == mrkdwn


def test_tables_become_aligned_code() -> None:
    aligned = "```\nName | Age\n-----+----\nAna  | 7\nBo   | 12\n```"
    assert to_mrkdwn(f"Look:\n{TABLE}\nDone") == f"Look:\n{aligned}\nDone"
    assert to_mrkdwn("> a|b\n> -|-\n> <|2") == "```\na | b\n--+--\n&lt; | 2\n```"


@settings(deadline=None)  # machines differ
@given(st.text(alphabet="ab<@!#&>|*`\n[]()_~\\ -", max_size=80))
def test_no_mention_survives_mrkdwn(text: str) -> None:
    assert not any(call in to_mrkdwn(text) for call in ("<@", "<!", "<#"))


@settings(deadline=None)  # machines differ
@given(
    st.lists(
        st.sampled_from(["@", "here", "**", "_", "\\", "&#64;", "`", " ", "[", "](/x)", "# ", "!["])
    )
)
def test_no_broadcast_survives_outside_of_code(pieces: list[str]) -> None:
    text = "".join(pieces).replace("`", "")
    assert not re.search(r"(?<!\w)@here\b", to_mrkdwn(text))
