"""Turns Markdown into mrkdwn, Slack's older dialect: another bold, links of its own, three escapes.

The `text` of every message reads it, and all blocks but the markdown block.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it.token import Token

from bot.platforms.slack.inline import parse_inline, text_of
from bot.platforms.slack.markdown import without_broadcasts
from bot.platforms.slack.markdown_blocks import Block, Kind, scan
from bot.platforms.slack.tables import aligned_table
from bot.platforms.slack.text import escape

RULE = "──────────"
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*)")
_BULLET = re.compile(r"(\s*)[-*+]\s+(.*)")
_RULE = re.compile(r" {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*")
_WEB_LINK = re.compile(r"https?://|mailto:")
_MARKS = {"strong": "*", "em": "_", "s": "~"}


def to_mrkdwn(text: str) -> str:
    """Markdown as Slack's mrkdwn."""
    lines = text.split("\n")
    rendered: list[str] = []
    position = 0
    for block in scan(lines).blocks:
        rendered += map(_line, lines[position : block.start])
        rendered += _block(lines[block.start : block.end], block)
        position = block.end
    rendered += map(_line, lines[position:])
    return "\n".join(rendered)


def _block(lines: Sequence[str], block: Block) -> list[str]:
    if block.kind is Kind.CODE:
        code = block.code.replace("```", "'''")  # mrkdwn's fences can't be longer
        return ["```", *(escape(code).split("\n") if code else ()), "```"]
    table = [line[len(prefix) :] for line, prefix in zip(lines, block.prefixes, strict=True)]
    return list(map(escape, aligned_table(table)))


def _line(line: str) -> str:
    if _RULE.fullmatch(line):
        return RULE
    heading = _HEADING.fullmatch(line)
    if heading:
        inner = _inline(_heading_text(heading[1]), bold=False)
        return f"*{inner}*" if inner else ""
    bullet = _BULLET.fullmatch(line)
    if bullet:
        return f"{bullet[1]}• {_inline(bullet[2])}"
    if line.startswith(">"):
        return ">" + _inline(line[1:])
    return _inline(line)


def _heading_text(text: str) -> str:
    """A heading without the number signs that may close it."""
    text = text.strip()
    unclosed = text.rstrip("#")
    return unclosed.rstrip() if not unclosed or unclosed[-1].isspace() else text


def _inline(line: str, *, bold: bool = True) -> str:
    """A line's emphasis, links and code. White space at its start counts."""
    text = line.lstrip()
    indent = line[: len(line) - len(text)]
    pieces: list[str] = []
    prose: list[str] = []  # text that Slack sees in one piece: "@" and "here" may come apart
    link: list[Token] | None = None
    for token in parse_inline(text):
        if token.type == "link_open":
            link = [token]
        elif link is not None and token.type != "link_close":
            link.append(token)
        elif token.type in ("text", "text_special"):
            prose.append(token.content)
        else:
            pieces.append(_prose(prose))
            prose = []
            if link is not None:
                pieces.append(_link(str(link[0].attrs["href"]), text_of(link[1:])))
                link = None
            else:
                pieces.append(_mark(token, bold))
    pieces.append(_prose(prose))
    return indent + "".join(pieces)


def _prose(texts: Sequence[str]) -> str:
    return without_broadcasts(escape("".join(texts)))


def _mark(token: Token, bold: bool) -> str:
    if token.type == "code_inline":
        return f"`{escape(token.content)}`"
    if token.type == "image":
        return _link(str(token.attrs["src"]), token.content)
    kind = token.type.rpartition("_")[0]
    return "" if kind == "strong" and not bold else _MARKS.get(kind, "")


def _link(url: str, label: str) -> str:
    label = escape(label.replace("|", "¦"))
    if not _WEB_LINK.match(url):
        return f"{label} ({escape(url)})" if label else escape(url)
    target = escape(url.replace("|", "%7C"))
    return f"<{target}|{label}>" if label and label != url else f"<{target}>"
