"""The playground in a real browser on the real batcher: a tiny random model that sees, and the
demo's own, which also sits for the README's picture."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from playwright.async_api import expect

from bot.config import Settings
from bot.core.service_settings import ServiceSettings
from bot.demo.prepare import ensure_demo_model
from bot.engine.api import SamplingParams
from bot.engine.batcher import LocalEngine
from bot.engine.model.loading import LocalEngineConfig
from tests.e2e.browser import Tab, chromium
from tests.support import models
from tests.support.pictures import encoded, noise
from tests.support.playground_rig import playground

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "playground.png"
pytestmark = [pytest.mark.browser, pytest.mark.slow]


async def ask_together(tabs: dict[Tab, str]) -> None:
    """Each person asks Parley in the channel they are in, all at once, and is watched."""
    for tab in tabs:
        await tab.watch_growth()
    await asyncio.gather(*(tab.say(f"@Parley {question}") for tab, question in tabs.items()))


async def wait_until_they_grow_together(first: Tab, second: Tab) -> None:
    """Return once each answer has grown before and after the other began: a turn-taking batcher
    never gets there."""
    async with asyncio.timeout(90):
        while not overlap(await first.growth(), await second.growth()):
            await asyncio.sleep(0.2)


def overlap(first: list[float], second: list[float]) -> bool:
    return bool(first and second) and first[0] < second[-1] and second[0] < first[-1]


async def test_text_and_a_picture_share_the_batch(tmp_path: Path) -> None:
    folder = models.save_tiny(tmp_path / "tiny", sees=True)
    engine = LocalEngine(
        LocalEngineConfig(
            model=str(folder),
            dtype="float32",
            device="cpu",
            kv_memory_mib=64,
            max_context=4096,
            ignore_eos=True,
        )
    )
    await engine.start()
    # Random words without end: long enough to be watched, and stopped at the end.
    settings = ServiceSettings(sampling=SamplingParams(seed=1, max_new_tokens=3000))
    try:
        async with (
            playground(tmp_path, engine, settings=settings) as rig,
            chromium() as browser,
        ):
            ana = await Tab.open(browser, rig.url)
            ben = await Tab.open(browser, rig.url, "ben")
            await ben.go("random")
            await ask_together({ana: "hello", ben: "good morning"})
            await wait_until_they_grow_together(ana, ben)
            (tmp_path / "sea.png").write_bytes(encoded(noise((80, 60))))
            await ben.go("pictures")
            await ben.page.locator("main input[type=file]").set_input_files(tmp_path / "sea.png")
            await expect(ben.page.locator("main .draft:not(.loading)")).to_have_count(1)
            await ben.say("@Parley what is this?")
            await expect(ben.page.locator(".lane")).to_have_count(3)
            await expect(ben.answers.first.locator(".stop")).to_be_visible()
            await expect(ben.answers.first).to_have_class("message streaming")
            for tab in (ana, ben):
                await tab.answers.first.locator("button.stop").click()
                await expect(tab.answers.first).to_have_attribute("data-state", "stopped")
            await expect(ana.page.locator(".lane")).to_have_count(1)
            assert ana.complaints == []
            assert ben.complaints == []
    finally:
        await engine.stop()


@pytest.mark.weights
async def test_the_demo_answers_two_people_at_once(tmp_path: Path) -> None:
    cache = Settings().cache_dir
    folder = await asyncio.to_thread(ensure_demo_model, cache, lambda _line: None)
    engine = LocalEngine(LocalEngineConfig(model=str(folder), max_context=2048))
    await engine.start()
    settings = ServiceSettings(sampling=SamplingParams(temperature=0, max_new_tokens=120))
    try:
        async with (
            playground(tmp_path, engine, settings=settings) as rig,
            chromium() as browser,
        ):
            tabs = [await Tab.open(browser, rig.url, who) for who in ("ana", "ben", "chloe")]
            ana, ben, chloe = tabs
            await chloe.go("random")
            await ask_together(
                {
                    ana: "Give me five ideas for a rainy Sunday.",
                    ben: "Write a short story about the sea.",
                    chloe: "Why is the sky blue?",
                }
            )
            await wait_until_they_grow_together(ana, ben)
            await ana.shot(tmp_path / "playground.png")
            for tab in tabs:
                assert len(await tab.answered()) > 20
                assert tab.complaints == []
            assert await ana.answered() != await ben.answered()
            assert max([await tab.most_lanes() for tab in tabs]) > 1
            keep_picture(tmp_path / "playground.png")
    finally:
        await engine.stop()


def keep_picture(shot: Path) -> None:
    """The README's picture is the demo model itself: taken anew with PARLEY_UPDATE_PICTURE=1."""
    data = shot.read_bytes()
    assert 20_000 < len(data) < 400_000
    if os.environ.get("PARLEY_UPDATE_PICTURE") or not PICTURE.exists():
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        PICTURE.write_bytes(data)
