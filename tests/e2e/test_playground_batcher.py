"""The playground in a real browser on the real batcher: a tiny random model that sees, and the
demo's own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from bot.config import Settings
from bot.core.settings import ServiceSettings
from bot.demo.prepare import ensure_demo_model
from bot.engine.api import SamplingParams
from bot.engine.batcher import LocalEngine
from bot.engine.loading import LocalEngineConfig
from tests.e2e.browser import Tab, chromium
from tests.support import models
from tests.support.pictures import encoded, noise
from tests.support.playground_rig import playground

pytestmark = [pytest.mark.browser, pytest.mark.slow]


async def ask_together(browser: Browser, url: str, first: str, second: str) -> tuple[Tab, Tab]:
    """Two people ask in two channels; returns when both are seen being written at one moment."""
    ana = await Tab.open(browser, url)
    ben = await Tab.open(browser, url, "ben")
    await ben.go("random")
    await asyncio.gather(ana.say(f"@Parley {first}"), ben.say(f"@Parley {second}"))
    async with asyncio.timeout(60):
        together = 0
        while together < 2:
            before = await asyncio.gather(ana.length(), ben.length())
            await asyncio.sleep(0.15)
            after = await asyncio.gather(ana.length(), ben.length())
            grew = all(now > then > 0 for now, then in zip(after, before, strict=True))
            lanes = await ana.page.locator(".lane").count()
            together += grew and lanes == 2
    return ana, ben


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
            ana, ben = await ask_together(browser, rig.url, "hello", "good morning")
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
            ana, ben = await ask_together(
                browser,
                rig.url,
                "Give me five ideas for a rainy Sunday.",
                "Write a short story about the sea.",
            )
            for tab in (ana, ben):
                await tab.page.locator('aside .message[data-state="done"]').wait_for(timeout=90_000)
                assert len(await tab.answered()) > 20
            assert await ana.answered() != await ben.answered()
    finally:
        await engine.stop()
