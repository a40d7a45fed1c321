"""Pacing: few calls, always the newest text, the end first."""

from __future__ import annotations

import asyncio

import discord
import pytest

from bot.platforms.discord.pacer import Pacer
from tests.support.waiting import until


class Stream:
    """Notes what was the text at each call; `hold` makes calls wait."""

    def __init__(self) -> None:
        self.text = ""
        self.shown: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.failing = False
        self.now = 0
        self.most = 0

    async def bring(self) -> None:
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
    stream = Stream()
    stream.hold.clear()
    for letter in "abcdef":
        stream.text += letter
        pacer.mark(1, stream)
        await asyncio.sleep(0)
    stream.hold.set()
    await until(lambda: stream.shown and stream.shown[-1] == "abcdef")
    assert len(stream.shown) <= 2
    assert stream.most == 1
    await pacer.close()


async def test_the_end_does_not_wait_for_the_pace() -> None:
    pacer = Pacer(interval_s=3600, global_per_s=10_000)
    stream = Stream()
    pacer.mark(1, stream)
    await until(lambda: stream.shown)
    stream.text = "the end"
    pacer.mark(1, stream)
    await pacer.finish(1, stream)
    assert stream.shown == ["", "the end"]
    await pacer.close()


async def test_one_channel_does_not_wait_for_another(pacer: Pacer) -> None:
    slow, quick = Stream(), Stream()
    slow.hold.clear()
    pacer.mark(1, slow)
    pacer.mark(2, quick)
    await until(lambda: quick.shown)
    slow.hold.set()
    await until(lambda: slow.shown)
    await pacer.close()


async def test_a_failed_step_is_passed_over_but_the_end_raises(pacer: Pacer) -> None:
    stream = Stream()
    stream.failing = True
    pacer.mark(1, stream)
    await until(lambda: not pacer._lanes)
    with pytest.raises(discord.DiscordException):
        await pacer.finish(1, stream)
    assert not pacer._lanes


async def test_all_channels_together_have_a_pace() -> None:
    pacer = Pacer(interval_s=0.01, global_per_s=50)
    streams = [Stream() for _ in range(10)]
    started = asyncio.get_running_loop().time()
    for number, stream in enumerate(streams):
        pacer.mark(number, stream)
    await until(lambda: all(stream.shown for stream in streams))
    assert asyncio.get_running_loop().time() - started >= 9 / 50
    await pacer.close()
