"""A real Chromium for the tests of the page: what people see, and nothing of the inside."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright

ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


RECORD_GROWTH = """() => {
    window.grewAt = [];
    window.mostLanes = 0;
    let before = 0;
    new MutationObserver(() => {
        const lanes = document.querySelectorAll(".lane").length;
        window.mostLanes = Math.max(window.mostLanes, lanes);
        const answers = document.querySelectorAll('aside .message[data-author="parley"] .content');
        const length = [...answers].reduce((sum, one) => sum + one.textContent.length, 0);
        if (length > before) window.grewAt.push(Date.now());
        before = length;
    }).observe(document.body, { childList: true, characterData: true, subtree: true });
}"""


def chromium_path() -> str:
    """Debian's Chromium. Skips the test where there is none, but fails it in CI."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    reason = "no Chromium: apt-get install chromium"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser, closed at the end."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium_path(), args=ARGS)
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """Somebody's tab on the playground; collects what the browser complains about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._on_console)

    def _on_console(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    @classmethod
    async def open(cls, browser: Browser, url: str, person: str = "ana", **options: Any) -> Tab:
        """A new tab in a profile of its own, acting as `person`."""
        context = await browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, **options}
        )
        context.set_default_timeout(15_000)
        tab = cls(await context.new_page())
        await tab.page.goto(url)
        await tab.page.locator("#switcher label").first.wait_for()
        if person != "ana":
            await tab.act_as(person)
        return tab

    async def act_as(self, person: str) -> None:
        await self.page.locator(f"label[for=as-{person}]").click()
        await self.page.locator(f"#as-{person}:checked").wait_for()
        await self.page.wait_for_function(
            "id => sessionStorage.getItem('parley-person') === id", arg=person
        )
        # The new person's greeting draws the switcher anew and names them in the first label.
        await self.page.locator(f"#switcher input[value={person}]:checked").wait_for()

    async def go(self, channel: str) -> None:
        await self.page.locator(".place", has_text=channel).click()
        await self.page.locator("#channel-title", has_text=channel).wait_for()

    async def say(self, text: str) -> None:
        """Write in the channel."""
        box = self.page.locator("main textarea")
        await box.fill(text)
        await box.press("Enter")

    async def reply(self, text: str) -> None:
        """Write in the open thread."""
        box = self.page.locator("aside textarea")
        await box.fill(text)
        await box.press("Enter")

    @property
    def messages(self) -> Any:
        return self.page.locator("main .message")

    @property
    def thread(self) -> Any:
        return self.page.locator("aside .message")

    @property
    def answers(self) -> Any:
        """Parley's messages in the open thread."""
        return self.page.locator('aside .message[data-author="parley"]')

    async def answered(self, number: int = 0) -> str:
        """The text of Parley's answer in the thread, once it is complete."""
        answer = self.answers.nth(number)
        await (
            self.page.locator(
                'aside li:has(.message[data-author="parley"]):nth-child(n) '
                '.message[data-author="parley"][data-state="done"]'
            )
            .nth(number)
            .wait_for()
        )
        return str(await answer.locator(".body").inner_text())

    async def watch_growth(self) -> None:
        """Write down, in the page itself, each moment at which an answer in the thread grows.

        The page sees each change as it is drawn; a test that polls misses a reply that is quick
        or a machine that is slow.
        """
        await self.page.evaluate(RECORD_GROWTH)

    async def length(self) -> int:
        """How long the last answer in the thread is just now."""
        if not await self.answers.count():
            return 0
        return len(await self.answers.last.locator(".content").inner_text())

    async def growth(self) -> list[float]:
        """Those moments so far, in milliseconds of the clock that all tabs share."""
        return list(await self.page.evaluate("window.grewAt"))

    async def most_lanes(self) -> int:
        """The most lanes that the strip has shown at once since `watch_growth`."""
        return int(await self.page.evaluate("window.mostLanes"))

    async def shot(self, path: Path) -> None:
        await self.page.screenshot(path=str(path))
