"""Where code blocks and tables are, as CommonMark and GFM have it and chat readers expect."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.platforms.slack.markdown_blocks import Kind, scan

PIECES = st.sampled_from(
    ["```", "~~~", "a|b", "-|-", "|", "- ", "1. ", "> ", "  ", "    ", "# ", "---", "x", "\n", "\n"]
)


def blocks(text: str) -> list[tuple[str, int, int]]:
    return [(b.kind.name.lower(), b.start, b.end) for b in scan(text.split("\n")).blocks]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```\nx\n```", [("code", 0, 3)]),
        ("```\nx", [("code", 0, 2)]),
        ("~~~py\n```\n~~~\nx", [("code", 0, 3)]),
        ("````\n```\n````", [("code", 0, 3)]),
        ("``` `\nx", []),
        ("    ```\nx", []),
        ("    indented code", []),
        ("1. x\n   ```\n   y\n   ```\n2. z", [("code", 1, 4)]),
        ("- ```\nx", [("code", 0, 1)]),  # the list ends, and the code with it
        ("> ```\n> x\ny", [("code", 0, 2)]),
        ("> > ```\n> x", [("code", 0, 1)]),
        ("a|b\n-|-\n1|2\nx", [("table", 0, 3)]),
        ("x\na|b\n-|-", [("table", 1, 3)]),
        ("a|b\n-|-\n# h|i", [("table", 0, 2)]),
        ("a|b\n-|-\n> 1|2", [("table", 0, 2)]),
        ("a|b\n-|-\nx\nc|d\n-|-", [("table", 0, 2), ("table", 3, 5)]),
        ("> x\na|b\n-|-", [("table", 1, 3)]),  # no row of the quote
        ("a|b\r\n-|-\r\n1|2\r\n```\r\nx\r\n```\r", [("table", 0, 3), ("code", 3, 6)]),
    ],
)
def test_blocks(text: str, expected: list[tuple[str, int, int]]) -> None:
    assert blocks(text) == expected


@pytest.mark.parametrize(
    ("text", "is_closed", "code"),
    [
        ("```\nx\n\n```", True, "x\n"),
        ("```\nx\n", False, "x\n"),
        ("```\n```", True, ""),
        ("```", False, ""),
        ("```\nx\n    ```", False, "x\n    ```"),
        ("- ```\n  x\n  ```", True, "x"),
        ("- ```\n  x\n```", False, "x"),
        ("> ```\n>  x", False, " x"),
    ],
)
def test_what_a_code_block_holds(text: str, is_closed: bool, code: str) -> None:
    block = scan(text.split("\n")).blocks[0]
    assert (block.is_closed, block.code) == (is_closed, code)


def test_the_marks_around_a_table() -> None:
    block = scan(["1. > a|b", "   > -|-", "   >  1|2"]).blocks[0]
    assert block.kind is Kind.TABLE
    assert block.is_nested
    assert block.prefixes == ("1. > ", "   > ", "   >  ")


@settings(deadline=None)  # machines differ
@given(st.lists(PIECES, max_size=30).map("".join), st.lists(PIECES, max_size=15).map("".join))
def test_what_follows_changes_nothing_before_the_last_block(text: str, more: str) -> None:
    lines = text.split("\n")
    whole = [*lines, *more.split("\n")]
    start = scan(lines).last_start
    before = [block for block in scan(lines).blocks if block.end <= start]
    assert [block for block in scan(whole).blocks if block.start < start] == before
    rest = scan(whole[start:]).blocks
    after = [(b.kind, b.start - start) for b in scan(whole).blocks if b.start >= start]
    assert [(b.kind, b.start) for b in rest] == after
