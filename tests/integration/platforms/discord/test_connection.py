"""The connection: drops, gaps, intents, shards, rate limits, clocks, what comes twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.platforms.base import PlatformError
from bot.platforms.discord.adapter import DiscordAdapter, DiscordOptions
from tests.servers.discord import DiscordServer
from tests.servers.discord.gateway import INVALID, RECONNECT
from tests.servers.discord.rig import Rig, rig
from tests.servers.discord.world import Message, snowflake
from tests.support.core_rig import Rig as CoreRig


async def test_a_drop_in_mid_answer_is_resumed_and_nothing_is_lost(tmp_path: Path) -> None:
    async with rig(tmp_path) as home:
        asked = await home.ask("Hello")
        request = await home.request(0)
        request.write("Before")
        await home.until(lambda: home.thread(asked) is not None)
        thread = home.discord.channels[asked.id]
        await home.reply(thread)
        await home.discord.gateway.drop(resumable=True)
        await home.ask("Said while it was away", author=home.bob)
        await home.until(lambda: home.discord.gateway.resumes)
        request.write(" and after")
        request.finish()
        assert (await home.ended(thread)).content == "Before and after"
        another = await home.request(1)
        assert another.asked.endswith("Said while it was away")
        assert len(home.discord.gateway.identifies) == 1


@pytest.mark.parametrize("how", ["reconnect", "invalid", "invalid, but resumable"])
async def test_discord_may_ask_for_a_new_connection(tmp_path: Path, how: str) -> None:
    async with rig(tmp_path, auto="Yes.") as home:
        if how != "invalid":
            op = RECONNECT if how == "reconnect" else INVALID
            await home.discord.gateway.send_op(op, op == INVALID)
            await home.until(lambda: home.discord.gateway.resumes)
            assert len(home.discord.gateway.identifies) == 1
        else:
            await home.discord.gateway.send_op(INVALID, False)
            await home.until(lambda: len(home.discord.gateway.identifies) == 2)
        await home.until(lambda: home.discord.gateway.connected)
        asked = await home.ask("Still there?")
        await home.until(lambda: home.thread(asked) is not None)
        await home.ended(home.discord.channels[asked.id])


async def test_after_a_gap_without_resume_missed_messages_are_answered(tmp_path: Path) -> None:
    async with rig(tmp_path) as home:
        _, thread = await home.exchange("Hello", "Hi")
        # The session is gone and so are its events, as after a long outage.
        await home.discord.gateway.drop(resumable=False)
        home.discord.gateway.sessions.clear()
        missed = await home.ask("a missed mention", author=home.bob)
        await home.discord.say(home.ana, thread, "a missed follow-up")
        await home.discord.say(home.bob, home.general, "said to nobody")
        await home.discord.say(home.ana, thread, f"{home.discord.bot.mention} /reset")
        await home.until(lambda: len(home.engine.requests) == 3)
        asked = {request.asked for request in home.engine.requests[1:]}
        assert any(text.endswith("a missed mention") for text in asked)
        assert any(text.endswith("a missed follow-up") for text in asked)
        for request in home.engine.requests[1:]:
            request.write("Sorry, I was away.")
            request.finish()
        await home.until(lambda: home.thread(missed) is not None)
        await home.ended(home.discord.channels[missed.id])
        assert not any("forgotten" in m.content for m in thread.of_bot())  # a stale command


async def test_what_was_missed_between_two_runs_is_answered_within_the_window(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as first:
        await first.exchange("Hello", "Hi")
        server = first.discord
        await first.service.drain(0)
        await first.adapter.close()
        long_ago = snowflake(server.now() - 3600)
        old = Message(first.general, first.ana, f"{server.bot.mention} an hour ago", id=long_ago)
        first.general.messages = {old.id: old, **first.general.messages}
        await first.ask("just now")
        async with rig(tmp_path, discord=server) as second:
            request = await second.request(0)
            assert request.asked.endswith("just now")
            assert len(second.engine.requests) == 1


async def test_a_dispatch_that_comes_twice_is_answered_once(tmp_path: Path) -> None:
    async with rig(tmp_path, auto="Once.") as home:
        asked = await home.ask("Hello")
        await home.discord.announce("MESSAGE_CREATE", asked)
        await home.until(lambda: home.thread(asked) is not None)
        thread = home.discord.channels[asked.id]
        await home.ended(thread)
        await home.exchange("Another", "")
        assert len(home.engine.requests) == 2
        assert len(thread.of_bot()) == 1


async def test_without_the_message_content_intent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with DiscordServer() as server:
        server.gateway.content_allowed = False
        async with rig(tmp_path, discord=server) as home:
            assert len(server.gateway.identifies) == 2
            told = [r for r in caplog.records if "Message Content intent is off" in r.message]
            assert len(told) == 1
            asked, thread = await home.exchange("Hello", "Hi")
            await server.say(home.ana, thread, "no mention")  # unseen
            await server.edit(asked, f"{server.bot.mention} Hello again")
            await server.say(home.ana, thread, "and this?", reply_to=thread.of_bot()[0])
            dm = server.dm(home.ana)
            await server.say(home.ana, dm, "in private")
            request = await home.request(1)
            assert request.asked.endswith("in private")
            help_ = await server.slash(home.ana, home.general, "help")
            await home.until(lambda: "Content intent is off" in "\n".join(help_.texts))


async def test_shards_each_get_their_servers(tmp_path: Path) -> None:
    async with DiscordServer() as server:
        server.shards = 2
        async with rig(tmp_path, discord=server, auto="Hi.") as home:
            shards = [tuple(sent["shard"]) for sent in server.gateway.identifies]
            assert sorted(shards) == [(0, 2), (1, 2)]
            asked = await home.ask("Hello")
            await home.until(lambda: home.thread(asked) is not None)
            await home.ended(server.channels[asked.id])
            dm = server.dm(home.ana)  # shard 0 has the DMs
            await server.say(home.ana, dm, "Hello")
            await home.ended(dm)


async def test_a_plain_connection_where_one_shard_is_enough(tmp_path: Path) -> None:
    async with rig(tmp_path) as home:
        (identify,) = home.discord.gateway.identifies
        assert "shard" not in identify


async def test_edits_follow_the_rate_limit_and_the_last_words_come(tmp_path: Path) -> None:
    async with rig(tmp_path, pace_s=0.2) as home:
        home.discord.limits.rules["edit"] = (2, 1.0)
        asked = await home.ask("Count")
        request = await home.request(0)
        for number in range(60):
            request.write(f"{number} ")
            await asyncio.sleep(0.05)
        request.finish()
        await home.until(lambda: home.thread(asked) is not None)
        post = await home.ended(home.discord.channels[asked.id])
        assert post.content == " ".join(map(str, range(60)))
        assert 3 <= len(post.edits) <= 20  # coalesced: far fewer edits than words
        assert home.discord.limits.refused == []  # the headers were obeyed


async def test_a_429_out_of_the_blue_costs_no_words(tmp_path: Path) -> None:
    async with rig(tmp_path) as home:
        home.discord.limits.surprises["edit"] = [0.3, 0.3]
        asked = await home.ask("Hello")
        request = await home.request(0)
        request.write("One ")
        await home.until(lambda: home.thread(asked) is not None)
        await home.reply(home.discord.channels[asked.id])
        request.write("two")
        request.finish()
        post = await home.ended(home.discord.channels[asked.id])
        assert post.content == "One two"
        assert home.discord.limits.refused == ["edit", "edit"]


async def test_many_ask_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as home:
        asked = [await home.ask(f"Question {n}", author=home.bob) for n in range(5)]
        for number in range(5):
            request = await home.request(number)
            request.write(f"To {request.asked[-1]}")
        for request in home.engine.requests:
            request.finish()
        for number, message in enumerate(asked):
            await home.until(lambda message=message: home.thread(message) is not None)
            post = await home.ended(home.discord.channels[message.id])
            assert post.content == f"To {number}"


async def test_a_wrong_token_stops_with_the_fix() -> None:
    async with DiscordServer() as server:
        core, options = CoreRig(), DiscordOptions("wrong", api_url=server.api_url)
        adapter = DiscordAdapter(core.service.handle, core.queries, options)
        with pytest.raises(PlatformError, match="rejected DISCORD_TOKEN"):
            await adapter.start()
        await adapter.close()


async def test_an_outage_at_the_start_is_waited_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.platforms.discord.adapter.RETRY_S", (0.05,))
    async with DiscordServer() as server:
        server.down = True
        options = DiscordOptions(server.token, api_url=server.api_url)
        core = CoreRig()
        adapter = DiscordAdapter(core.service.handle, core.queries, options)
        starting = asyncio.create_task(adapter.start())
        while len(server.rest.requests) < 3:
            await asyncio.sleep(0.01)
        assert not starting.done()
        server.down = False
        await asyncio.wait_for(starting, 30)
        assert adapter.is_connected
        await adapter.close()
        assert not adapter.is_connected


async def test_an_interaction_that_came_too_late_is_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig(tmp_path) as home:
        await _late(home)
        assert any("arrived too late" in record.message for record in caplog.records)
        assert not any(record.exc_info for record in caplog.records)


async def _late(home: Rig) -> None:
    server = home.discord
    original = server.now
    interaction = await server.slash(home.ana, home.general, "help")
    interaction.at = original() - 10  # Discord's three seconds are over
    await home.until(lambda: any(path.endswith("/callback") for _, path in server.rest.requests))
    await asyncio.sleep(0.2)


async def test_two_sends_of_one_nonce_are_one_message(tmp_path: Path) -> None:
    async with rig(tmp_path) as home:
        asked = await home.ask("Hello")
        request = await home.request(0)
        request.write("Part of an answer")
        await home.until(lambda: home.thread(asked) is not None)
        thread = home.discord.channels[asked.id]
        post = await home.reply(thread)
        assert post.nonce
        turn = await home.store.turn(1)
        assert turn is not None
        # A crash right after the send, before where it stands was stored:
        forgetful = await home.adapter.open_reply(
            turn.__class__(turn.id, turn.conversation_id, turn.key, turn.state, turn.messages)
        )
        await forgetful.write("Another run's answer")
        await home.until(lambda: thread.of_bot()[0].content == "Another run's answer")
        assert len(thread.of_bot()) == 1
