"""The gate's truth table, and what must hold whatever comes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core import texts
from bot.core.events import Attachment, Author, MessageEdited, MessageReceived, ThreadKey
from bot.core.gate import (
    Decision,
    GateFacts,
    Mode,
    Reason,
    decide,
    edit_asks,
    refusal,
    reply_key,
)
from bot.core.limits import EDIT_WINDOW

CHANNEL = ThreadKey("test", "w", "c")
THREAD = CHANNEL.in_thread("t")
PERSON = Author("u", "Ana")
OTHER_BOT = Author("b", "Deploys", is_bot=True)
OURSELVES = Author("p", "Parley", is_bot=True, is_self=True)
FILE = Attachment("a.png", "image/png", 1, None)  # type: ignore[arg-type]


def message(text: str = "hi", **fields: Any) -> MessageReceived:
    fields = {"key": CHANNEL, "author": PERSON} | fields
    return MessageReceived(id="m", text=text, **fields)


MENTION, MENTION_ROLE = {"mentions_bot": True}, {"mentions_bot_role": True}
IN_THREAD = {"key": THREAD}
FOLLOWED = GateFacts(bot_in_thread=True)
ALWAYS, NEVER = GateFacts(mode=Mode.ALWAYS), GateFacts(mode=Mode.NEVER)
STRICT = GateFacts(mode=Mode.STRICT, bot_in_thread=True)
BOTS = GateFacts(answer_bots=True, bot_in_thread=True)
PLAIN = GateFacts()

TABLE = [
    # what is written, what is known, answered?, why
    ({}, PLAIN, False, Reason.NOT_ADDRESSED),
    (MENTION, PLAIN, True, Reason.MENTION),
    (MENTION_ROLE, PLAIN, True, Reason.MENTION),
    (MENTION | {"text": ""}, PLAIN, True, Reason.MENTION),
    (MENTION | IN_THREAD, PLAIN, True, Reason.MENTION),
    ({"is_dm": True}, PLAIN, True, Reason.DM),
    ({"is_dm": True, "text": ""}, PLAIN, False, Reason.EMPTY),
    ({"is_dm": True, "text": "", "attachments": (FILE,)}, PLAIN, True, Reason.DM),
    ({"is_dm": True}, STRICT, True, Reason.DM),
    ({"is_dm": True}, NEVER, False, Reason.OFF),
    ({"replies_to_bot": True}, PLAIN, True, Reason.REPLY),
    ({"replies_to_bot": True}, STRICT, False, Reason.STRICT),
    (IN_THREAD, PLAIN, False, Reason.NOT_ADDRESSED),
    (IN_THREAD, FOLLOWED, True, Reason.IN_THREAD),
    ({}, FOLLOWED, False, Reason.NOT_ADDRESSED),
    (IN_THREAD, STRICT, False, Reason.STRICT),
    (IN_THREAD | MENTION, STRICT, True, Reason.MENTION),
    (IN_THREAD | {"addresses_other": True}, FOLLOWED, False, Reason.OTHER),
    ({"addresses_other": True, "replies_to_bot": True}, PLAIN, False, Reason.OTHER),
    ({"addresses_other": True} | MENTION, PLAIN, True, Reason.MENTION),
    ({"mentions_everyone": True}, PLAIN, False, Reason.EVERYONE),
    ({"mentions_everyone": True}, ALWAYS, False, Reason.EVERYONE),
    (IN_THREAD | {"mentions_everyone": True}, FOLLOWED, False, Reason.EVERYONE),
    ({"mentions_everyone": True} | MENTION, PLAIN, True, Reason.MENTION),
    ({}, ALWAYS, True, Reason.ALWAYS),
    ({"addresses_other": True}, ALWAYS, False, Reason.OTHER),
    (MENTION, NEVER, False, Reason.OFF),
    ({"author": OURSELVES} | MENTION, BOTS, False, Reason.OWN),
    ({"author": OTHER_BOT} | MENTION, PLAIN, False, Reason.BOT),
    ({"author": OTHER_BOT} | MENTION, BOTS, True, Reason.MENTION),
    ({"author": OTHER_BOT} | IN_THREAD, BOTS, False, Reason.BOT),
    ({"text": "/stop"} | MENTION, PLAIN, False, Reason.COMMAND),
    ({"text": "!reset"} | IN_THREAD, FOLLOWED, False, Reason.COMMAND),
    ({"text": "/stop"}, PLAIN, False, Reason.NOT_ADDRESSED),
    ({"text": "/usr/bin is full"} | MENTION, PLAIN, True, Reason.MENTION),
]


@pytest.mark.parametrize(("fields", "facts", "answer", "reason"), TABLE)
def test_truth_table(
    fields: dict[str, Any], facts: GateFacts, answer: bool, reason: Reason
) -> None:
    assert decide(message(**fields), facts) == Decision(answer, reason)


def test_the_table_shows_every_reason() -> None:
    assert {row[3] for row in TABLE} == set(Reason)


flags = st.booleans()
events = st.builds(
    MessageReceived,
    key=st.sampled_from([CHANNEL, THREAD]),
    id=st.just("m"),
    author=st.builds(Author, st.just("u"), st.just("n"), is_bot=flags, is_self=flags),
    text=st.sampled_from(["", "hello", "/help", "!stop now", "/nothing"]) | st.text(max_size=8),
    attachments=st.sampled_from([(), (FILE,)]),
    is_dm=flags,
    mentions_bot=flags,
    mentions_bot_role=flags,
    mentions_everyone=flags,
    replies_to_bot=flags,
    addresses_other=flags,
)
facts = st.builds(
    GateFacts, bot_in_thread=flags, mode=st.sampled_from(list(Mode)), answer_bots=flags
)


@given(events, facts)
def test_it_never_butts_in(event: MessageReceived, known: GateFacts) -> None:
    if not decide(event, known).answer:
        return
    mentioned = event.mentions_bot or event.mentions_bot_role
    assert not event.author.is_self
    assert known.mode is not Mode.NEVER
    assert known.answer_bots or not event.author.is_bot
    if not mentioned:
        assert not event.author.is_bot, "two bots would never stop"
        assert event.is_dm or not event.mentions_everyone
        assert event.is_dm or not event.addresses_other
        assert event.is_dm or known.mode is not Mode.STRICT
        assert event.text.strip() or event.attachments


@given(events, facts)
def test_a_person_who_mentions_it_is_heard(event: MessageReceived, known: GateFacts) -> None:
    asked = replace(event, author=PERSON, mentions_bot=True)
    decision = decide(asked, replace(known, mode=Mode.STRICT))
    assert decision.reason in (Reason.MENTION, Reason.COMMAND)


@given(events, facts)
def test_more_reason_to_answer_never_silences(event: MessageReceived, known: GateFacts) -> None:
    if decide(event, known).answer:
        assert decide(replace(event, mentions_bot=True), known).answer


@pytest.mark.parametrize(
    ("fields", "inline", "thread"),
    [
        ({}, False, "m"),  # a message in the channel opens a thread of its own id
        ({}, True, ""),
        ({"key": THREAD}, False, "t"),
        ({"key": THREAD}, True, "t"),
        ({"is_dm": True}, False, ""),
        ({"has_threads": False}, False, ""),
        ({"is_dm": True, "key": THREAD}, False, "t"),
    ],
)
def test_reply_key(fields: dict[str, Any], inline: bool, thread: str) -> None:
    assert reply_key(message(**fields), inline) == CHANNEL.in_thread(thread)


ASKED = {"asked_in": CHANNEL, "mentions_bot": True, "key": CHANNEL.in_thread("ask-1")}


@pytest.mark.parametrize(
    ("fields", "reason", "sentence"),
    [
        ({"is_dm": True}, Reason.OFF, texts.SWITCHED_OFF),
        ({"is_dm": True}, Reason.EMPTY, texts.NOTHING_TO_READ),
        (ASKED, Reason.OFF, texts.SWITCHED_OFF),
        ({}, Reason.OFF, None),
        (MENTION, Reason.OFF, None),
        ({"is_dm": True, "author": OTHER_BOT}, Reason.BOT, None),
        ({"is_dm": True, "author": OURSELVES}, Reason.OWN, None),
        (ASKED | {"author": OTHER_BOT}, Reason.OFF, None),
    ],
)
def test_who_asks_in_private_is_told_why_there_is_no_answer(
    fields: dict[str, Any], reason: Reason, sentence: str | None
) -> None:
    assert refusal(message(**fields), reason) == sentence


@pytest.mark.parametrize("fields", [{"is_dm": True}, ASKED])
@pytest.mark.parametrize("reason", list(Reason))
def test_every_refusal_in_private_has_a_sentence(fields: dict[str, Any], reason: Reason) -> None:
    assert refusal(message(**fields), reason)


def edited(after: timedelta, **fields: Any) -> MessageEdited:
    sent = datetime(2026, 5, 1, tzinfo=UTC)
    now = message(at=sent, **fields)
    return MessageEdited(now.key, now.id, now.author, now.text, now, sent + after)


@pytest.mark.parametrize(
    ("after", "fields", "asks"),
    [
        (timedelta(), MENTION, True),
        (EDIT_WINDOW, MENTION, True),
        (EDIT_WINDOW, MENTION_ROLE, True),
        (EDIT_WINDOW + timedelta(seconds=1), MENTION, False),
        (timedelta(), {}, False),
        (timedelta(), {"is_dm": True}, False),
    ],
)
def test_an_edit_asks_if_it_mentions_the_bot_in_time(
    after: timedelta, fields: dict[str, Any], asks: bool
) -> None:
    assert edit_asks(edited(after, **fields)) is asks


def test_an_edit_of_which_nothing_more_is_known_does_not_ask() -> None:
    assert not edit_asks(MessageEdited(CHANNEL, "m", PERSON, "hello"))
