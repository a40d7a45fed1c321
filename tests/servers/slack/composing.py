"""What Slack's composer makes of a typed message: the rich text blocks beside its `text`."""

from __future__ import annotations

import re
from typing import Any

Element = dict[str, Any]

_PREFORMATTED = re.compile(r"```\n?(.*?)\n?```", re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`|<([^<>\n]+)>")


def rich_text(text: str) -> list[dict[str, Any]]:
    """The blocks of a message with this `text` (escaped, with `<@U…>` and the like); none of one
    without a text."""
    elements: list[Element] = []
    end = 0
    for match in _PREFORMATTED.finditer(text):
        elements += _lines(text[end : match.start()])
        elements.append(_part("preformatted", [_text(match[1])]))
        end = match.end()
    elements += _lines(text[end:])
    if not elements:
        return []
    return [{"type": "rich_text", "block_id": "b", "elements": elements}]


def _lines(text: str) -> list[Element]:
    """Sections, and quotes of lines that begin with ">"."""
    parts: list[Element] = []
    for line in text.split("\n") if text.strip("\n") else ():
        kind = "quote" if line.startswith("&gt;") else "section"
        content = _inline(line.removeprefix("&gt;").removeprefix(" ") if kind == "quote" else line)
        if parts and parts[-1]["type"] == f"rich_text_{kind}":
            parts[-1]["elements"] += [_text("\n"), *content]
        else:
            parts.append(_part(kind, content))
    return parts


def _inline(line: str, style: dict[str, bool] | None = None) -> list[Element]:
    elements: list[Element] = []
    end = 0
    for match in _INLINE.finditer(line):
        if match.start() > end:
            elements.append(_text(line[end : match.start()], style))
        if match[1] is not None:
            elements += _inline(match[1], {"code": True})
        else:
            elements.append(_token(match[2], style))
        end = match.end()
    if end < len(line):
        elements.append(_text(line[end:], style))
    return elements


def _token(token: str, style: dict[str, bool] | None) -> Element:
    target, _, label = token.partition("|")
    element: Element
    if target.startswith("@"):
        element = {"type": "user", "user_id": target[1:]}
    elif target.startswith("#"):
        element = {"type": "channel", "channel_id": target[1:]}
    elif target.startswith("!subteam^"):
        element = {"type": "usergroup", "usergroup_id": target.removeprefix("!subteam^")}
    elif target.startswith("!"):
        element = {"type": "broadcast", "range": target[1:]}
    else:
        element = {"type": "link", "url": _unescaped(target)}
        if label:
            element["text"] = _unescaped(label)
    return {**element, "style": style} if style else element


def _text(text: str, style: dict[str, bool] | None = None) -> Element:
    element: Element = {"type": "text", "text": _unescaped(text)}
    return {**element, "style": style} if style else element


def _part(kind: str, elements: list[Element]) -> Element:
    return {"type": f"rich_text_{kind}", "elements": elements}


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
