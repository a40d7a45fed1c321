"""Reading Slack's rich text blocks as Markdown."""

from __future__ import annotations

from typing import Any

import pytest

from bot.platforms.slack.rich_text import parse_blocks
from bot.platforms.slack.text import resolve
from tests.support.slack_names import NAMES


def rich_text(*elements: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "rich_text", "elements": list(elements)}]


def section(*elements: dict[str, Any], kind: str = "section") -> dict[str, Any]:
    return {"type": f"rich_text_{kind}", "elements": list(elements)}


def written(text: str, **style: bool) -> dict[str, Any]:
    return {"type": "text", "text": text, "style": style}


BOT: dict[str, Any] = {"type": "user", "user_id": "UBOT"}
CODE_BOT: dict[str, Any] = {**BOT, "style": {"code": True}}


@pytest.mark.parametrize(
    ("elements", "text", "calls_bot"),
    [
        ([section(BOT, written(" hello"))], "hello", True),
        ([section({**BOT, "style": {"bold": True}}, written(" hello"))], "hello", True),
        ([section(written("what can "), BOT, written(" do?"))], "what can @Parley do?", True),
        ([section(written("better than "), BOT, written("!"))], "better than @Parley!", True),
        ([section(written("type "), CODE_BOT)], "type `@Parley`", False),
        ([section(BOT, written(" said"), kind="quote")], "> @Parley said", False),
        (
            [section(written("who?"), kind="quote"), section(BOT, written(" you"))],
            "> who?\nyou",
            True,
        ),
        ([section(written("<@UBOT>"), kind="preformatted")], "```\n<@UBOT>\n```", False),
        ([section(written("a `b` c", code=True))], "``a `b` c``", False),
        ([section({"type": "usergroup", "usergroup_id": "S1"})], "@S1", False),
        ([section(written("a  b"))], "a  b", False),
    ],
)
async def test_mentions_in_rich_text(
    elements: list[dict[str, Any]], text: str, calls_bot: bool
) -> None:
    content = await resolve(parse_blocks(rich_text(*elements)) or "", NAMES, "UBOT")
    assert (content.text, content.calls_bot) == (text, calls_bot)


@pytest.mark.parametrize("codes", ["d800", "110000", "x", "fdd0-fdd1"])
async def test_an_emoji_that_is_no_character_is_named(codes: str) -> None:
    emoji = {"type": "emoji", "name": "smile", "unicode": codes}
    markdown = parse_blocks(rich_text(section(emoji, written("ok"))))
    assert markdown in (":smile:ok", "ok")


def test_lists_quotes_and_links() -> None:
    blocks = [
        {
            "type": "rich_text",
            "elements": [
                section(
                    written("read "), {"type": "link", "url": "https://a.test", "text": "this"}
                ),
                {
                    "type": "rich_text_list",
                    "style": "ordered",
                    "elements": [section(written("one", bold=True)), section(written("two"))],
                },
                {
                    "type": "rich_text_list",
                    "style": "bullet",
                    "indent": 1,
                    "elements": [section(written("deep", code=True))],
                },
                {"type": "rich_text_quote", "elements": [written("a\nb")]},
            ],
        }
    ]
    assert parse_blocks(blocks) == (
        "read [this](https://a.test)\n1. **one**\n2. two\n  - `deep`\n> a\n> b"
    )


@pytest.mark.parametrize(
    "blocks", [None, "x", [], [{"type": "section"}], [{"type": "rich_text", "elements": 7}, 3]]
)
def test_what_is_no_rich_text_is_left_to_the_text(blocks: object) -> None:
    assert parse_blocks(blocks) is None
