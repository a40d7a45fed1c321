"""Reads Slack's rich text blocks as Markdown: what people formatted, exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from bot.platforms.slack.text import Readers, tidy

Block: TypeAlias = Mapping[str, Any]

MAX_BLOCKS = 100
MAX_ELEMENTS = 5_000
_BULLET_INDENT = "  "


async def read_blocks(blocks: object, readers: Readers, bot_user_id: str = "") -> str | None:
    """The text of a message's rich text blocks; None where there are none to read."""
    if not isinstance(blocks, Sequence) or isinstance(blocks, str):
        return None
    rich = [
        b for b in blocks[:MAX_BLOCKS] if isinstance(b, Mapping) and b.get("type") == "rich_text"
    ]
    if not rich or len(rich) != len(blocks):
        return None
    parts = [
        await _part(element, readers, bot_user_id) for block in rich for element in _elements(block)
    ]
    return tidy("\n".join(parts))


async def _part(part: Block, readers: Readers, bot: str) -> str:
    kind = part.get("type")
    if kind == "rich_text_list":
        return await _list(part, readers, bot)
    content = await _inline(_elements(part), readers, bot, plain=kind == "rich_text_preformatted")
    if kind == "rich_text_preformatted":
        fence = "```"
        while fence in content:
            fence += "`"
        return f"{fence}\n{content.strip(chr(10))}\n{fence}"
    if kind == "rich_text_quote":
        return "\n".join(f"> {line}" for line in content.split("\n"))
    return content.removesuffix("\n")


async def _list(part: Block, readers: Readers, bot: str) -> str:
    indent = _BULLET_INDENT * min(_number(part.get("indent")), 8)
    first = _number(part.get("offset")) + 1
    lines = []
    for number, item in enumerate(_elements(part), first):
        mark = f"{number}." if part.get("style") == "ordered" else "-"
        content = await _inline(_elements(item), readers, bot)
        lines.append(f"{indent}{mark} {content}")
    return "\n".join(lines)


async def _inline(
    elements: Iterable[Block], readers: Readers, bot: str, *, plain: bool = False
) -> str:
    return "".join([await _leaf(element, readers, bot, plain) for element in elements])


async def _leaf(element: Block, readers: Readers, bot: str, plain: bool) -> str:
    kind = element.get("type")
    if kind == "text":
        text = str(element.get("text", ""))
        return text if plain else _styled(text, element.get("style"))
    if kind == "user":
        user = str(element.get("user_id", ""))
        return "" if user == bot else "@" + await readers.person(user)
    if kind == "channel":
        return "#" + await readers.channel(str(element.get("channel_id", "")))
    if kind == "link":
        url = str(element.get("url", ""))
        label = str(element.get("text") or "")
        return f"[{label}]({url})" if label and label != url and not plain else url
    if kind == "broadcast":
        return f"@{element.get('range', 'here')}"
    if kind == "usergroup":
        return "@" + str(element.get("usergroup_id", "group"))
    if kind == "emoji":
        return _emoji(element)
    if kind == "date":
        return str(element.get("fallback") or "")
    if kind == "color":
        return str(element.get("value", ""))
    return ""


def _styled(text: str, style: object) -> str:
    """The text with its style's marks around what is not white space."""
    inner = text.strip()
    if not isinstance(style, Mapping) or not inner:
        return text
    marks = "".join(
        mark
        for name, mark in (("strike", "~~"), ("bold", "**"), ("italic", "_"))
        if style.get(name)
    )
    if style.get("code"):
        marks += "`"
    start = text.index(inner)
    return f"{text[:start]}{marks}{inner}{marks[::-1]}{text[start + len(inner) :]}"


def _emoji(element: Block) -> str:
    codes = str(element.get("unicode") or "")
    try:
        return (
            "".join(chr(int(code, 16)) for code in codes.split("-")) if codes else _named(element)
        )
    except (ValueError, OverflowError):
        return _named(element)


def _named(element: Block) -> str:
    return f":{element.get('name', 'emoji')}:"


def _elements(block: Block) -> list[Block]:
    found = block.get("elements")
    if not isinstance(found, list):
        return []
    return [element for element in found[:MAX_ELEMENTS] if isinstance(element, Mapping)]


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= 10_000 else 0
