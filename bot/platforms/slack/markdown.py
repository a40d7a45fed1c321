"""Turns what the model writes into what Slack shows: its markdown, or its older mrkdwn.

Slack's markdown blocks and streams read ordinary Markdown, but no tables, and they act on
`<@U…>`, `<!here>` and `@here`: tables become aligned code blocks, and nobody is called by accident.
mrkdwn is what every message's `text` reads: another bold, links of its own, three escapes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bot.platforms.slack.text import escape

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_TABLE_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")
_CODE = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_CALL = re.compile(r"<(?=[@!#])")
_BROADCAST = re.compile(r"(?<![\w@])@(?=(?:here|channel|everyone)\b)", re.IGNORECASE)
_ZERO_WIDTH = "\u2060"  # word joiner: unseen, and `@` is no mention any more
_LINK = re.compile(r"(!?)\[([^\[\]]*)\]\((\S+?)(?:\s+\"[^\"]*\")?\)")
_AUTOLINK = re.compile(r"<(https?://[^\s<>|]+|mailto:[^\s<>|]+)>")
_HEADING = re.compile(r" {0,3}#{1,6}\s+(.*?)\s*#*\s*")
_BULLET = re.compile(r"(\s*)[-*+]\s+(.*)")
_RULE = re.compile(r" {0,3}([-*_])(\s*\1){2,}\s*")
_BOLD = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")
_ITALIC = re.compile(r"(?<![\w*])\*(?=[^\s*])(.+?)(?<=[^\s*])\*(?![\w*])")
_STRIKE = re.compile(r"~~(?=\S)(.+?)(?<=\S)~~")
_FENCE_START = re.compile(r" {0,3}[`~]|[ ]{1,3}$")
_UNFINISHED = re.compile(r"<*(?:@\w*)?$")

MAX_TABLE_WIDTH = 200


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines that belong together: a code block, a table, or one line of prose."""

    kind: str  # "code", "table", "prose"
    lines: tuple[str, ...]


def to_markdown(text: str) -> str:
    """Markdown as Slack's markdown blocks and streams take it. Doing it twice changes nothing."""
    return "\n".join(_markdown_block(block) for block in _blocks(text))


def to_mrkdwn(text: str) -> str:
    """Markdown as Slack's mrkdwn."""
    return "\n".join(_mrkdwn_block(block) for block in _blocks(text))


def stable(text: str) -> str:
    """The start of a growing text that `to_markdown` turns into the same whatever follows.

    Held back is a table that may get more rows, a line that may turn out to be a table's first, an
    unfinished mention, and a line that may open or close a code block.
    """
    start = text.rfind("\n") + 1
    lines = text[:start].split("\n")[:-1]
    blocks = list(_blocks("\n".join(lines))) if lines else []
    if _in_fence(lines):
        return text if not _FENCE_START.match(text[start:]) else text[:start]
    held = start
    for block in reversed(blocks):
        grows = block.kind == "table" or (block.kind == "prose" and "|" in block.lines[0])
        if not grows:
            break
        held -= sum(len(line) + 1 for line in block.lines)
        if block.kind == "table":
            break
    if held < start:
        return text[: max(held, 0)]
    last = text[start:]
    if "|" in last or _FENCE_START.match(last) or "`" in last:
        return text[:start]
    return text[:start] + _UNFINISHED.sub("", last)


def _in_fence(lines: list[str]) -> bool:
    return bool(lines) and _open_fence(lines) is not None


def _open_fence(lines: list[str]) -> str | None:
    fence: str | None = None
    for line in lines:
        fence = _after_line(fence, line)
    return fence


def _after_line(fence: str | None, line: str) -> str | None:
    match = _FENCE.match(line)
    if match is None:
        return fence
    run, info = match[1], match[2]
    if fence is None:
        return run if run[0] == "~" or "`" not in info else None
    closes = run[0] == fence[0] and len(run) >= len(fence) and not info.strip()
    return None if closes else fence


def _blocks(text: str) -> Iterator[_Block]:
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        end = _code_end(lines, at) or _table_end(lines, at)
        if end:
            kind = "code" if _FENCE.match(lines[at]) else "table"
            yield _Block(kind, tuple(lines[at:end]))
            at = end
        else:
            yield _Block("prose", (lines[at],))
            at += 1


def _code_end(lines: list[str], at: int) -> int | None:
    fence = _after_line(None, lines[at])
    if fence is None:
        return None
    for end in range(at + 1, len(lines)):
        if _after_line(fence, lines[end]) is None:
            return end + 1
    return len(lines)


def _table_end(lines: list[str], at: int) -> int | None:
    if at + 1 >= len(lines) or "|" not in lines[at] or "|" not in lines[at + 1]:
        return None
    if not _TABLE_RULE.fullmatch(lines[at + 1]):
        return None
    end = at + 2
    while end < len(lines) and "|" in lines[end] and not _FENCE.match(lines[end]):
        end += 1
    return end


# --- Slack's markdown


def _markdown_block(block: _Block) -> str:
    if block.kind == "code":
        return "\n".join(block.lines)
    if block.kind == "table":
        return _table(block.lines)
    return _outside_code(block.lines[0], _harmless)


def _harmless(prose: str) -> str:
    return _BROADCAST.sub(f"@{_ZERO_WIDTH}", _CALL.sub("&lt;", prose))


# --- mrkdwn


def _mrkdwn_block(block: _Block) -> str:
    if block.kind == "code":
        opened, *rest = block.lines
        closed = rest and _after_line(_after_line(None, opened), rest[-1]) is None
        body = rest[:-1] if closed else rest
        return "\n".join(["```", *map(escape, body), "```"])
    if block.kind == "table":
        return escape(_table(block.lines))
    return _mrkdwn_line(block.lines[0])


def _mrkdwn_line(line: str) -> str:
    if _RULE.fullmatch(line):
        return "──────────"
    heading = _HEADING.fullmatch(line)
    if heading:
        inner = _BOLD.sub(r"\2", heading[1])
        return f"*{_outside_code(inner, _mrkdwn_prose)}*" if inner else ""
    bullet = _BULLET.fullmatch(line)
    if bullet:
        return f"{bullet[1]}• {_outside_code(bullet[2], _mrkdwn_prose)}"
    if line.startswith(">"):
        return ">" + _outside_code(line[1:], _mrkdwn_prose)
    return _outside_code(line, _mrkdwn_prose)


def _mrkdwn_prose(prose: str) -> str:
    pieces: list[str] = []
    end = 0
    for match in re.finditer(f"{_LINK.pattern}|{_AUTOLINK.pattern}", prose):
        pieces.append(_emphasis(prose[end : match.start()]))
        pieces.append(_link(match[3] or match[4], match[2] or ""))
        end = match.end()
    pieces.append(_emphasis(prose[end:]))
    return "".join(pieces)


def _link(url: str, label: str) -> str:
    label = escape(label.replace("|", "¦").replace("**", ""))
    if not re.match(r"(?:https?://|mailto:)", url):
        return f"{label} ({escape(url)})" if label else escape(url)
    target = escape(url.replace("|", "%7C"))
    return f"<{target}|{label}>" if label and label != url else f"<{target}>"


def _emphasis(text: str) -> str:
    text = _BROADCAST.sub(f"@{_ZERO_WIDTH}", escape(text))
    text = _BOLD.sub("\x00\\2\x00", text)  # so that the italic pattern does not see these stars
    text = _ITALIC.sub(r"_\1_", text)
    return _STRIKE.sub(r"~\1~", text).replace("\x00", "*")


# --- both


def _outside_code(line: str, change: Callable[[str], str]) -> str:
    """The line with `change` applied outside of its code spans (which mrkdwn escapes)."""
    pieces: list[str] = []
    end = 0
    for match in _CODE.finditer(line):
        pieces.append(change(line[end : match.start()]))
        pieces.append(f"`{escape(match[2])}`" if change is _mrkdwn_prose else match[0])
        end = match.end()
    pieces.append(change(line[end:]))
    return "".join(pieces)


def _table(lines: tuple[str, ...]) -> str:
    """A table's rows, aligned, in a code block."""
    rows = [_cells(line) for number, line in enumerate(lines) if number != 1]
    columns = max(map(len, rows))
    rows = [row + [""] * (columns - len(row)) for row in rows]
    widths = [max(_width(row[column]) for row in rows) for column in range(columns)]
    if sum(widths) + 3 * columns > MAX_TABLE_WIDTH:
        return "\n".join(["```", *(" | ".join(row) for row in rows), "```"])
    shown = [
        " | ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        )
        for row in rows
    ]
    rule = "-+-".join("-" * width for width in widths)
    body = [shown[0], rule, *shown[1:]]
    return "\n".join(["```", *(line.rstrip() for line in body), "```"])


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    cells = re.split(r"(?<!\\)\|", inner)
    return [_plain(cell.strip().replace("\\|", "|").replace("```", "'''")) for cell in cells]


def _plain(cell: str) -> str:
    """A cell without the marks that a code block would show."""
    cell = _LINK.sub(r"\2", cell)
    return _CODE.sub(r"\2", _BOLD.sub(r"\2", cell))


def _width(text: str) -> int:
    """Columns on the screen."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
