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
_MARKS = {"strong": "*", "em": "_", "s": "~"}  # by the token's name, less "_open" or "_close"


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
    pieces: list[str] = [line[: len(line) - len(text)]]
    prose: list[str] = []  # what Slack reads in one piece: "@" and "here" may be two tokens
    link: list[Token] = []  # from its start
    for token in parse_inline(text):
        if token.type == "link_close":
            piece = _link(str(link[0].attrs["href"]), text_of(link[1:]), prose)
            link = []
        elif link or token.type == "link_open":
            link.append(token)
            continue
        else:
            piece = _piece(token, prose, bold)
        if piece:
            pieces += (_flushed(prose), piece)
    return "".join([*pieces, _flushed(prose)])


def _flushed(prose: list[str]) -> str:
    text = without_broadcasts(escape("".join(prose)))
    prose.clear()
    return text


def _piece(token: Token, prose: list[str], bold: bool) -> str:
    """A token as mrkdwn; "" for one that is prose."""
    if token.type == "code_inline":
        return f"`{escape(token.content)}`"
    if token.type == "image":
        return _link(str(token.attrs["src"]), token.content, prose)
    kind, _, _ = token.type.rpartition("_")
    if kind in _MARKS:
        return "" if kind == "strong" and not bold else _MARKS[kind]
    prose.append(token.content)
    return ""


def _link(url: str, label: str, prose: list[str]) -> str:
    """A link as mrkdwn; "" for one that isn't to the web, which is prose."""
    if not _WEB_LINK.match(url):
        prose.append(f"{label} ({url})" if label else url)
        return ""
    target = escape(url.replace("|", "%7C"))
    if not label or label == url:
        return f"<{target}>"
    return f"<{target}|{without_broadcasts(escape(label.replace('|', '¦')))}>"
