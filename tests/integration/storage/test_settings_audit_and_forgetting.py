"""Settings, libraries, audit, feedback, usage, earlier messages, forgetting: both databases."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from bot.core.events import Attachment, Author, MessageReceived, PastMessage, ThreadKey
from bot.core.records import (
    Change,
    ChannelSettings,
    LibraryPersona,
    Mode,
    NormalizedImage,
    ResetPoint,
    SamplingOverrides,
    TurnState,
    TurnUsage,
    person_hash,
)
from bot.storage.store import SqlStore

WORKSPACE = ThreadKey("discord", "guild")
CHANNEL = ThreadKey("discord", "guild", "general")
KEY = CHANNEL.in_thread("t1")
ELSEWHERE = ThreadKey("discord", "another", "general", "t1")
ANA, BOB = Author("u1", "Ana"), Author("u2", "Bob")
PARLEY = Author("p", "Parley", is_self=True)
ROOT = Author("u9", "Root", is_admin=True)
CHANGE = Change(ROOT, "settings set", "before", "after")
NOW = datetime.now(UTC)


async def _no_bytes() -> bytes:
    raise AssertionError("the store loads nothing")


async def write(
    store: SqlStore,
    id: str,
    text: str = "hi",
    *,
    key: ThreadKey = KEY,
    by: Author = ANA,
    files: int = 0,
    at: datetime = NOW,
) -> int:
    attachments = tuple(Attachment("a.png", "image/png", 1, _no_bytes) for _ in range(files))
    event = MessageReceived(key, id, by, text, attachments, at=at)
    accepted = await store.accept(key, event)
    assert accepted is not None
    for number, attachment in enumerate(accepted.attachment_ids):
        data = f"{id} {number}".encode()
        image = NormalizedImage(data, hashlib.sha256(data).hexdigest(), 1, 1)
        await store.set_attachment(attachment, image, None)
    return accepted.turn_id


async def answer(store: SqlStore, key: ThreadKey = KEY, by: Author = ANA, tokens: int = 5) -> int:
    turn = await store.next_turn(key)
    assert turn is not None
    usage = TurnUsage(
        turn.id, key.platform, key.workspace, by.id, "m", tokens, 1, tokens, 0.0, 0.0, 0.0
    )
    await store.save_reply(
        turn.id, TurnState.DELIVERED, text="fine", finish_reason="stop", usage=usage
    )
    return turn.id


class TestSettings:
    async def test_each_scope_has_its_own(self, store: SqlStore) -> None:
        everything = ChannelSettings(Mode.ALWAYS, True, False, 30, 2)
        await store.set_channel_settings(CHANNEL, everything, CHANGE)
        some = ChannelSettings(inline=False)
        await store.set_channel_settings(WORKSPACE, some, CHANGE)
        assert await store.channel_settings(KEY.scopes()) == {CHANNEL: everything, WORKSPACE: some}
        assert await store.channel_settings(ELSEWHERE.scopes()) == {}
        assert await store.channel_settings([]) == {}
        assert await store.workspace_settings(KEY) == {CHANNEL: everything, WORKSPACE: some}

    async def test_the_last_replaces_and_nothing_set_is_none(self, store: SqlStore) -> None:
        for settings in (ChannelSettings(mode=Mode.NEVER), ChannelSettings(max_images=0)):
            await store.set_channel_settings(KEY, settings, CHANGE)
        assert await store.channel_settings([KEY]) == {KEY: ChannelSettings(max_images=0)}
        await store.set_channel_settings(KEY, ChannelSettings(), CHANGE)
        assert await store.channel_settings([KEY]) == {}

    async def test_the_shortest_retention(self, store: SqlStore) -> None:
        assert await store.shortest_retention() is None
        for scope, days in ((KEY, 0), (CHANNEL, 30), (WORKSPACE, 7)):
            await store.set_channel_settings(scope, ChannelSettings(retention_days=days), CHANGE)
        assert await store.shortest_retention() == 7


class TestAudit:
    async def test_newest_first_of_one_workspace(self, store: SqlStore) -> None:
        await store.set_channel_settings(KEY, ChannelSettings(inline=True), CHANGE)
        change = Change(ROOT, "persona set", "none", "Be kind.")
        await store.add_persona_version(
            CHANNEL, "Be kind.", SamplingOverrides(), ROOT, None, change
        )
        await store.set_channel_settings(ELSEWHERE, ChannelSettings(inline=True), CHANGE)
        last, first = await store.audit(WORKSPACE, 10)
        assert (last.action, last.scope, last.before, last.after) == (
            "persona set", CHANNEL, "none", "Be kind."
        )  # fmt: skip
        assert (first.action, first.scope, first.by_id, first.by_name) == (
            "settings set", KEY, "u9", "Root"
        )  # fmt: skip
        assert NOW - timedelta(minutes=1) < first.at <= last.at
        assert await store.audit(WORKSPACE, 1) == [last]

    async def test_a_change_that_fails_leaves_no_entry(self, store: SqlStore) -> None:
        with pytest.raises(Exception, match=r"(?i)check"):
            await store.set_channel_settings(KEY, ChannelSettings(retention_days=-1), CHANGE)
        assert await store.audit(WORKSPACE, 10) == []


class TestLibrary:
    async def test_names_are_unique_whatever_their_case(self, store: SqlStore) -> None:
        for name, text in (("Sea Dog", "Arr."), ("cook", "Soup."), ("SEA DOG", "Ahoy.")):
            persona = LibraryPersona(name, text, SamplingOverrides(top_k=1, top_p=0.5))
            await store.save_library_persona(WORKSPACE, persona, CHANGE)
        cook, dog = await store.library(WORKSPACE)
        assert (cook.name, dog.name, dog.text) == ("cook", "SEA DOG", "Ahoy.")
        assert dog.sampling == SamplingOverrides(top_k=1, top_p=0.5)
        assert dog.set_by_name == "Root"
        assert not dog.built_in
        assert await store.library(ELSEWHERE) == []

    async def test_removing(self, store: SqlStore) -> None:
        await store.save_library_persona(WORKSPACE, LibraryPersona("Dog", "Woof."), CHANGE)
        assert not await store.remove_library_persona(WORKSPACE, "cat", CHANGE)
        assert await store.remove_library_persona(WORKSPACE, "dog", CHANGE)
        assert await store.library(WORKSPACE) == []
        assert len(await store.audit(WORKSPACE, 10)) == 2


async def test_the_personas_of_a_workspace_are_those_that_count_now(store: SqlStore) -> None:
    for scope, text in ((KEY, "old"), (KEY, "new"), (CHANNEL, "gone"), (CHANNEL, None)):
        await store.add_persona_version(scope, text, SamplingOverrides(), ROOT)
    await store.add_persona_version(ELSEWHERE, "other", SamplingOverrides(), ROOT)
    found = await store.workspace_personas(WORKSPACE)
    assert [(version.scope, version.text) for version in found] == [(KEY, "new")]


class TestUsageAndFeedback:
    async def test_sums_by_person(self, store: SqlStore) -> None:
        for number, by in enumerate((ANA, ANA, BOB)):
            await write(store, f"m{number}", by=by)
            await answer(store, by=by, tokens=10 if by is BOB else 1)
        await write(store, "m9", key=ELSEWHERE)
        await answer(store, ELSEWHERE)
        found = await store.usage(WORKSPACE, 30)
        assert (found.replies, found.prompt_tokens, found.cached_tokens) == (3, 12, 3)
        assert found.generated_tokens == 12
        assert found.by_user == [("u2", 1, 20), ("u1", 2, 4)]
        assert found.names == {"u1": "Ana", "u2": "Bob"}
        assert (await store.usage(WORKSPACE, 30, "u1")).by_user == [("u1", 2, 4)]
        assert (await store.usage(WORKSPACE, 0)).replies == 0

    async def test_the_last_word_of_each_person_counts(self, store: SqlStore) -> None:
        turn = await write(store, "m")
        for user, rating in (("u1", "good"), ("u2", "good"), ("u1", "bad")):
            assert await store.rate(turn, user, rating)  # type: ignore[arg-type]
        found = await store.usage(WORKSPACE, 30)
        assert (found.good, found.bad) == (1, 1)
        assert not await store.rate(turn + 1000, "u1", "good")
        await store.reset(KEY, NOW)
        assert (await store.usage(WORKSPACE, 30)).good == 0


class TestEarlier:
    async def test_it_stands_in_front_of_the_question(self, store: SqlStore) -> None:
        old = await write(store, "q", "and?")
        file = Attachment("a.png", "image/png", 1, _no_bytes)
        past = [
            PastMessage("0", PARLEY, "I am here."),
            PastMessage("1", BOB, "one", (file,), NOW - timedelta(days=2)),
            PastMessage("2", PARLEY, "two"),
            PastMessage("3", PARLEY, "three"),
            PastMessage("4", ANA, "four"),
        ]
        none, files, *others = await store.add_earlier(KEY, past)
        assert (none, len(files), others) == ((), 1, [(), (), ()])
        turn = await store.next_turn(KEY)
        assert turn is not None
        assert turn.id > old
        assert [message.text for message in turn.messages] == ["and?"]
        assert await store.turn(old) is None
        transcript = await store.transcript(KEY, turn.id)
        assert [([m.text for m in t.messages], t.reply_text) for t in transcript] == [
            ([], "I am here."), (["one"], "two\n\nthree"), (["four"], ""),
        ]  # fmt: skip
        assert transcript[1].posted == ("2", "3")
        assert transcript[1].messages[0].attachments[0].id == files[0]
        assert await store.delete_message(KEY, "1") is not None

    async def test_not_where_anything_else_is(self, store: SqlStore) -> None:
        past = [PastMessage("1", BOB, "one")]
        assert await store.add_earlier(KEY, past) == ()
        await write(store, "q")
        await answer(store)
        assert await store.add_earlier(KEY, past) == ()
        await write(store, "q2")
        assert await store.add_earlier(KEY, past) == ()

    async def test_not_in_front_of_a_turn_that_was_taken(self, store: SqlStore) -> None:
        await write(store, "q")
        await store.next_turn(KEY)
        assert await store.add_earlier(KEY, [PastMessage("1", BOB, "one")]) == ()


class TestForgetting:
    @pytest.mark.parametrize(("scope", "left"), [(KEY, 2), (CHANNEL, 1), (WORKSPACE, 1)])
    async def test_below_a_scope(self, store: SqlStore, scope: ThreadKey, left: int) -> None:
        keys = (KEY, CHANNEL.in_thread("t2"), ELSEWHERE)
        for number, key in enumerate(keys):
            await write(store, f"m{number}", key=key, files=1)
            await answer(store, key)
        assert await store.forget(scope, change=CHANGE, at=NOW) == 3 - left
        transcripts = [await store.transcript(key) for key in keys]
        assert sum(map(len, transcripts)) == left
        assert await store.image(hashlib.sha256(b"m0 0").hexdigest()) is None
        assert await store.image(hashlib.sha256(b"m2 0").hexdigest()) == b"m2 0"
        assert await store.has_conversation(KEY)  # it is still in that thread
        assert [entry.scope for entry in await store.audit(WORKSPACE, 9)] == [scope]

    async def test_of_one_person(self, store: SqlStore) -> None:
        await write(store, "a", by=ANA, files=1)
        mine = await answer(store)
        await write(store, "b1", "from Ana", by=ANA, files=1)
        await write(store, "b2", "from Bob", by=BOB, files=1)
        both = await answer(store)
        await write(store, "c", by=BOB)
        theirs = await answer(store, by=BOB)
        await store.rate(theirs, "u1", "good")
        await write(store, "d", by=ANA, key=ELSEWHERE)
        elsewhere = await answer(store, ELSEWHERE)

        assert await store.forget(WORKSPACE, "u1", at=NOW) == 2

        assert await store.turn(mine) is None
        merged = await store.turn(both)
        assert merged is not None
        assert [message.text for message in merged.messages] == ["from Bob"]
        assert merged.reply_text == ""
        other = await store.turn(theirs)
        assert other is not None
        assert other.reply_text == "fine"
        assert await store.turn(elsewhere) is not None
        images = [await store.image(hashlib.sha256(d).hexdigest()) for d in (b"a 0", b"b1 0")]
        assert images == [None, None]
        assert await store.image(hashlib.sha256(b"b2 0").hexdigest()) == b"b2 0"
        found = await store.usage(WORKSPACE, 30)
        assert found.good == 0
        assert [user for user, _, _ in found.by_user] == ["", "u2"]
        assert await store.forget(WORKSPACE, "u1", at=NOW) == 0

    async def test_a_reset_leaves_its_point(self, store: SqlStore) -> None:
        await write(store, "m")
        await store.reset(KEY, NOW)
        assert list(await store.reset_points(KEY, [])) == [ResetPoint(KEY, NOW)]
        await store.reset(KEY, NOW + timedelta(days=1))
        await store.reset(KEY, NOW)  # of a delayed event: it takes nothing back
        assert list(await store.reset_points(KEY, [])) == [ResetPoint(KEY, NOW + timedelta(days=1))]

    async def test_where_nothing_was_remembered_nothing_is_reset(self, store: SqlStore) -> None:
        await store.reset(KEY, NOW)
        assert list(await store.reset_points(KEY, [])) == []

    async def test_points_hold_below_their_scope(self, store: SqlStore) -> None:
        await store.forget(CHANNEL, at=NOW)
        await store.forget(WORKSPACE, "u1", at=NOW)
        person = ResetPoint(WORKSPACE, NOW, person_hash(WORKSPACE, "u1"))
        assert list(await store.reset_points(KEY, [])) == [ResetPoint(CHANNEL, NOW), person]
        assert list(await store.reset_points(ThreadKey("discord", "guild", "x"), [])) == [person]
        assert list(await store.reset_points(ELSEWHERE, [])) == []
        assert "u1" not in person.person

    async def test_points_are_found_by_the_message_that_opened_the_thread(
        self, store: SqlStore
    ) -> None:
        await write(store, "m")
        await store.reset(KEY, NOW)
        new = CHANNEL.in_thread("another")
        assert list(await store.reset_points(new, ["x", KEY.thread])) == [ResetPoint(KEY, NOW)]
        assert list(await store.reset_points(new, ["x"])) == []
        elsewhere = ELSEWHERE.in_thread("another")
        assert list(await store.reset_points(elsewhere, [KEY.thread])) == []

    async def test_what_is_too_old(self, store: SqlStore) -> None:
        await write(store, "old")
        await answer(store)
        await write(store, "waits")
        later = datetime.now(UTC) + timedelta(days=1)
        assert await store.conversations_before(NOW - timedelta(days=1)) == []
        assert await store.conversations_before(later) == [KEY]
        assert await store.delete_turns(KEY, NOW - timedelta(days=1)) == 0
        assert await store.delete_turns(KEY, later) == 1
        assert await store.conversations_before(later) == []  # what waits is still owed
        assert len(await store.unfinished()) == 1
        assert await store.delete_turns(ELSEWHERE, later) == 0

    async def test_a_claim_of_a_command(self, store: SqlStore) -> None:
        assert await store.claim(CHANNEL, "c")
        assert not await store.claim(CHANNEL, "c")
        assert await store.claim(CHANNEL.in_thread("t"), "d")
        assert not await store.claim(CHANNEL, "d")


async def test_active_conversations_and_their_last_message(store: SqlStore) -> None:
    await write(store, "m1")
    await write(store, "m2")
    await write(store, "m3", key=CHANNEL.in_thread("t2"))
    await write(store, "old", key=CHANNEL.in_thread("t3"), at=NOW - timedelta(hours=2))
    await write(store, "m4", key=ELSEWHERE)
    found = await store.active_conversations("discord", "guild", NOW - timedelta(hours=1))
    assert found == [(KEY, "m2"), (CHANNEL.in_thread("t2"), "m3")]
