"""Pacing: few calls, always the newest text, the end first."""

from __future__ import annotations

import asyncio

import discord
import pytest

from bot.platforms.discord.pacer import Pacer
from tests.support.waiting import until


class Reply:
    """Notes what was the text at each call; `hold` makes calls wait."""

    def __init__(self) -> None:
        self.text = ""
        self.shown: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.failing = False
        self.now = 0
        self.most = 0

    async def update(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.hold.wait()
        self.now -= 1
        if self.failing:
            raise discord.DiscordException("no")
        self.shown.append(self.text)


@pytest.fixture
def pacer() -> Pacer:
    return Pacer(interval_s=0.02, global_per_s=10_000)


async def test_what_is_written_meanwhile_is_one_call(pacer: Pacer) -> None:
    reply = Reply()
    reply.hold.clear()
    for letter in "abcdef":
        reply.text += letter
        pacer.schedule(1, reply)
        await asyncio.sleep(0)
    reply.hold.set()
    await until(lambda: reply.shown and reply.shown[-1] == "abcdef")
    assert len(reply.shown) <= 2
    assert reply.most == 1
    await pacer.close()


async def test_the_end_does_not_wait_for_the_pace() -> None:
    pacer = Pacer(interval_s=3600, global_per_s=10_000)
    reply = Reply()
    pacer.schedule(1, reply)
    await until(lambda: reply.shown)
    reply.text = "the end"
    pacer.schedule(1, reply)
    await pacer.finish(1, reply)
    assert reply.shown == ["", "the end"]
    await pacer.close()


async def test_one_channel_does_not_wait_for_another(pacer: Pacer) -> None:
    slow, quick = Reply(), Reply()
    slow.hold.clear()
    pacer.schedule(1, slow)
    pacer.schedule(2, quick)
    await until(lambda: quick.shown)
    slow.hold.set()
    await until(lambda: slow.shown)
    await pacer.close()


async def test_a_failed_step_is_passed_over_but_the_end_raises(pacer: Pacer) -> None:
    reply = Reply()
    reply.failing = True
    pacer.schedule(1, reply)
    await until(lambda: not pacer._lanes)
    with pytest.raises(discord.DiscordException):
        await pacer.finish(1, reply)
    assert not pacer._lanes


async def test_all_channels_together_have_a_pace() -> None:
    pacer = Pacer(interval_s=0.01, global_per_s=50)
    streams = [Reply() for _ in range(10)]
    started = asyncio.get_running_loop().time()
    for number, reply in enumerate(streams):
        pacer.schedule(number, reply)
    await until(lambda: all(reply.shown for reply in streams))
    assert asyncio.get_running_loop().time() - started >= 9 / 50
    await pacer.close()
