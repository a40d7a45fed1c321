"""Finds the code blocks and tables of a Markdown text, as CommonMark and GFM define them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, blockquote
from markdown_it.rules_block.table import table as gfm_table
from markdown_it.token import Token

# What a line with a bar may begin besides a table, which the parser tries first.
_OTHER_BLOCK = re.compile(r"(?:[-*+]|\d{1,9}[.)]|#{1,6})[ \t]|>|```|~~~")


class Kind(Enum):
    """What a block is; whatever is neither is prose."""

    CODE = auto()  # a fenced block; Slack's parser may not take an indented one for code
    TABLE = auto()


@dataclass(frozen=True, slots=True)
class Block:
    """The lines from `start` up to `end`, exclusive."""

    kind: Kind
    start: int
    end: int
    is_nested: bool  # in a list or a quote
    is_closed: bool = True  # False: a fence that goes on to the end of its list, quote or text
    code: str = ""  # what the fences of a code block hold
    prefixes: tuple[str, ...] = ()  # of a table's lines: the marks of its lists and quotes


@dataclass(frozen=True, slots=True)
class Scan:
    """The code blocks and tables of a text in their order, and where its last block starts.

    Whatever lines follow the text, they change nothing before `last_start`, which is the line of
    the last block (of any kind) that is in no list or quote.
    """

    blocks: tuple[Block, ...]
    last_start: int


def scan(lines: Sequence[str]) -> Scan:
    """Scan a text, given as its lines. Takes linear time."""
    # A line feed after the last line too, so that an unclosed fence holds whole lines. A carriage
    # return is white space at the end of a line, but not for the parser.
    source = "".join(f"{line}\n" for line in lines).replace("\r", " ")
    tokens: list[Token] = []
    _PARSER.block.parse(source, _PARSER, {}, tokens)
    blocks = tuple(block for token in tokens if (block := _block(token)) is not None)
    starts = [token.map[0] for token in tokens if token.level == 0 and token.map]
    return Scan(blocks, starts[-1] if starts else 0)


def _block(token: Token) -> Block | None:
    if token.map is None or token.type not in ("fence", "table"):
        return None
    start, end = token.map
    is_nested = token.level > 0
    if token.type == "table":
        return Block(Kind.TABLE, start, end, is_nested, prefixes=token.meta["prefixes"])
    is_closed = end - start == token.content.count("\n") + 2
    return Block(Kind.CODE, start, end, is_nested, is_closed, token.content.removesuffix("\n"))


def _table(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """GFM's rule for tables, but a line without a bar ends one, as people (and models) expect; and
    a table is one token, since cells are not needed."""
    if not gfm_table(state, start_line, end_line, True):
        return False
    if _OTHER_BLOCK.match(state.src, state.bMarks[start_line] + state.tShift[start_line]):
        return False
    if silent:
        return True
    parent_type, state.parentType = state.parentType, "table"
    line = start_line + 2
    while line < end_line and _is_row(state, line, end_line):
        line += 1
    state.parentType = parent_type
    token = state.push("table", "", 0)
    token.map = [start_line, line]
    token.meta = {"prefixes": tuple(_prefix(state, row) for row in range(start_line, line))}
    state.line = line
    return True


def _is_row(state: StateBlock, line: int, end_line: int) -> bool:
    if state.sCount[line] < state.blkIndent or state.is_code_block(line):
        return False
    if "|" not in state.src[state.bMarks[line] : state.eMarks[line]]:
        return False
    rules: Any = state.md.block.ruler.getRules("blockquote")
    return not any(rule(state, line, end_line, True) for rule in rules)


def _quote(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """CommonMark's rule for quotes, but the first line without a mark ends one: it is prose either
    way, and to look for it again from each mark would take quadratic time."""
    line = start_line + 1
    while not silent and line < end_line and _is_marked(state, line):
        line += 1
    line_max, state.lineMax = state.lineMax, line if not silent else state.lineMax
    is_quote = blockquote(state, start_line, end_line if silent else line, silent)
    state.lineMax = line_max
    return is_quote


def _is_marked(state: StateBlock, line: int) -> bool:
    if state.sCount[line] < state.blkIndent or state.is_code_block(line):
        return False
    return state.src.startswith(">", state.bMarks[line] + state.tShift[line])


def _prefix(state: StateBlock, line: int) -> str:
    content_start = state.bMarks[line] + state.tShift[line]
    line_start = state.src.rfind("\n", 0, content_start) + 1
    return state.src[line_start:content_start]


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False})
    parser.block.ruler.at(
        "blockquote", _quote, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    parser.block.ruler.at("table", _table, {"alt": ["paragraph", "reference"]})
    return parser.enable("table").disable("reference")


_PARSER = _parser()
