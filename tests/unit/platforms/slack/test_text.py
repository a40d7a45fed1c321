"""Reading Slack's text: escapes, mentions, links, and whom it calls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.platforms.slack.text import (
    escape,
    names_user,
    parse_mrkdwn,
    read_text,
    resolve,
    unescape,
)
from tests.support.slack_names import NAMES


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
