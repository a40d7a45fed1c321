"""Tables as code: aligned where the screen is wide enough, and nothing of them lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bot.platforms.slack.tables import MAX_TABLE_WIDTH, aligned_table


def test_cells_are_aligned_by_their_width_on_the_screen() -> None:
    table = ["| City | n |", "|---|---|", "| 東京 | 1 |", "| **Rio** | 22 |"]
    assert aligned_table(table) == [
        "```", "City | n", "-----+---", "東京 | 1", "Rio  | 22", "```",
    ]  # fmt: skip


def test_marks_and_escapes_are_not_shown() -> None:
    table = ["a", "-", "`x \\| y`", "[text](https://a.test)", "~~b~~ _c_", "```"]
    assert aligned_table(table) == ["```", "a", "-----", "x | y", "text", "b c", "'''", "```"]


def test_rows_of_other_lengths_keep_all_their_cells() -> None:
    assert aligned_table(["a|b", "-|-", "1", "1|2|3"]) == [
        "```", "a | b |", "--+---+--", "1 |   |", "1 | 2 | 3", "```",
    ]  # fmt: skip


def test_a_wide_table_is_not_aligned() -> None:
    wide = "x" * MAX_TABLE_WIDTH
    assert aligned_table(["a|b", "-|-", f"{wide}|2"])[1:-1] == ["a | b", f"{wide} | 2"]


def test_it_stays_in_its_list_or_quote() -> None:
    prefixes = ["- > ", "  > ", "  > "]
    table = [f"{prefix}{row}" for prefix, row in zip(prefixes, ["a", "-", "b"], strict=True)]
    assert aligned_table(table, prefixes) == ["- > ```", "  > a", "  > -", "  > b", "  > ```"]


@given(
    st.lists(st.lists(st.text("ab1 é", max_size=5), min_size=1, max_size=4), min_size=1, max_size=4)
)
def test_nothing_is_lost(rows: list[list[str]]) -> None:
    lines = ["|".join(["", *row, ""]) for row in rows]
    rendered = "".join(aligned_table([lines[0], "-", *lines[1:]]))
    for row in rows:
        for cell in row:
            assert cell.strip() in rendered
