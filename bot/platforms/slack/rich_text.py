"""Reads Slack's rich text blocks as Markdown: what people formatted, exactly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from bot.platforms.slack.text import clean, placeholder

Block: TypeAlias = Mapping[str, Any]

MAX_BLOCKS = 100
MAX_ELEMENTS = 5_000
_MAX_INDENT = 8
_BULLET_INDENT = "  "
_BACKTICKS = re.compile("`+")


def parse_blocks(blocks: object) -> str | None:
    """A message's rich text blocks as Markdown with placeholders (see `text.resolve`).

    None where there are no rich text blocks, or others beside them.
    """
    if not isinstance(blocks, Sequence) or isinstance(blocks, str):
        return None
    rich = [
        b for b in blocks[:MAX_BLOCKS] if isinstance(b, Mapping) and b.get("type") == "rich_text"
    ]
    if not rich or len(rich) != len(blocks):
        return None
    return "\n".join(_part(element) for block in rich for element in _elements(block))


def _part(part: Block) -> str:
    kind = part.get("type")
    if kind == "rich_text_list":
        return _list(part)
    content = _inline(_elements(part), plain=kind == "rich_text_preformatted")
    if kind == "rich_text_preformatted":
        fence = "```"
        while fence in content:
            fence += "`"
        return f"{fence}\n{content.strip(chr(10))}\n{fence}"
    if kind == "rich_text_quote":
        return "\n".join(f"> {line}" for line in content.split("\n"))
    return content.removesuffix("\n")


def _list(part: Block) -> str:
    indent = _BULLET_INDENT * min(_number(part.get("indent")), _MAX_INDENT)
    first = _number(part.get("offset")) + 1
    lines = []
    for number, item in enumerate(_elements(part), first):
        bullet = f"{number}." if part.get("style") == "ordered" else "-"
        lines.append(f"{indent}{bullet} {_inline(_elements(item))}")
    return "\n".join(lines)


def _inline(elements: Iterable[Block], *, plain: bool = False) -> str:
    return "".join([_leaf(element, plain) for element in elements])


def _leaf(element: Block, plain: bool) -> str:
    kind = element.get("type")
    if kind == "text":
        return _styled(_string(element, "text"), element.get("style"), plain)
    if kind == "link":
        url, label = _string(element, "url"), _string(element, "text")
        return f"[{label}]({url})" if label and label != url and not plain else url
    if kind == "emoji":
        return _emoji(element)
    if kind == "date":
        return _string(element, "fallback")
    if kind == "color":
        return _string(element, "value")
    token = _token(element)
    if not token:
        return ""
    style = element.get("style")
    is_code = isinstance(style, Mapping) and bool(style.get("code"))  # a bold one is still a call
    return _styled(placeholder(token), {"code": is_code}, plain)


def _token(element: Block) -> str:
    """The mention in an element, as `text.placeholder` takes it; "" where there is none."""
    kind = element.get("type")
    if kind == "user":
        return f"@{_string(element, 'user_id')}"
    if kind == "channel":
        return f"#{_string(element, 'channel_id')}"
    if kind == "usergroup":
        return f"!subteam^{_string(element, 'usergroup_id')}"
    return f"!{_string(element, 'range') or 'here'}" if kind == "broadcast" else ""


def _styled(text: str, style: object, plain: bool) -> str:
    """The text with its style's marks around what is not white space."""
    inner = text.strip()
    if not isinstance(style, Mapping) or not inner or plain:
        return text
    marks = "".join(
        mark
        for name, mark in (("strike", "~~"), ("bold", "**"), ("italic", "_"))
        if style.get(name)
    )
    start = text.index(inner)
    end = start + len(inner)
    content = _code(inner) if style.get("code") else inner
    return f"{text[:start]}{marks}{content}{marks[::-1]}{text[end:]}"


def _code(text: str) -> str:
    """A code span, in more backticks than the text has in a row."""
    run = "`" * (1 + max(map(len, _BACKTICKS.findall(text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{run}{pad}{text}{pad}{run}"


def _emoji(element: Block) -> str:
    shortcode = f":{_string(element, 'name') or 'emoji'}:"
    codes = _string(element, "unicode")
    try:
        emoji = "".join(chr(int(code, 16)) for code in codes.split("-")) if codes else shortcode
        emoji.encode()  # no surrogates
        return clean(emoji)
    except (ValueError, OverflowError):
        return shortcode


def _elements(block: Block) -> list[Block]:
    elements = block.get("elements")
    if not isinstance(elements, list):
        return []
    return [element for element in elements[:MAX_ELEMENTS] if isinstance(element, Mapping)]


def _string(element: Block, name: str) -> str:
    return clean(str(element.get(name) or ""))


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= 10_000 else 0
