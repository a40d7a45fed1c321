"""Reading what Slack sends: escapes, mentions, links, rich text; and what came before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.platforms.slack.claims import Claims
from bot.platforms.slack.richtext import read_blocks
from bot.platforms.slack.text import (
    Readers,
    addresses,
    escape,
    mentions,
    mentions_everyone,
    read,
    unescape,
)


async def _person(user: str) -> str:
    return {"U1": "Ana", "U2": "Bob"}.get(user, user)


async def _channel(channel: str) -> str:
    return {"C1": "general"}.get(channel, channel)


READERS = Readers(_person, _channel)


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
        ("well <@UBOT> hello", "well hello"),
    ],
)
async def test_text(slack: str, plain: str) -> None:
    assert await read(slack, READERS, "UBOT") == plain


@given(st.text())
def test_escapes_are_undone(text: str) -> None:
    assert unescape(escape(text)) == text


def test_who_is_meant() -> None:
    assert mentions("<@U1> and <@U2|bob>") == {"U1", "U2"}
    assert addresses(" <@U1> can you") == "U1"
    assert addresses("ask <@U1>") is None
    assert addresses("<!subteam^S1|@team> please") == "S1"
    assert mentions_everyone("<!channel> lunch")
    assert not mentions_everyone("@channel lunch")


async def test_lists_quotes_and_links() -> None:
    def section(*elements: object) -> dict[str, object]:
        return {"type": "rich_text_section", "elements": list(elements)}

    def said(text: str, **style: bool) -> dict[str, object]:
        return {"type": "text", "text": text, "style": style}

    blocks = [
        {
            "type": "rich_text",
            "elements": [
                section(said("read "), {"type": "link", "url": "https://a.test", "text": "this"}),
                {
                    "type": "rich_text_list",
                    "style": "ordered",
                    "elements": [section(said("one", bold=True)), section(said("two"))],
                },
                {
                    "type": "rich_text_list",
                    "style": "bullet",
                    "indent": 1,
                    "elements": [section(said("deep", code=True))],
                },
                {"type": "rich_text_quote", "elements": [said("a\nb")]},
            ],
        }
    ]
    assert await read_blocks(blocks, READERS) == (
        "read [this](https://a.test)\n1. **one**\n2. two\n  - `deep`\n> a\n> b"
    )


@pytest.mark.parametrize(
    "blocks", [None, "x", [], [{"type": "section"}], [{"type": "rich_text", "elements": 7}, 3]]
)
async def test_what_is_no_rich_text_is_left_to_the_text(blocks: object) -> None:
    assert await read_blocks(blocks, READERS) is None


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
