"""Turns what the model writes into Slack's markdown, whole or as it grows.

Slack's markdown blocks and streams read ordinary Markdown, but no tables, and they act on
`<@U…>`, `<!here>` and `@here`: tables become aligned code blocks, and nobody is called by accident.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bot.platforms.shared.code_spans import code_spans
from bot.platforms.slack.markdown_blocks import Block, Kind, scan
from bot.platforms.slack.tables import aligned_table

_CALL = re.compile(r"<(?=[@!#])")
_BROADCAST = re.compile(r"(?<!\w)@(?=(?:here|channel|everyone)\b)", re.IGNORECASE)
_WORD_JOINER = "\u2060"  # unseen, and `@` is no mention any more
# What may become a fence, in a list or a quote too; bars and backticks are looked for apart.
_MAY_OPEN_FENCE = re.compile(r"[\s>]*(?:(?:[-*+]|\d{1,9}[.)])[\s>]+)*~|[\s>]*$")
_MAY_CLOSE_FENCE = re.compile(r" {0,3}[`~]|[ ]{1,3}$")
_UNFINISHED_CALL = re.compile(r"<*(?:@\w*)?$")


def to_markdown(text: str) -> str:
    """Markdown as Slack's markdown blocks and streams take it. Doing it twice changes nothing."""
    lines = text.split("\n")
    return _rendered(lines, scan(lines).blocks)


class MarkdownStream:
    """`to_markdown` of a text that grows, as far as no later text can change it.

    What is final is rendered once: a call takes the time of the last list, table or paragraph.
    """

    def __init__(self) -> None:
        self._length = 0  # of the text that is rendered for good, whole blocks of it
        self._rendered = ""

    def render(self, text: str) -> str:
        """The rendered start of a text, which begins with all texts that were given before."""
        complete = text[self._length : text.rfind("\n") + 1]
        lines = complete.split("\n")[:-1]
        last_start = scan(lines).last_start
        if last_start:
            blocks = "\n".join(lines[:last_start]) + "\n"
            self._rendered += to_markdown(blocks)
            self._length += len(blocks)
        return self._rendered + to_markdown(stable(text[self._length :]))


def stable(text: str) -> str:
    """The start of a growing text that `to_markdown` turns into the same whatever follows.

    Held back is a table that may get more rows, a line that may turn out to be a table's first, an
    unfinished mention, and a line that may open or close a code block. (Not the start of a line
    before its first bar: nothing would be shown until a line is complete.)
    """
    start = text.rfind("\n") + 1
    last = text[start:]
    lines = text[:start].split("\n")[:-1]
    blocks = scan(lines).blocks
    block = blocks[-1] if blocks and not "".join(lines[blocks[-1].end :]).strip() else None
    if block is not None and block.kind is Kind.CODE and not block.is_closed:
        # A line may also end the list or quote that the code is in.
        may_end = block.is_nested or _MAY_CLOSE_FENCE.match(last)
        return text[:start] if may_end else text
    if block is not None and block.kind is Kind.TABLE and block.end == len(lines):
        return _lines(lines[: block.start])
    if lines and "|" in lines[-1] and (block is None or block.end < len(lines)):
        return _lines(lines[:-1])
    if "|" in last or "`" in last or _MAY_OPEN_FENCE.match(last):
        return text[:start]
    return text[:start] + _UNFINISHED_CALL.sub("", last)


def without_broadcasts(text: str) -> str:
    """A text in which @here and the like are only written, not called."""
    return _BROADCAST.sub(f"@{_WORD_JOINER}", text)


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _rendered(lines: Sequence[str], blocks: Sequence[Block]) -> str:
    rendered: list[str] = []
    position = 0
    for block in blocks:
        rendered += map(_prose, lines[position : block.start])
        position = block.end
        block_lines = lines[block.start : block.end]
        if block.kind is Kind.CODE:
            rendered += block_lines
        else:
            rendered += aligned_table(block_lines, block.prefixes)
    rendered += map(_prose, lines[position:])
    return "\n".join(rendered)


def _prose(line: str) -> str:
    """A line without calls outside of its code spans."""
    pieces: list[str] = []
    position = 0
    for start, end, _ in code_spans(line):
        pieces += (_harmless(line[position:start]), line[start:end])
        position = end
    pieces.append(_harmless(line[position:]))
    return "".join(pieces)


def _harmless(prose: str) -> str:
    return without_broadcasts(_CALL.sub("&lt;", prose))
