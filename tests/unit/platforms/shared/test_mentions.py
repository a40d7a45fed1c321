"""One rule for mentions: an address goes, what a sentence needs stays, what is cited calls nobody.

Messages are written with `@bot`, `@role`, `@ana`, `@here` and `#room` for what a platform marks.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.platforms.shared.mentions import Mention, MentionedText, Target, read_mentions

TARGETS = {
    "@bot": (Target.BOT, "@Parley"),
    "@role": (Target.BOT_ROLE, "@helpers"),
    "@ana": (Target.OTHER, "@Ana"),
    "@here": (Target.EVERYONE, "@here"),
    "#room": (Target.NOBODY, "#general"),
}
MENTION = re.compile("|".join(TARGETS))


def read(text: str, *, open_quotes: bool = False) -> MentionedText:
    mentions = [Mention(m.start(), m.end(), *TARGETS[m[0]]) for m in MENTION.finditer(text)]
    return read_mentions(text, mentions, open_quotes=open_quotes)


def with_names(text: str) -> str:
    return MENTION.sub(lambda match: TARGETS[match[0]][1], text)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        # an address goes, with what sets it off
        ("@bot hello", "hello"),
        ("@bot, hello", "hello"),
        ("@bot,hello", "hello"),
        ("@bot: hello", "hello"),
        ("@bot! hello", "hello"),
        ("@bot – hello", "hello"),
        ("  @bot\nhello", "hello"),
        ("@bot @role @bot hello", "hello"),
        ("@bot你好", "你好"),
        ("@bot", ""),
        ("@bot?", ""),
        ("> what now\n@bot explain", "> what now\nexplain"),
        ("```\ncode\n```\n@bot explain", "```\ncode\n```\nexplain"),
        ("what is this? @bot", "what is this?"),
        ("look at this! @bot @bot", "look at this!"),
        # what follows an address is not punctuation of it
        ("@bot !stop", "!stop"),
        ("@bot !stop @bot", "!stop"),
        ("@bot :smile:", ":smile:"),
        ("@bot - one\n- two", "- one\n- two"),
        ("@bot ...or what?", "...or what?"),
        # a name that the sentence needs stays
        ("what can @bot do?", "what can @Parley do?"),
        ("is Claude better than @bot!", "is Claude better than @Parley!"),
        ("is Claude better than @bot?", "is Claude better than @Parley?"),
        ("hello @bot", "hello @Parley"),
        ("compare Claude, Gemini, @bot", "compare Claude, Gemini, @Parley"),
        ("@bot what can @bot do?", "what can @Parley do?"),
        ("@bot's answer was wrong", "@Parley's answer was wrong"),
        ("@bot’s answer", "@Parley’s answer"),
        ("@bot-like answers", "@Parley-like answers"),
        ("(@bot) hello", "(@Parley) hello"),
        ("@ana @bot hello", "@Ana @Parley hello"),
        ("!persona set You are @bot", "!persona set You are @Parley"),
        ("`@bot` is a mention", "`@Parley` is a mention"),
        # the rest is named
        ("ask @ana in #room, @here", "ask @Ana in #general, @here"),
        ("two  blanks `a  b` stay @bot", "two  blanks `a  b` stay @Parley"),
    ],
)
def test_what_a_message_says(text: str, content: str) -> None:
    assert read(text).text == content


@pytest.mark.parametrize(
    "text",
    [
        "@bot hello",
        "hello @bot",
        "it`s\n@bot`s",  # backticks for apostrophes
        "look: ``` @bot",  # not closed, and not at the start of a line
        "x ```code``` @bot",
        "```\ncode``` @bot",
        "`` ` `` @bot",
        "> quoted\n@bot",
        ">_< @bot",
        ">:( @bot",
        "2 > 1 @bot",
    ],
)
def test_said_to_the_bot(text: str) -> None:
    assert read(text, open_quotes=True).calls_bot


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "`@bot`",
        "use `@bot hello` for that",
        "`` a ` @bot ``",
        "```\n@bot\n```",
        "```py\n@bot",
        "  ```\n@bot",
        "see ```@bot``` there",
        "````\n```\n@bot\n```\n````",
        "> @bot hello",
        "  > @bot hello",
        "hello\n> @bot hello\nyes",
        "> > @bot",
    ],
)
def test_code_and_quotes_call_nobody(text: str) -> None:
    assert not read(text).calls_bot


def test_an_open_quote_goes_on_to_the_end_where_a_platform_has_it() -> None:
    assert read(">>> one\n@bot two").calls_bot
    assert not read(">>> one\n@bot two", open_quotes=True).calls_bot


@pytest.mark.parametrize(
    ("text", "addressed"),
    [
        ("@ana can you", True),
        ("  @ana: can you", True),
        ("> said\n@ana can you", True),
        ("@ana @bot can you", True),
        ("ask @ana", False),
        ("@bot tell @ana", False),
        ("@here look", False),
        ("`@ana` look", False),
        ("#room look", False),
        ("@role look", False),
    ],
)
def test_who_is_addressed_first(text: str, addressed: bool) -> None:
    assert read(text).addresses_other is addressed


def test_a_role_and_everyone_are_called_by_their_own_mentions() -> None:
    role, everyone = read("@role hi"), read("hi @here, `@role`")
    assert (role.calls_bot, role.calls_bot_role, role.calls_everyone) == (False, True, False)
    assert (everyone.calls_bot_role, everyone.calls_everyone) == (False, True)


PIECES = st.sampled_from(
    [*TARGETS, " ", "\n", "`", "```", "> ", ">>> ", ",", "?", "!", "'s", "word", "- ", "\u00e9"]
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)


def words(text: str) -> list[str]:
    """All of a text but white space and what may go with an address."""
    return re.sub(r"[\s,:;.!?…–—]+", " ", text).split()


@given(TEXTS, st.booleans())
def test_only_addresses_to_the_bot_are_left_out(text: str, open_quotes: bool) -> None:
    read_text = read(text, open_quotes=open_quotes).text
    named = with_names(text)
    kept, full = read_text.replace("@Parley", ""), named.replace("@Parley", "")
    kept, full = kept.replace("@helpers", ""), full.replace("@helpers", "")
    assert "".join(words(kept)) == "".join(words(full))
    assert read_text.count("@Parley") <= named.count("@Parley")


@given(TEXTS)
def test_a_sentence_around_a_mention_keeps_it(text: str) -> None:
    whole = f"what can @bot do about {text.replace('`', '')}"
    assert read(whole).text.startswith("what can @Parley do about")
    assert read(whole).calls_bot


@given(TEXTS)
def test_a_quoted_message_calls_nobody(text: str) -> None:
    content = read("\n".join(f"> {line}" for line in text.split("\n")))
    assert content == MentionedText(content.text)


@given(TEXTS)
def test_a_code_block_calls_nobody(text: str) -> None:
    content = read(f"```\n{text.replace('`', '')}\n```")
    assert content == MentionedText(content.text)


@given(TEXTS)
def test_without_an_address_everything_is_kept(text: str) -> None:
    unfinished = text.translate({ord("?"): None, ord("!"): None})
    assert read(f"so {unfinished}").text == with_names(f"so {unfinished}").strip()
