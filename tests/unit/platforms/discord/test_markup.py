"""What a message says, and whom it calls."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.platforms.discord.markup import Names, read_text

NAMES = Names(
    me=1,
    my_name="Parley",
    my_roles=frozenset({7}),
    users={2: "Ana"},
    roles={7: "helpers", 8: "others"},
    channels={5: "general"},
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<@1> hello", "hello"),
        ("<@!1>, hello", "hello"),
        ("hello <@1>", "hello @Parley"),
        ("is Claude better than <@1>!", "is Claude better than @Parley!"),
        ("what is this? <@1>", "what is this?"),
        ("`<@1>` is how to call me", "`@Parley` is how to call me"),
        ("<@1> <@&7> hello", "hello"),
        ("what can <@1> do?", "what can @Parley do?"),
        ("ask <@2> in <#5> <:smile:99> <a:wave:98>", "ask @Ana in #general :smile: :wave:"),
        ("<@3> and <@&8> and <#6>", "@somebody and @others and #some-channel"),
        ("</persona set:12> at <t:0:R>", "/persona set at 1970-01-01 00:00 UTC"),
        ("<t:999999999999>", "some time"),
        ("a < b > c <@> <@x>", "a < b > c <@> <@x>"),
        ("<@1>", ""),
    ],
)
def test_plain_text(text: str, said: str) -> None:
    assert read_text(text, NAMES).text == said


@pytest.mark.parametrize(
    ("text", "me", "role", "other"),
    [
        ("<@1> hello", True, False, False),
        ("hello <@1>", True, False, False),
        ("<@2> hello <@1>", True, False, True),
        ("<@2> hello", False, False, True),
        ("hello <@2>", False, False, False),
        ("<@&7> hello", False, True, False),
        ("<@&8> hello", False, False, True),
        ("`<@1>` is how", False, False, False),
        ("```\n<@1>\n```", False, False, False),
        ("> <@1> said so\nno", False, False, False),
        ("> who?\n<@1> you?", True, False, False),
        (">>> who?\n<@1> said so", False, False, False),
        ("hello", False, False, False),
    ],
)
def test_whom_it_calls(text: str, me: bool, role: bool, other: bool) -> None:
    read = read_text(text, NAMES)
    assert (read.calls_bot, read.calls_bot_role, read.addresses_other) == (me, role, other)


@settings(deadline=None)  # machines differ
@given(st.text(alphabet="<@!&#1275:tax> `\n", max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    assert "<@1>" not in read_text(text, NAMES).text
