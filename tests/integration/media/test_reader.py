"""The reader in its processes: beside the event loop, bounded, and whole after any file."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import pytest

from bot.core.ports import BadImage, FileReader, ImageReader
from bot.core.records import FileText, NormalizedImage
from bot.media.limits import FileLimits
from bot.media.pool import PoolClosed, WorkerPool
from bot.media.read import read_file, read_picture
from bot.media.reader import MediaReader
from bot.media.texts import CRASHED, TOO_SLOW
from tests.support.pictures import encoded, noise, plain
from tests.support.waiting import until

# A worker whose decoders do what the file says.
OBEDIENT = """
import os, signal, sys, time
from bot.media import worker
from bot.core.records import FileText

def obey(data, limits):
    word = data.decode()
    if word == "hang": time.sleep(600)
    if word == "hang in C":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        while True: pass
    if word == "die": os.abort()
    if word == "leave": os._exit(0)
    if word == "eat": bytearray(1 << 40)
    if word == "garble": os.write(4, b"\\xff" * 4096)
    if word == "print": print("x" * 100_000, flush=True); os.write(1, b"x" * 100)
    if word == "write":
        import tempfile
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
            file.flush()
    if word == "environment": word = repr(sorted(os.environ))
    if word == "raise": raise KeyError("a bug")
    if word.startswith("wait"): time.sleep(0.2)
    return FileText(f"{os.getpid()} {word}")

worker.TASKS["file"] = obey
worker.main()
"""
COMMAND = [sys.executable, "-P", "-c", OBEDIENT]


@pytest.fixture
async def reader() -> AsyncIterator[MediaReader]:
    reader = MediaReader()
    yield reader
    await reader.close()


@pytest.fixture
async def obedient() -> AsyncIterator[MediaReader]:
    reader = MediaReader(processes=2, command=COMMAND, timeout_s=60)
    yield reader
    await reader.close()


async def words(reader: MediaReader, data: bytes) -> tuple[int, str]:
    """Which process read it, and what it said."""
    content = await reader.read_file(data)
    assert isinstance(content, FileText)
    pid, _, said = content.text.partition(" ")
    return int(pid), said


async def test_reads_as_the_functions_do(reader: MediaReader) -> None:
    pictures: ImageReader = reader
    files: FileReader = reader
    data = encoded(noise((300, 200)), "JPEG")
    assert await pictures.read(data) == read_picture(data, reader.limits)
    assert await files.read_file(data) == read_file(data, reader.limits)
    assert await files.read_file(b"a,b\n1,2\n") == FileText("a,b\n1,2")


async def test_heic_and_avif_are_read_there_too(reader: MediaReader) -> None:
    for format in ("HEIF", "AVIF"):
        picture = await reader.read(encoded(plain((400, 300)), format))
        assert (picture.width, picture.height) == (400, 300)


@pytest.mark.slow
async def test_the_largest_picture_fits_into_its_memory(reader: MediaReader) -> None:
    """50 megapixels of the widest kinds: the memory limit is not what refuses them."""
    kinds = [
        ("RGBA", "PNG", {}),
        ("I;16", "PNG", {}),
        ("CMYK", "TIFF", {"compression": "tiff_lzw"}),
    ]
    for mode, format, options in kinds:
        data = await asyncio.to_thread(encoded, plain((8000, 6250), 0, mode), format, **options)
        picture = await reader.read(data)
        assert (picture.width, picture.height) == (1792, 1400), (mode, format)


async def test_refuses_with_the_reason() -> None:
    reader = MediaReader(FileLimits(max_bytes=100))
    with pytest.raises(BadImage, match="not a picture"):
        await reader.read(b"no")
    with pytest.raises(BadImage, match="too large"):
        await reader.read(b"x" * 101)
    with pytest.raises(BadImage, match="an empty file"):
        await reader.read_file(b"")
    await reader.close()


async def test_the_loop_goes_on_meanwhile(reader: MediaReader) -> None:
    data = encoded(noise((4000, 3000)), "JPEG")
    reading = asyncio.create_task(reader.read(data))
    ticks = 0
    while not reading.done():
        await asyncio.sleep(0.005)
        ticks += 1
    assert (await reading).width == 1792
    assert ticks > 3


async def test_processes_are_kept_and_no_more_than_allowed(obedient: MediaReader) -> None:
    found = await asyncio.gather(*(words(obedient, b"wait %d" % n) for n in range(8)))
    assert [said for _, said in found] == [f"wait {n}" for n in range(8)]
    pids = {pid for pid, _ in found}
    assert 1 <= len(pids) <= 2
    assert (await words(obedient, b"again"))[0] in pids


@pytest.mark.parametrize("word", [b"die", b"leave", b"raise", b"garble"])
async def test_a_file_that_kills_its_process_costs_only_itself(
    obedient: MediaReader, word: bytes
) -> None:
    results = await asyncio.gather(
        *(words(obedient, w) for w in (b"wait 1", word, b"wait 2", word, b"wait 3")),
        return_exceptions=True,
    )
    good = [result[1] for result in results if isinstance(result, tuple)]
    bad = [str(result) for result in results if isinstance(result, BadImage)]
    assert (good, bad) == (["wait 1", "wait 2", "wait 3"], [CRASHED] * 2)


async def test_a_file_that_wants_too_much_memory_is_refused(obedient: MediaReader) -> None:
    before, _ = await words(obedient, b"first")
    with pytest.raises(BadImage, match="takes too much memory"):
        await obedient.read_file(b"eat")
    assert (await words(obedient, b"hello"))[0] == before, "the process lives"


@pytest.mark.parametrize("word", [b"hang", b"hang in C"])
async def test_a_file_that_hangs_is_given_up_and_its_process_killed(word: bytes) -> None:
    reader = MediaReader(processes=1, command=COMMAND, timeout_s=1.5)
    before, _ = await words(reader, b"first")
    with pytest.raises(BadImage, match=TOO_SLOW):
        await reader.read_file(word)
    after, said = await words(reader, b"next")
    assert (after != before, said) == (True, "next")
    await until(lambda: not alive(before))
    await reader.close()
    assert not alive(after)


async def test_a_process_nobody_kills_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should Parley itself be gone: nothing is left behind that burns a core for ever."""
    monkeypatch.setattr("bot.media.pool._ALARM_GRACE_S", -58.0)
    reader = MediaReader(processes=1, command=COMMAND, timeout_s=60)
    with pytest.raises(BadImage, match=CRASHED):
        await reader.read_file(b"hang in C")
    await reader.close()


async def test_what_a_library_prints_does_no_harm(obedient: MediaReader) -> None:
    assert (await words(obedient, b"print"))[1] == "print"
    assert (await words(obedient, b"more"))[1] == "more"


async def test_a_process_can_write_nothing_and_knows_no_secret(
    obedient: MediaReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "secret")
    with pytest.raises(BadImage):
        await obedient.read_file(b"write")
    _, environment = await words(obedient, b"environment")
    assert "DISCORD_TOKEN" not in environment


async def test_cancelled_in_the_middle_nothing_is_mixed_up(obedient: MediaReader) -> None:
    first = asyncio.create_task(words(obedient, b"hang"))
    await asyncio.sleep(0.5)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    found = await asyncio.gather(*(words(obedient, b"n%d" % n) for n in range(6)))
    assert [said for _, said in found] == [f"n{n}" for n in range(6)]


async def test_an_idle_process_that_was_killed_is_replaced(obedient: MediaReader) -> None:
    pid, _ = await words(obedient, b"one")
    os.kill(pid, 9)
    await until(lambda: not alive(pid))
    assert (await words(obedient, b"two"))[1] == "two"


async def test_close_ends_what_runs_and_what_waits(obedient: MediaReader) -> None:
    pid, _ = await words(obedient, b"first")
    running = [asyncio.create_task(obedient.read_file(b"hang")) for _ in range(5)]
    await asyncio.sleep(0.3)
    await obedient.close()
    results = await asyncio.gather(*running, return_exceptions=True)
    assert [type(result) for result in results] == [PoolClosed] * 5
    assert not alive(pid)
    with pytest.raises(PoolClosed):
        await obedient.read_file(b"more")
    await obedient.close()


async def test_a_process_is_retired_after_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.media.pool._JOBS", 3)
    reader = MediaReader(processes=1, command=COMMAND, timeout_s=60)
    pids = [(await words(reader, b"x"))[0] for _ in range(7)]
    assert len(set(pids[:3])) == len(set(pids[3:6])) == 1
    assert len(set(pids)) == 3
    await reader.close()
    assert not any(map(alive, pids))


async def test_a_program_that_is_none() -> None:
    pool = WorkerPool(1, memory=1 << 30, timeout_s=5, command=["/does/not/exist"])
    with pytest.raises(OSError):
        await pool.run({}, b"")
    await pool.close()


async def test_a_lying_process_is_not_believed() -> None:
    """It answers a text where a picture was asked for."""
    lie = OBEDIENT.replace('TASKS["file"]', 'TASKS["picture"]')
    reader = MediaReader(processes=1, command=[sys.executable, "-P", "-c", lie], timeout_s=60)
    with pytest.raises(BadImage, match=CRASHED):
        await reader.read(b"x")
    await reader.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_the_digest_is_of_the_bytes(reader: MediaReader) -> None:
    one = await reader.read(encoded(plain()))
    two = await reader.read(encoded(plain(), "BMP"))
    assert isinstance(one, NormalizedImage)
    assert one == two
