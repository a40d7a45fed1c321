"""The store keeps its port's promises, on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeVar

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from bot.core.events import Attachment, Author, MessageReceived, ThreadKey
from bot.core.ports import Store
from bot.core.records import (
    Accepted,
    FileText,
    NormalizedImage,
    SamplingOverrides,
    StoredAttachment,
    TurnState,
    TurnUsage,
)
from bot.storage import messages, models, pictures, turns
from bot.storage.database import Database
from bot.storage.store import SqlStore

NOW = datetime.now(UTC)
KEY = ThreadKey("discord", "guild", "general", "thread-1")
OTHER = ThreadKey("discord", "guild", "general", "thread-2")
ANA = Author("u1", "Ana")
T = TypeVar("T")


async def _no_bytes() -> bytes:
    raise AssertionError("the store loads nothing")


def message(id: str, text: str = "hi", *, files: int = 0, author: Author = ANA) -> MessageReceived:
    attachments = tuple(
        Attachment(f"{number}.png", "image/png", 10 + number, _no_bytes) for number in range(files)
    )
    return MessageReceived(KEY, id, author, text, attachments)


def picture(content: bytes = b"pixels") -> NormalizedImage:
    return NormalizedImage(content, hashlib.sha256(content).hexdigest(), 4, 3)


async def accepted(
    store: SqlStore, id: str, text: str = "hi", *, key: ThreadKey = KEY, files: int = 0
) -> Accepted:
    result = await store.accept(key, message(id, text, files=files))
    assert result is not None
    return result


async def answered(
    store: SqlStore, id: str, text: str, reply: str, *, key: ThreadKey = KEY, files: int = 0
) -> Accepted:
    result = await accepted(store, id, text, key=key, files=files)
    turn = await store.next_turn(key)
    assert turn is not None
    await store.save_reply(turn.id, TurnState.DELIVERED, text=reply, finish_reason="stop")
    return result


async def count(database: Database, model: type[models.Base]) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(model)) or 0


def test_is_a_store(store: SqlStore) -> None:
    port: Store = store
    assert isinstance(port, SqlStore)


async def test_a_conversation_is_found_by_where_a_reply_stands(store: SqlStore) -> None:
    first = await answered(store, "m1", "one", "1")
    second = await answered(store, "m2", "two", "2", key=OTHER)
    await store.set_posted(first.turn_id, ["77/1", "77/2"])
    await store.set_posted(second.turn_id, ["77/12", 'a "quoted" % one'])
    channel = KEY.channel_key
    assert await store.conversation_of(channel, "77/2") == KEY
    assert await store.conversation_of(channel, "77/12") == OTHER
    assert await store.conversation_of(OTHER, 'a "quoted" % one') == OTHER
    for unknown in ("77", "7/1", "77/", "%", "77/_2", "nothing"):
        assert await store.conversation_of(channel, unknown) is None
    assert await store.conversation_of(ThreadKey("discord", "guild", "random"), "77/1") is None


class TestAccept:
    async def test_writes_the_message_down_as_work(self, store: SqlStore) -> None:
        at = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
        event = MessageReceived(KEY, "m1", ANA, "see this", message("x", files=2).attachments)
        result = await store.accept(KEY, MessageReceived(**{**_fields(event), "at": at}))
        assert result is not None
        assert not result.merged
        turn = await store.turn(result.turn_id)
        assert turn is not None
        assert turn.key == KEY
        assert turn.state is TurnState.ACCEPTED
        assert (turn.reply_text, turn.reply_token_ids, turn.posted) == ("", (), ())
        (stored,) = turn.messages
        assert (stored.id, stored.platform_id) == (result.message_id, "m1")
        assert (stored.author_id, stored.author_name, stored.text) == ("u1", "Ana", "see this")
        assert stored.at == at
        assert stored.at.tzinfo is UTC
        assert stored.attachments == (
            StoredAttachment(result.attachment_ids[0], "0.png"),
            StoredAttachment(result.attachment_ids[1], "1.png"),
        )

    async def test_the_same_message_twice_is_refused(self, store: SqlStore) -> None:
        await accepted(store, "m1")
        assert await store.accept(KEY, message("m1")) is None
        assert await store.accept(OTHER, message("m1")) is None, "the thread does not matter"

    async def test_the_same_id_elsewhere_is_another_message(self, store: SqlStore) -> None:
        await accepted(store, "m1")
        for elsewhere in (
            ThreadKey("slack", "guild", "general", "thread-1"),
            ThreadKey("discord", "guild 2", "general", "thread-1"),
            ThreadKey("discord", "guild", "random", "thread-1"),
        ):
            assert await store.accept(elsewhere, message("m1")) is not None

    async def test_a_deleted_message_stays_claimed(self, store: SqlStore) -> None:
        await accepted(store, "m1")
        await store.delete_message(KEY, "m1")
        assert await store.accept(KEY, message("m1")) is None

    async def test_joins_the_turn_that_waits(self, store: SqlStore) -> None:
        first = await accepted(store, "m1", "one")
        second = await accepted(store, "m2", "two")
        assert second.merged
        assert second.turn_id == first.turn_id
        turn = await store.next_turn(KEY)
        assert turn is not None
        assert [m.text for m in turn.messages] == ["one", "two"]

    async def test_does_not_join_a_turn_that_is_being_answered(self, store: SqlStore) -> None:
        first = await accepted(store, "m1")
        await store.next_turn(KEY)
        second = await accepted(store, "m2")
        assert not second.merged
        assert second.turn_id != first.turn_id

    async def test_does_not_join_another_conversation(self, store: SqlStore) -> None:
        first = await accepted(store, "m1")
        second = await accepted(store, "m2", key=OTHER)
        assert not second.merged
        assert second.turn_id != first.turn_id

    async def test_concurrent_deliveries_of_one_message_make_one_row(
        self, store: SqlStore, database: Database
    ) -> None:
        results = await asyncio.gather(*(store.accept(KEY, message("m1")) for _ in range(20)))
        assert sum(result is not None for result in results) == 1
        assert await count(database, models.MessageRow) == 1
        assert await count(database, models.TurnRow) == 1
        assert await count(database, models.ClaimRow) == 1

    async def test_two_processes_make_one_row(self, url: str, database: Database) -> None:
        other = Database(url)
        try:
            stores = [SqlStore(database), SqlStore(other)]
            results = await asyncio.gather(
                *(stores[n % 2].accept(KEY, message(f"m{n // 4}")) for n in range(40))
            )
        finally:
            await other.close()
        assert sum(result is not None for result in results) == 10
        assert await count(database, models.MessageRow) == 10

    async def test_a_concurrent_burst_is_one_turn(
        self, store: SqlStore, database: Database
    ) -> None:
        results = await asyncio.gather(*(accepted(store, f"m{n}") for n in range(20)))
        assert len({result.turn_id for result in results}) == 1
        assert sum(not result.merged for result in results) == 1
        assert await count(database, models.MessageRow) == 20

    async def test_concurrent_conversations_do_not_mix(self, store: SqlStore) -> None:
        keys = [ThreadKey("slack", f"w{n % 3}", f"c{n % 5}", f"t{n}") for n in range(30)]
        await asyncio.gather(
            *(accepted(store, f"m{n}", f"for {n}", key=key) for n, key in enumerate(keys))
        )
        taken = await asyncio.gather(*(store.next_turn(key) for key in keys))
        assert [turn.key for turn in taken if turn] == keys
        assert [turn.messages[0].text for turn in taken if turn] == [f"for {n}" for n in range(30)]

    async def test_a_failure_leaves_no_claim(self, store: SqlStore, database: Database) -> None:
        naive = MessageReceived(KEY, "m1", ANA, "hi", at=datetime(2026, 1, 1))
        with pytest.raises(Exception, match="timezone"):
            await store.accept(KEY, naive)
        assert await count(database, models.ClaimRow) == 0
        await accepted(store, "m1")

    async def test_cancelled_while_it_waits_it_leaves_the_database_usable(
        self, store: SqlStore
    ) -> None:
        tasks = [asyncio.create_task(store.accept(KEY, message(f"m{n}"))) for n in range(10)]
        await asyncio.sleep(0.005)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, Accepted) for result in results[1::2])
        for n in range(0, 10, 2):  # all of it was written, or nothing
            again = await store.accept(KEY, message(f"m{n}"))
            turn = await store.turn(results[1].turn_id)
            assert again is not None or f"m{n}" in {m.platform_id for m in turn.messages}

    @pytest.mark.parametrize(
        ("text", "stored"),
        [
            ("nul \0 byte", "nul \ufffd byte"),
            ("lone \ud83d surrogate", "lone \ufffd surrogate"),
            ("'; DROP TABLE turns; --", "'; DROP TABLE turns; --"),
            ("\U0001f469\u200d\U0001f680 \u202e", "\U0001f469\u200d\U0001f680 \u202e"),
            ("", ""),
            ("x" * 200_000, "x" * 200_000),
        ],
        ids=["nul", "surrogate", "sql", "emoji", "empty", "long"],
    )
    async def test_any_text_can_be_stored(self, store: SqlStore, text: str, stored: str) -> None:
        result = await accepted(store, "m1", text)
        turn = await store.turn(result.turn_id)
        assert turn is not None
        assert turn.messages[0].text == stored


class TestTurns:
    async def test_oldest_first_each_once(self, store: SqlStore) -> None:
        first = await accepted(store, "m1")
        turn = await store.next_turn(KEY)
        assert turn is not None
        assert (turn.id, turn.state) == (first.turn_id, TurnState.ANSWERING)
        assert await store.next_turn(KEY) is None
        second = await accepted(store, "m2")
        await store.release_turn(first.turn_id)
        ids = [turn.id for _ in range(2) if (turn := await store.next_turn(KEY))]
        assert ids == [first.turn_id, second.turn_id]

    async def test_none_where_nobody_ever_wrote(self, store: SqlStore) -> None:
        assert await store.next_turn(KEY) is None
        assert await store.turn(1) is None
        assert await store.transcript(KEY) == []
        assert await store.reopen_turn(1) is None

    async def test_concurrent_takers_get_a_turn_once(self, store: SqlStore) -> None:
        await accepted(store, "m1")
        taken = await asyncio.gather(*(store.next_turn(KEY) for _ in range(10)))
        assert sum(turn is not None for turn in taken) == 1

    async def test_a_reply_is_kept_whole(self, store: SqlStore) -> None:
        work = await accepted(store, "m1")
        await store.next_turn(KEY)
        ids = (2, 105, 262_143, 0, 106)
        await store.save_reply(
            work.turn_id,
            TurnState.FAILED,
            text="half a",
            token_ids=ids,
            finish_reason="length",
            posted=("p1", "p2"),
            ref="r-42",
        )
        turn = await store.turn(work.turn_id)
        assert turn is not None
        assert turn.state is TurnState.FAILED
        assert turn.reply_text == "half a"
        assert turn.reply_token_ids == ids
        assert turn.finish_reason == "length"
        assert turn.posted == ("p1", "p2")
        assert turn.ref == "r-42"

    async def test_what_was_posted_outlives_a_reply_that_names_nothing(
        self, store: SqlStore
    ) -> None:
        work = await accepted(store, "m1")
        await store.set_posted(work.turn_id, ["p1"])
        await store.save_reply(work.turn_id, TurnState.FAILED, ref="r")
        turn = await store.turn(work.turn_id)
        assert turn is not None
        assert turn.posted == ("p1",)

    async def test_reopen_empties_the_reply_and_keeps_its_place(self, store: SqlStore) -> None:
        work = await accepted(store, "m1")
        await store.save_reply(
            work.turn_id,
            TurnState.DELIVERED,
            text="yes",
            token_ids=[1, 2],
            finish_reason="stop",
            posted=["p1"],
            ref="r",
        )
        turn = await store.reopen_turn(work.turn_id)
        assert turn is not None
        assert turn.state is TurnState.ANSWERING
        assert (turn.reply_text, turn.reply_token_ids) == ("", ())
        assert (turn.finish_reason, turn.ref) == (None, None)
        assert turn.posted == ("p1",)
        assert turn == await store.turn(work.turn_id)

    async def test_release_leaves_a_finished_turn_alone(self, store: SqlStore) -> None:
        work = await answered(store, "m1", "q", "a")
        await store.release_turn(work.turn_id)
        turn = await store.turn(work.turn_id)
        assert turn is not None
        assert turn.state is TurnState.DELIVERED

    async def test_unfinished_are_those_owed_oldest_first(self, store: SqlStore) -> None:
        await answered(store, "m0", "q", "a")
        running = await accepted(store, "m1")
        await store.next_turn(KEY)
        waiting = await accepted(store, "m2", key=OTHER)
        assert [turn.id for turn in await store.unfinished()] == [running.turn_id, waiting.turn_id]

    async def test_states_that_do_not_exist_are_refused(self, store: SqlStore) -> None:
        work = await accepted(store, "m1")
        with pytest.raises(IntegrityError):
            await store.save_reply(work.turn_id, "lost")  # type: ignore[arg-type]
        with pytest.raises(IntegrityError):
            await store.save_reply(work.turn_id, TurnState.FAILED, finish_reason="bored")

    async def test_usage_is_kept_also_of_a_turn_that_was_deleted(
        self, store: SqlStore, database: Database
    ) -> None:
        kept, deleted = await accepted(store, "m1"), await accepted(store, "m2", key=OTHER)
        await store.delete_message(OTHER, "m2")
        for turn_id in (kept.turn_id, deleted.turn_id):
            usage = TurnUsage(turn_id, "discord", "guild", "u1", "gemma", 9, 4, 5, 0.1, 0.2, 0.3)
            await store.save_reply(turn_id, TurnState.DELIVERED, text="a", usage=usage)
        assert await store.turn(deleted.turn_id) is None
        async with database.read() as session:
            found = (
                await session.scalars(select(models.UsageRow).order_by(models.UsageRow.id))
            ).all()
        assert [row.turn_id for row in found] == [kept.turn_id, None]
        assert (found[0].prompt_tokens, found[0].cached_tokens) == (9, 4)
        assert found[0].total_s == pytest.approx(0.3)
        await store.reset(KEY, NOW)
        assert await count(database, models.UsageRow) == 2

    async def test_an_id_is_never_given_out_twice(self, store: SqlStore) -> None:
        first = await accepted(store, "m1")
        await store.reset(KEY, NOW)
        second = await accepted(store, "m2")
        assert second.turn_id > first.turn_id
        assert second.message_id > first.message_id


class TestTranscript:
    async def test_finished_turns_with_a_reply_oldest_first(self, store: SqlStore) -> None:
        for n, (state, reply) in enumerate(
            [
                (TurnState.DELIVERED, "a0"),
                (TurnState.CANCELLED, "half"),
                (TurnState.CANCELLED, ""),
                (TurnState.FAILED, ""),
            ]
        ):
            work = await accepted(store, f"m{n}", f"q{n}")
            await store.next_turn(KEY)
            await store.save_reply(work.turn_id, state, text=reply)
        await answered(store, "other", "q", "elsewhere", key=OTHER)
        last = await accepted(store, "m9", "now")
        found = await store.transcript(KEY, last.turn_id)
        assert [(turn.messages[0].text, turn.reply_text) for turn in found] == [
            ("q0", "a0"),
            ("q1", "half"),
        ]

    async def test_before_a_turn_only(self, store: SqlStore) -> None:
        for n in range(3):
            await answered(store, f"m{n}", f"q{n}", f"a{n}")
        everything = await store.transcript(KEY)
        before = await store.transcript(KEY, everything[1].id)
        assert [turn.reply_text for turn in everything] == ["a0", "a1", "a2"]
        assert [turn.reply_text for turn in before] == ["a0"]

    async def test_has_conversation_only_where_it_talked(self, store: SqlStore) -> None:
        assert not await store.has_conversation(KEY)
        await accepted(store, "m1")
        assert await store.has_conversation(KEY)
        assert not await store.has_conversation(OTHER)
        assert not await store.has_conversation(KEY.channel_key)
        await store.reset(KEY, NOW)
        assert await store.has_conversation(KEY), "it still is in the thread after a reset"


class TestPictures:
    async def test_bytes_once_per_digest(self, store: SqlStore, database: Database) -> None:
        work = await accepted(store, "m1", files=2)
        for attachment in work.attachment_ids:
            await store.set_attachment(attachment, picture(), None)
        assert await count(database, models.ImageRow) == 1
        assert await store.image(picture().digest) == b"pixels"
        turn = await store.turn(work.turn_id)
        assert turn is not None
        assert {file.digest for file in turn.messages[0].attachments} == {picture().digest}

    async def test_a_problem_instead_of_bytes(self, store: SqlStore) -> None:
        work = await accepted(store, "m1", files=1)
        await store.set_attachment(work.attachment_ids[0], None, "not a picture I can read")
        turn = await store.turn(work.turn_id)
        assert turn is not None
        (file,) = turn.messages[0].attachments
        assert (file.digest, file.problem) == (None, "not a picture I can read")

    async def test_a_text_instead_of_a_picture(self, store: SqlStore) -> None:
        work = await accepted(store, "m1", files=1)
        await store.set_attachment(work.attachment_ids[0], FileText("a,b", "in part"), None)
        turn = await store.turn(work.turn_id)
        assert turn is not None
        (file,) = turn.messages[0].attachments
        assert (file.text, file.note, file.digest, file.problem) == ("a,b", "in part", None, None)
        await store.set_attachment(work.attachment_ids[0], picture(), None)
        turn = await store.turn(work.turn_id)
        assert turn is not None
        (file,) = turn.messages[0].attachments
        assert (file.text, file.note, file.digest) == (None, "", picture().digest)

    async def test_another_picture_takes_the_place_of_the_first(
        self, store: SqlStore, database: Database
    ) -> None:
        work = await accepted(store, "m1", files=1)
        await store.set_attachment(work.attachment_ids[0], picture(b"one"), None)
        await store.set_attachment(work.attachment_ids[0], picture(b"two"), None)
        assert await store.image(picture(b"one").digest) is None
        assert await store.image(picture(b"two").digest) == b"two"

    async def test_an_attachment_deleted_meanwhile_gets_nothing(
        self, store: SqlStore, database: Database
    ) -> None:
        work = await accepted(store, "m1", files=1)
        await store.delete_message(KEY, "m1")
        await store.set_attachment(work.attachment_ids[0], picture(), None)
        assert await count(database, models.ImageRow) == 0

    async def test_an_unknown_digest_is_none(self, store: SqlStore) -> None:
        assert await store.image("00") is None

    async def test_storing_and_deleting_the_same_picture_at_once(
        self, store: SqlStore, database: Database
    ) -> None:
        for round in range(5):
            works = [
                await accepted(
                    store,
                    f"m{round}-{n}",
                    files=1,
                    key=ThreadKey("discord", "guild", "general", f"{round}-{n}"),
                )
                for n in range(8)
            ]
            for work in works[:4]:
                await store.set_attachment(work.attachment_ids[0], picture(), None)
            await asyncio.gather(
                *(store.delete_message(KEY, f"m{round}-{n}") for n in range(4)),
                *(store.set_attachment(w.attachment_ids[0], picture(), None) for w in works[4:]),
            )
            assert await store.image(picture().digest) == b"pixels"
            await asyncio.gather(*(store.delete_message(KEY, f"m{round}-{n}") for n in range(4, 8)))
            assert await count(database, models.ImageRow) == 0


class TestEditAndDelete:
    async def test_edit_finds_the_message_in_any_thread(self, store: SqlStore) -> None:
        work = await accepted(store, "m1", "old")
        turn = await store.edit_message(KEY.channel_key, "m1", "new")
        assert turn is not None
        assert turn.id == work.turn_id
        assert turn.messages[0].text == "new"
        assert await store.turn(work.turn_id) == turn

    async def test_a_message_elsewhere_is_not_touched(self, store: SqlStore) -> None:
        await accepted(store, "m1", "old")
        elsewhere = ThreadKey("discord", "guild", "random")
        assert await store.edit_message(elsewhere, "m1", "new") is None
        assert await store.delete_message(elsewhere, "m1") is None
        assert await store.edit_message(KEY, "m2", "new") is None

    async def test_delete_takes_the_turn_and_its_picture(
        self, store: SqlStore, database: Database
    ) -> None:
        work = await answered(store, "m1", "q", "a", files=1)
        await store.set_attachment(work.attachment_ids[0], picture(), None)
        before = await store.delete_message(KEY, "m1")
        assert before is not None
        assert before.id == work.turn_id
        assert before.messages[0].text == "q"
        assert before.reply_text == "a"
        for table in (
            models.TurnRow,
            models.MessageRow,
            models.AttachmentRow,
            models.ImageRow,
        ):
            assert await count(database, table) == 0
        assert await store.delete_message(KEY, "m1") is None

    async def test_a_turn_with_messages_left_stays(self, store: SqlStore) -> None:
        work = await accepted(store, "m1", "one")
        await accepted(store, "m2", "two")
        before = await store.delete_message(KEY, "m1")
        assert before is not None
        assert len(before.messages) == 2
        turn = await store.turn(work.turn_id)
        assert turn is not None
        assert [m.text for m in turn.messages] == ["two"]

    async def test_a_picture_somebody_else_uses_stays(self, store: SqlStore) -> None:
        first = await accepted(store, "m1", files=1)
        second = await accepted(store, "m2", files=1, key=OTHER)
        for work in (first, second):
            await store.set_attachment(work.attachment_ids[0], picture(), None)
        await store.delete_message(KEY, "m1")
        assert await store.image(picture().digest) == b"pixels"
        await store.reset(OTHER, NOW)
        assert await store.image(picture().digest) is None

    async def test_reset_takes_everything_of_this_conversation_only(
        self, store: SqlStore, database: Database
    ) -> None:
        for n in range(3):
            work = await answered(store, f"m{n}", "q", "a", files=1)
            await store.set_attachment(work.attachment_ids[0], picture(b"%d" % n), None)
        await answered(store, "other", "q", "kept", key=OTHER)
        await store.add_persona_version(KEY, "A pirate.", SamplingOverrides(), ANA)
        assert await store.reset(KEY, NOW) == 3
        assert await store.transcript(KEY) == []
        assert await count(database, models.MessageRow) == 1
        assert await count(database, models.ImageRow) == 0
        assert [turn.reply_text for turn in await store.transcript(OTHER)] == ["kept"]
        assert await store.personas([KEY]) != {}
        assert await store.reset(KEY, NOW) == 0
        assert await store.reset(ThreadKey("slack", "nowhere"), NOW) == 0

    async def test_a_reply_to_a_deleted_turn_is_not_saved(self, store: SqlStore) -> None:
        work = await accepted(store, "m1")
        await store.delete_message(KEY, "m1")
        await store.save_reply(work.turn_id, TurnState.DELIVERED, text="too late")
        await store.set_posted(work.turn_id, ["p"])
        assert await store.turn(work.turn_id) is None

    async def test_everything_at_once_without_a_deadlock(
        self, store: SqlStore, database: Database
    ) -> None:
        async def visitor(n: int) -> None:
            key = ThreadKey("discord", "guild", "general", f"t{n % 3}")
            work = await store.accept(key, message(f"m{n}", files=1))
            assert work is not None
            await store.set_attachment(work.attachment_ids[0], picture(b"%d" % (n % 2)), None)
            if turn := await store.next_turn(key):
                await store.save_reply(turn.id, TurnState.DELIVERED, text="a")
            if n % 4 == 0:
                await store.reset(key, NOW)
            elif n % 2 == 0:
                await store.delete_message(key, f"m{n}")
            await store.transcript(key)

        await asyncio.wait_for(asyncio.gather(*(visitor(n) for n in range(30))), 60)
        for n in range(3):
            await store.reset(ThreadKey("discord", "guild", "general", f"t{n}"), NOW)
        assert await count(database, models.ImageRow) == 0

    async def test_old_claims_can_be_forgotten(self, store: SqlStore) -> None:
        await accepted(store, "m1")
        now = datetime.now(UTC)
        assert await store.forget_claims(now - timedelta(days=1)) == 0
        assert await store.accept(KEY, message("m1")) is None
        assert await store.forget_claims(now + timedelta(days=1)) == 1
        assert await store.accept(KEY, message("m1")) is not None


class TestPersonas:
    async def test_the_latest_version_on_each_scope(self, store: SqlStore) -> None:
        channel, workspace = KEY.scopes()[1:]
        await store.add_persona_version(workspace, "Polite.", SamplingOverrides(), ANA)
        await store.add_persona_version(channel, "A pirate.", SamplingOverrides(), ANA)
        sampling = SamplingOverrides(temperature=1.0, top_k=20, seed=7)
        newest = await store.add_persona_version(
            channel, "A cook.", sampling, Author("u2", "Bo"), name="cook"
        )
        found = await store.personas(KEY.scopes())
        assert set(found) == {channel, workspace}
        assert found[channel] == newest
        assert newest.scope == channel
        assert (newest.text, newest.name) == ("A cook.", "cook")
        assert (newest.set_by_id, newest.set_by_name) == ("u2", "Bo")
        assert newest.sampling == sampling
        assert newest.at.tzinfo is UTC
        assert abs(datetime.now(UTC) - newest.at) < timedelta(minutes=1)
        assert found[workspace].text == "Polite."

    async def test_clearing_is_a_version(self, store: SqlStore) -> None:
        for text in ("A pirate.", None):
            await store.add_persona_version(KEY, text, SamplingOverrides(), ANA)
        assert (await store.personas([KEY]))[KEY].text is None
        assert [v.text for v in await store.persona_history(KEY)] == [None, "A pirate."]
        assert await store.persona_history(OTHER) == []

    async def test_scopes_with_the_same_names_elsewhere_are_others(self, store: SqlStore) -> None:
        await store.add_persona_version(KEY, "Mine.", SamplingOverrides(), ANA)
        elsewhere = ThreadKey("slack", "guild", "general", "thread-1")
        assert await store.personas([elsewhere, OTHER]) == {}
        assert await store.personas([]) == {}

    async def test_concurrent_changes_are_all_kept(
        self, store: SqlStore, database: Database
    ) -> None:
        await asyncio.gather(
            *(
                store.add_persona_version(KEY, f"number {n}", SamplingOverrides(), ANA)
                for n in range(12)
            )
        )
        history = await store.persona_history(KEY)
        assert {version.text for version in history} == {f"number {n}" for n in range(12)}
        assert (await store.personas([KEY]))[KEY] == history[0]
        assert await count(database, models.PersonaRow) == 1


def _fields(event: MessageReceived) -> dict[str, object]:
    return {name: getattr(event, name) for name in MessageReceived.__slots__}


class TestRaces:
    """Two transactions in a fixed order: the second starts before the first has committed."""

    async def test_a_message_waits_for_one_before_it_and_joins_its_turn(
        self, store: SqlStore, database: Database
    ) -> None:
        await answered(store, "m0", "q", "a")  # the conversation is there already
        async with database.write() as session:
            first = await turns.accept(session, KEY, message("m1"))
            second = await _started(store.accept(KEY, message("m2")))
        assert first is not None
        joined = await second
        assert joined is not None
        assert joined.turn_id == first.turn_id
        assert joined.merged

    async def test_a_message_does_not_join_a_turn_that_is_being_taken(
        self, store: SqlStore, database: Database
    ) -> None:
        await accepted(store, "m1")
        async with database.write() as session:
            taken = await turns.next_turn(session, KEY)
            later = await _started(store.accept(KEY, message("m2")))
        result = await later
        assert taken is not None
        assert result is not None
        assert result.turn_id != taken.id

    async def test_a_turn_is_not_taken_twice(self, store: SqlStore, database: Database) -> None:
        await accepted(store, "m1")
        async with database.write() as session:
            assert await turns.next_turn(session, KEY) is not None
            again = await _started(store.next_turn(KEY))
        assert await again is None

    async def test_a_second_delivery_waits_and_is_refused(
        self, store: SqlStore, database: Database
    ) -> None:
        async with database.write() as session:
            assert await turns.accept(session, KEY, message("m1")) is not None
            again = await _started(store.accept(KEY, message("m1")))
        assert await again is None

    async def test_a_second_delivery_takes_over_from_one_that_failed(
        self, store: SqlStore, database: Database
    ) -> None:
        with contextlib.suppress(ZeroDivisionError):
            async with database.write() as session:
                assert await turns.accept(session, KEY, message("m1")) is not None
                again = await _started(store.accept(KEY, message("m1")))
                raise ZeroDivisionError
        assert await again is not None

    async def test_a_picture_is_kept_for_one_who_is_just_storing_it(
        self, store: SqlStore, database: Database
    ) -> None:
        old, new = await self._two_with_one_picture(store)
        async with database.write() as session:
            await pictures.attach(session, new.attachment_ids[0], picture(), None)
            deleted = await _started(store.delete_message(KEY, "m1"))
        before = await deleted
        assert before is not None
        assert before.id == old.turn_id
        assert await store.image(picture().digest) == b"pixels"

    async def test_a_picture_is_stored_again_after_one_who_is_just_dropping_it(
        self, store: SqlStore, database: Database
    ) -> None:
        _, new = await self._two_with_one_picture(store)
        async with database.write() as session:
            await messages.remove(session, KEY, "m1")
            stored = await _started(store.set_attachment(new.attachment_ids[0], picture(), None))
        await stored
        assert await store.image(picture().digest) == b"pixels"
        turn = await store.turn(new.turn_id)
        assert turn is not None
        assert turn.messages[0].attachments[0].digest == picture().digest

    async def test_a_picture_that_is_there_is_held_before_it_is_referred_to(
        self, store: SqlStore, database: Database
    ) -> None:
        _, new = await self._two_with_one_picture(store)
        async with database.write() as session:
            await pictures._store(session, picture())
            deleted = asyncio.create_task(store.delete_message(KEY, "m1"))
            done, _ = await asyncio.wait({deleted}, timeout=3)  # time enough, were it free to go
            assert not done
            await session.execute(
                update(models.AttachmentRow)
                .where(models.AttachmentRow.id == new.attachment_ids[0])
                .values(digest=picture().digest)
            )
        assert await deleted is not None
        assert await store.image(picture().digest) == b"pixels"

    async def _two_with_one_picture(self, store: SqlStore) -> tuple[Accepted, Accepted]:
        old = await accepted(store, "m1", files=1)
        new = await accepted(store, "m2", files=1, key=OTHER)
        await store.set_attachment(old.attachment_ids[0], picture(), None)
        return old, new


async def _started(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """`work` under way, and waiting: whatever it does must not be done yet."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0.2)
    assert not task.done()
    return task
