"""/ask and Discord's two clocks: what a restart or fifteen minutes do to an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from bot.core.records import TurnState
from bot.platforms.discord.pending_interactions import KEPT_FOR
from bot.records.discord import SavedInteraction
from bot.storage.discord import DiscordInteractions
from bot.storage.models import utcnow
from tests.servers.discord.interactions import Interaction
from tests.servers.discord.rig import WAIT_S, Rig, rig
from tests.servers.discord.world import Channel, Guild

MINUTE = 60.0


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr("bot.platforms.discord.sink.TYPING_EVERY_S", 0.05)
    async with rig(tmp_path) as found:
        yield found
        assert found.discord.rest.unknown == []


async def ask(home: Rig, channel: Channel | None = None, **options: object) -> Interaction:
    place = channel or home.general
    asked = await home.discord.slash(home.ana, place, "ask", question="What is it?", **options)
    await home.request(0)
    return asked


async def stop(home: Rig) -> None:
    """As an orderly end does it: the answer is left to the next run."""
    await home.service.drain(0)
    await home.adapter.close()


async def ended(home: Rig, turn_id: int, state: TurnState) -> None:
    """Wait until the core has put down how a turn ended."""

    async def put_down() -> None:
        while (turn := await home.store.turn(turn_id)) is None or turn.state is not state:
            await asyncio.sleep(0.02)

    await asyncio.wait_for(put_down(), WAIT_S)


def foreign(home: Rig) -> Channel:
    """A channel of a server that the bot is no member of."""
    guild = Guild("Foreign", home.discord.bot, home.discord.owner)
    guild.members[home.ana.id] = []
    channel = Channel(0, guild, "abroad")
    guild.channels[channel.id] = channel
    return channel


# A restart


async def test_after_a_restart_it_is_answered_in_place(home: Rig, tmp_path: Path) -> None:
    asked = await ask(home)
    home.engine.requests[0].write("Half an")
    await home.until(lambda: asked.original and asked.original.content == "Half an")
    await stop(home)
    async with rig(tmp_path, discord=home.discord, auto="A whole answer."):
        await home.until(lambda: asked.texts == ["A whole answer."])
        assert asked.original is not None
        await home.until(lambda: "Regenerate" in asked.original.labels)  # type: ignore[union-attr]
        assert home.general.of_bot() == [asked.original]


async def test_a_private_one_stays_private_and_is_cut_to_what_there_is(
    home: Rig, tmp_path: Path
) -> None:
    asked = await ask(home, private=True)
    home.engine.requests[0].write("word " * 900)
    await home.until(lambda: len(asked.followups) == 2)
    await stop(home)
    async with rig(tmp_path, discord=home.discord, auto="Short."):
        await home.until(lambda: asked.texts[0] == "Short.")
        await home.until(lambda: len(home.general.messages) == 1)
        assert home.general.last.flags & 64


async def test_one_that_never_began_is_answered_in_place(home: Rig, tmp_path: Path) -> None:
    asked = await ask(home)
    await stop(home)
    async with rig(tmp_path, discord=home.discord, auto="Here."):
        await home.until(lambda: asked.texts == ["Here."])


async def test_a_restart_after_the_clock_answers_in_the_channel(home: Rig, tmp_path: Path) -> None:
    asked = await ask(home)
    home.engine.requests[0].write("Half an")
    await home.until(lambda: asked.original and asked.original.content == "Half an")
    await stop(home)
    home.discord.clock_ahead_s = 20 * MINUTE
    async with rig(tmp_path, discord=home.discord, auto="A late answer."):
        # What stands there is the bot's own message: it is edited as such.
        await home.until(lambda: asked.original and asked.original.content == "A late answer.")
        assert len(home.general.of_bot()) == 1


async def test_a_private_one_goes_on_in_a_dm(home: Rig, tmp_path: Path) -> None:
    await ask(home, private=True)
    await stop(home)
    home.discord.clock_ahead_s = 20 * MINUTE
    dm = home.discord.dm(home.ana)
    async with rig(tmp_path, discord=home.discord, auto="A secret."):
        await home.until(lambda: any("A secret." in m.content for m in dm.of_bot()))
        assert dm.of_bot()[0].labels == []  # they would reach into another channel
        assert home.general.of_bot() == []


async def test_where_it_cannot_be_answered_it_fails_once_with_a_line(
    home: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await ask(home, foreign(home))
    await stop(home)
    home.discord.clock_ahead_s = 20 * MINUTE
    home.discord.closed_dms.add(home.ana.id)
    async with rig(tmp_path, discord=home.discord, auto="Nobody reads this.") as second:
        await ended(second, 1, TurnState.FAILED)
        assert any("turn 1" in record.message for record in caplog.records)
        await stop(second)
        async with rig(tmp_path, discord=home.discord, auto="Nor this.") as third:
            asked = await third.ask("Hello")
            await third.until(lambda: third.thread(asked) is not None)
            await third.ended(third.discord.channels[asked.id])
            assert len(third.engine.requests) == 1  # it is not tried again


# Fifteen minutes


async def test_after_fifteen_minutes_it_goes_on_as_a_message(home: Rig) -> None:
    asked = await ask(home)
    request = home.engine.requests[0]
    request.write("Part one")
    await home.until(lambda: asked.original and asked.original.content == "Part one")
    home.discord.clock_ahead_s = 14.6 * MINUTE
    request.write(" and two")
    request.finish()
    post = await home.ended(home.general)
    assert post is asked.original
    assert post.content == "Part one and two"
    assert post.labels == ["Regenerate", "👍", "👎"]


async def test_one_that_waits_is_moved_in_time(home: Rig) -> None:
    asked = await ask(home)
    home.engine.requests[0].queued(3)
    await home.until(lambda: asked.original and "3 ahead" in asked.original.content)
    home.discord.clock_ahead_s = 14.6 * MINUTE
    await home.until(lambda: asked.original and asked.original.edits[-1:] == ["⏳ 3 ahead of you"])
    request = home.engine.requests[0]
    request.write("At last.")
    request.finish()
    post = await home.ended(home.general)
    assert post.content == "At last."


async def test_a_thinking_message_is_not_left_behind(home: Rig) -> None:
    asked = await ask(home)
    home.discord.clock_ahead_s = 14.6 * MINUTE
    await home.until(lambda: asked.original and asked.original.id not in home.general.messages)
    post = await home.reply(home.general)
    assert (post.content, post.labels) == ("…", ["Stop"])
    await home.discord.press(home.ana, post, "Stop")
    await home.until(lambda: home.engine.requests[0].closed)
    assert (await home.ended(home.general)).content.startswith("-# ")


async def test_by_discords_own_word_too(home: Rig) -> None:
    asked = await ask(home)
    request = home.engine.requests[0]
    request.write("Part one")
    await home.until(lambda: asked.original and asked.original.content == "Part one")
    asked.at -= 20 * MINUTE  # Discord's clock and the bot's differ
    request.write(" and two")
    request.finish()
    assert (await home.ended(home.general)).content == "Part one and two"


async def test_abroad_it_goes_on_in_a_dm(home: Rig) -> None:
    asked = await ask(home, foreign(home))
    home.discord.clock_ahead_s = 14.6 * MINUTE
    request = home.engine.requests[0]
    request.write("From afar.")
    request.finish()
    dm = home.discord.dm(home.ana)
    await home.until(lambda: any(m.content.startswith("From afar.") for m in dm.of_bot()))
    assert asked.original is not None
    assert asked.original.id not in asked.channel.messages


async def test_where_there_is_no_other_place_that_is_said_in_time(home: Rig) -> None:
    home.discord.closed_dms.add(home.ana.id)
    asked = await ask(home, foreign(home))
    home.discord.clock_ahead_s = 14.6 * MINUTE
    await home.until(lambda: asked.original and "longer than the 15 minutes" in asked.texts[0])
    home.engine.requests[0].finish()
    await home.exchange("Hello", "Hi")
    assert "longer than the 15 minutes" in asked.texts[0]


# Regenerate


async def test_another_reply_takes_the_place_of_all_messages(home: Rig) -> None:
    asked = await ask(home)
    request = home.engine.requests[0]
    request.write("word " * 900)
    request.finish()
    await home.until(lambda: asked.followups and "Regenerate" in asked.followups[-1].labels)
    assert len(home.general.of_bot()) == 3
    await ended(home, 1, TurnState.DELIVERED)
    await home.discord.press(home.ana, home.general.of_bot()[-1], "Regenerate")
    another = await home.request(1)
    another.write("Short.")
    another.finish()
    await home.until(lambda: [m.content for m in home.general.of_bot()] == ["Short."])


# The store


async def test_the_store_keeps_the_last_of_a_question_and_drops_old_ones(home: Rig) -> None:
    store = DiscordInteractions(home.store._database)
    now = utcnow()

    def ask_(asking: str, token: str, *, ago: timedelta = timedelta()) -> SavedInteraction:
        return SavedInteraction(asking, 1, 2, 3, now - ago, True, None, token)

    await store.save(ask_("old", "a", ago=2 * KEPT_FOR), delete_before=now - 3 * KEPT_FOR)
    await store.save(ask_("1", "b"), delete_before=now - 3 * KEPT_FOR)
    await store.save(ask_("1", "c"), delete_before=now - KEPT_FOR)
    assert await store.saved_since(now - 5 * KEPT_FOR) == [ask_("1", "c")]
    assert "secret" not in repr(ask_("1", "secret"))
