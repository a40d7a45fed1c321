"""The reader works beside the event loop, in threads of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from bot.core.ports import BadImage, ImageReader
from bot.core.records import NormalisedImage
from bot.media import images
from bot.media.images import ImageLimits, PillowImageReader, normalise
from tests.support.pictures import encoded, noise, plain


@pytest.fixture
async def reader() -> AsyncIterator[PillowImageReader]:
    reader = PillowImageReader(threads=2)
    yield reader
    reader.close()


async def test_reads_as_normalise_does(reader: PillowImageReader) -> None:
    port: ImageReader = reader
    data = encoded(plain())
    assert await port.read(data) == normalise(data, reader.limits)


async def test_refuses_with_the_reason() -> None:
    reader = PillowImageReader(ImageLimits(max_bytes=100))
    with pytest.raises(BadImage, match="not a picture"):
        await reader.read(b"no")
    with pytest.raises(BadImage, match="too large"):
        await reader.read(b"x" * 101)
    reader.close()


async def test_the_loop_goes_on_meanwhile(reader: PillowImageReader) -> None:
    data = encoded(noise((4000, 3000)), "JPEG")
    reading = asyncio.create_task(reader.read(data))
    ticks = 0
    while not reading.done():
        await asyncio.sleep(0.005)
        ticks += 1
    assert (await reading).width == 1792
    assert ticks > 3


async def test_no_more_at_once_than_threads(
    reader: PillowImageReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def slow(data: bytes, limits: ImageLimits) -> NormalisedImage:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return NormalisedImage(data, "d", 1, 1)

    monkeypatch.setattr(images, "normalise", slow)
    results = await asyncio.gather(*(reader.read(b"%d" % n) for n in range(8)))
    assert [result.data for result in results] == [b"%d" % n for n in range(8)]
    assert most == 2


async def test_after_close_nothing_is_read(reader: PillowImageReader) -> None:
    reader.close()
    reader.close()
    with pytest.raises(RuntimeError):
        await reader.read(encoded(plain()))
