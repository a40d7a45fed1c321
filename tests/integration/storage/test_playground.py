"""The playground's tables, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.records.playground import NameTaken, Reply, ReplyState
from bot.storage.database import Database
from bot.storage.playground import PlaygroundStore

PEOPLE = ("ana", "ben")


@pytest.fixture
async def store(database: Database) -> PlaygroundStore:
    store = PlaygroundStore(database)
    await store.seed(["general", "random"], PEOPLE)
    return store


async def channel_id(store: PlaygroundStore, name: str = "general") -> int:
    return next(channel.id for channel in await store.channels() if channel.name == name)


async def test_seeding_twice_changes_nothing_and_a_new_person_gets_a_dm(
    store: PlaygroundStore,
) -> None:
    before = await store.channels()
    await store.seed(["other"], [*PEOPLE, "dev"])
    after = await store.channels()
    assert after[: len(before)] == before
    assert [(c.kind, c.name) for c in after[len(before) :]] == [("dm", "dev")]


async def test_names_are_taken_once(store: PlaygroundStore) -> None:
    with pytest.raises(NameTaken):
        await store.add_channel("general")
    made = await store.add_channel("ana")  # a channel may be called as a person is
    with pytest.raises(NameTaken):
        await store.rename_channel(made.id, "random")
    renamed = await store.rename_channel(made.id, "cats")
    assert renamed is not None
    assert (await store.channel(made.id)) == renamed
    assert await store.rename_channel(9999, "dogs") is None


async def test_pages_go_back_in_time_and_leave_replies_out(store: PlaygroundStore) -> None:
    place = await channel_id(store)
    posts = [await store.add_post(place, None, "ana", f"m{number}") for number in range(5)]
    await store.add_post(place, posts[0].id, "ben", "a reply")
    newest = await store.page(place, None, 3)
    assert [post.text for post in newest] == ["m2", "m3", "m4"]
    older = await store.page(place, newest[0].id, 3)
    assert [post.text for post in older] == ["m0", "m1"]


async def test_a_summary_counts_and_names_in_order(store: PlaygroundStore) -> None:
    place = await channel_id(store)
    root = await store.add_post(place, None, "ana", "root")
    alone = await store.add_post(place, None, "ana", "alone")
    for author in ("parley", "ben", "parley"):
        await store.add_post(place, root.id, author, f"by {author}")
    summaries = await store.summaries([root.id, alone.id])
    assert set(summaries) == {root.id}
    summary = summaries[root.id]
    assert (summary.replies, summary.people) == (3, ("parley", "ben"))
    assert summary.last is not None
    assert summary.last.text == "by parley"
    assert await store.summaries([]) == {}


async def test_a_reply_is_found_by_its_turn_and_ends_when_interrupted(
    store: PlaygroundStore,
) -> None:
    place = await channel_id(store)
    reply = Reply(turn_id=7, asker="ana", state=ReplyState.RUNNING)
    post = await store.add_post(place, None, "parley", "", (), reply)
    await store.save_text(post.id, "half of")
    assert await store.interrupt_replies("interrupted") == 1
    found = await store.reply_to_turn(7)
    assert found is not None
    assert found.reply is not None
    assert (found.text, found.reply.state, found.reply.error) == (
        "half of",
        ReplyState.FAILED,
        "interrupted",
    )
    done = Reply(7, "ana", ReplyState.DONE, notes=("cut",))
    saved = await store.save_reply(post.id, "whole", done)
    assert saved is not None
    assert (saved.text, saved.reply) == ("whole", done)
    assert await store.interrupt_replies("interrupted") == 0


async def test_removing_is_deleting_but_a_root_with_replies_stays_empty(
    store: PlaygroundStore,
) -> None:
    place = await channel_id(store)
    upload = await store.add_upload("ana", "a.png", "image/png", b"data", 2, 1)
    root = await store.add_post(place, None, "ana", "root", [upload.id])
    reply = await store.add_post(place, root.id, "ben", "reply")
    assert await store.remove_post(root.id) == []
    shell = await store.post(root.id)
    assert shell is not None
    assert (shell.text, shell.removed, shell.uploads) == ("", True, ())
    assert await store.upload(upload.id) is None
    assert await store.edit_post(root.id, "back again") is None
    assert await store.remove_post(reply.id) == [reply.id, root.id]
    assert await store.post(root.id) is None
    assert await store.remove_post(root.id) == []


async def test_an_id_never_comes_back(store: PlaygroundStore) -> None:
    place = await channel_id(store)
    first = await store.add_post(place, None, "ana", "one")
    await store.remove_post(first.id)
    second = await store.add_post(place, None, "ana", "two")
    assert second.id > first.id


async def test_a_picture_is_sent_once_and_by_its_owner_only(store: PlaygroundStore) -> None:
    place = await channel_id(store)
    upload = await store.add_upload("ana", "a.png", "image/png", b"data", 2, 1)
    stolen = await store.add_post(place, None, "ben", "mine", [upload.id])
    assert stolen.uploads == ()
    sent = await store.add_post(place, None, "ana", "mine", [upload.id])
    assert [one.id for one in sent.uploads] == [upload.id]
    again = await store.add_post(place, None, "ana", "again", [upload.id])
    assert again.uploads == ()
    await store.drop_upload(upload.id)  # sent: stays
    assert await store.upload_data(upload.id) == b"data"


async def test_what_was_never_sent_goes_after_a_while(store: PlaygroundStore) -> None:
    upload = await store.add_upload("ana", "a.png", "image/png", b"data", 2, 1)
    assert await store.prune_uploads(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert [one.id for one in await store.unsent_uploads("ana")] == [upload.id]
    assert await store.prune_uploads(datetime.now(UTC) + timedelta(hours=1)) == 1
    assert await store.unsent_uploads("ana") == []


async def test_hostile_text_is_kept_as_text(store: PlaygroundStore) -> None:
    place = await channel_id(store)
    text = "a\0b \ud800 'x'; DROP TABLE playground_posts; -- 😀"
    post = await store.add_post(place, None, "ana", text)
    kept = await store.post(post.id)
    assert kept is not None
    assert kept.text == "a\ufffdb \ufffd 'x'; DROP TABLE playground_posts; -- 😀"
