"""Reading what Slack sends: escapes, mentions, links, rich text; and what came before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.platforms.slack.claims import Claims
from bot.platforms.slack.rich_text import parse_blocks
from bot.platforms.slack.text import (
    NameLookup,
    escape,
    names_user,
    parse_mrkdwn,
    read_text,
    resolve,
    unescape,
)


async def _person(user: str) -> str:
    return {"U1": "Ana", "U2": "Bob", "UBOT": "Parley"}.get(user, user)


async def _channel(channel: str) -> str:
    return {"C1": "general"}.get(channel, channel)


NAMES = NameLookup(_person, _channel)


@pytest.mark.parametrize(
    ("slack", "plain"),
    [
        ("a &lt; b &amp;&amp; c &gt; d", "a < b && c > d"),
        ("&amp;lt;", "&lt;"),
        ("hello <@U1>", "hello @Ana"),
        ("hello <@U2|bobby>", "hello @bobby"),
        ("in <#C1|> and <#C9|random>", "in #general and #random"),
        ("<!here> <!subteam^S1|@team>", "@here @team"),
        ("<https://a.test/?x=1&amp;y=2>", "https://a.test/?x=1&y=2"),
        ("<https://a.test|see here>", "[see here](https://a.test)"),
        ("<https://a.test|a.test>", "https://a.test"),
        ("<mailto:a@b.test|a@b.test>", "a@b.test"),
        ("<!date^1392734382^{date}|Feb 18>", "Feb 18"),
        ("<@UBOT> hello", "hello"),
        ("<@UBOT>, hello", "hello"),
        ("well <@UBOT> hello", "well @Parley hello"),
        ("what can <@UBOT> do?", "what can @Parley do?"),
        ("is Claude better than <@UBOT|parley>!", "is Claude better than @parley!"),
        ("what is this? <@UBOT>", "what is this?"),
        ("say `&lt;@UBOT&gt;`", "say `<@UBOT>`"),
        ("<!subteam^S1>", "@S1"),
        ("<!foo> <!date^1^x>", "@foo @date"),
    ],
)
async def test_text(slack: str, plain: str) -> None:
    assert await read_text(slack, NAMES, "UBOT") == plain


@given(st.text())
def test_escapes_are_undone(text: str) -> None:
    assert unescape(escape(text)) == text


@pytest.mark.parametrize(
    ("text", "bot", "everyone", "other"),
    [
        ("<@UBOT> hello", True, False, False),
        ("hello <@UBOT|parley>", True, False, False),
        (" <@U1> can you", False, False, True),
        ("<@U1> ask <@UBOT>", True, False, True),
        ("ask <@U1>", False, False, False),
        ("<!subteam^S1|@team> please", False, False, True),
        ("<!channel> lunch", False, True, False),
        ("@channel lunch", False, False, False),
        ("`<@UBOT>` is how", False, False, False),
        ("```<@UBOT> <!here>```", False, False, False),
        ("&gt; <@UBOT> said\nno", False, False, False),
        ("&gt; who?\n<@UBOT> you", True, False, False),
        ("&lt;@UBOT&gt; typed", False, False, False),
        ("\ufdd0@UBOT\ufdd1 forged", False, False, False),
    ],
)
async def test_whom_a_text_calls(text: str, bot: bool, everyone: bool, other: bool) -> None:
    content = await resolve(parse_mrkdwn(text), NAMES, "UBOT")
    assert content.calls_bot is bot
    assert content.calls_everyone is everyone
    assert content.addresses_other is other


def test_a_cited_mention_names_the_user_all_the_same() -> None:
    assert names_user("`<@U1>`", "U1")
    assert names_user("<@U1|ana>", "U1")
    assert not names_user("<@U12>", "U1")
    assert not names_user("&lt;@U1&gt;", "U1")


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


def test_claims_are_given_back_where_the_work_failed() -> None:
    claims = Claims(max_claims=3)
    with claims.claim("e1", "m1") as new:
        assert new
    with claims.claim("e2", "m1") as new:
        assert not new
    with pytest.raises(ValueError), claims.claim("e3", "m3"):
        raise ValueError
    with claims.claim("e3", "m3") as new:
        assert new
    for number in range(5):
        with claims.claim(f"x{number}"):
            pass
    with claims.claim("e1") as new:
        assert new  # forgotten: it is bounded
