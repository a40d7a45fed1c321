"""The playground in a real browser, from the click to the database, on an engine that is paced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from bot.core.commands.parsing import complete
from tests.e2e.browser import Tab, chromium
from tests.support.pictures import encoded, noise
from tests.support.playground_rig import PacedEngine, Rig, playground

pytestmark = pytest.mark.browser

HOSTILE = (
    "<script>window.hacked = 1</script> <img src=x onerror='window.hacked = 1'>\n\n"
    "[a](javascript:window.hacked=1) [b](https://example.org) ![c](https://example.org/x.png)\n\n"
    "<details open ontoggle='window.hacked = 1'>\n\n| a | b |\n|---|:-:|\n| `1` | **2** |\n\n"
    "```js\nwindow.hacked = 1\n```\n\n1. one\n2. two\n\n> quote\n\n- [x] done"
)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with playground(tmp_path, PacedEngine(0.03, {"hostile": HOSTILE})) as rig:
        yield rig


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


async def test_two_people_in_two_channels_are_answered_at_once(rig: Rig, browser: Browser) -> None:
    ana = await Tab.open(browser, rig.url)
    ben = await Tab.open(browser, rig.url, "ben")
    await ben.go("random")
    await asyncio.gather(
        ana.say("@Parley tell me slowly about the sea"),
        ben.say("@Parley tell me slowly about the sky"),
    )
    await asyncio.gather(ana.answers.first.wait_for(), ben.answers.first.wait_for())
    growth: list[tuple[int, int]] = []
    async with asyncio.timeout(20):
        while len(growth) < 4:
            lengths = await asyncio.gather(ana.length(), ben.length())
            if not growth or all(now > then for now, then in zip(lengths, growth[-1], strict=True)):
                growth.append((lengths[0], lengths[1]))
            await asyncio.sleep(0.1)
    # Both grew at each of four looks, and neither has ended: they really overlap.
    for tab in (ana, ben):
        await expect(tab.answers.first).to_have_attribute("data-state", "running")
        await expect(tab.page.locator(".lane")).to_have_count(2)
    await expect(ana.page.locator(".gauge .queue")).to_contain_text("2 at once")
    # Stop is there for one's own reply, and it stops that one only.
    await ana.answers.first.locator("button.stop").click()
    await expect(ana.answers.first).to_have_attribute("data-state", "stopped")
    stopped = await ana.length()
    before = await ben.length()
    await expect(ben.answers.first).to_have_attribute("data-state", "running")
    await asyncio.sleep(0.5)
    assert await ana.length() == stopped
    assert await ben.length() > before
    await expect(ben.page.locator(".lane")).to_have_count(1)
    assert ana.complaints == []
    assert ben.complaints == []


async def test_a_persona_is_the_admins_to_set_and_changes_the_next_reply(
    rig: Rig, browser: Browser
) -> None:
    ana = await Tab.open(browser, rig.url)
    ben = await Tab.open(browser, rig.url, "ben")
    await ben.say("/persona set You are a parrot.")
    refusal = ben.page.locator("main .ephemeral.bad")
    await expect(refusal).to_contain_text("Only an admin")
    await expect(ana.page.locator("main .ephemeral")).to_have_count(0)

    await ana.say("@Parley who are you?")
    assert "pirate" not in await ana.answered()
    # Chosen from the completion, as a person would: "/per", Enter, the text, Enter.
    box = ana.page.locator("main textarea")
    await box.press_sequentially("/per")
    await expect(ana.page.locator("main .completions li")).to_have_count(len(complete("/per")))
    await box.press("Enter")
    await expect(box).to_have_value("/persona set ")
    await box.press_sequentially("You are a pirate.")
    await box.press("Enter")
    said = ben.messages.filter(has_text="My persona for this channel")
    await expect(said).to_have_count(1)
    await ana.reply("and now?")
    assert "You are a pirate" in await ana.answered(1)
    await ben.say("@Parley and for me?")
    assert "You are a pirate" in await ben.answered()


async def test_a_picture_and_a_file_are_attached_shown_sent_and_seen(
    rig: Rig, browser: Browser, tmp_path: Path
) -> None:
    ana = await Tab.open(browser, rig.url)
    for name in ("sea.png", "sky.png"):
        (tmp_path / name).write_bytes(encoded(noise((160, 120))))
    (tmp_path / "no.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (tmp_path / "plan.md").write_text("# The plan\n")
    chooser = ana.page.locator("main input[type=file]")
    drafts = ana.page.locator("main .draft:not(.loading)")
    await chooser.set_input_files([tmp_path / "sea.png", tmp_path / "sky.png"])
    await expect(drafts).to_have_count(2)
    await ana.page.get_by_label("Remove sky.png").click()
    await expect(drafts).to_have_count(1)
    await chooser.set_input_files([tmp_path / "no.png"])
    await expect(ana.page.locator("main .problem")).to_contain_text("can't be used")
    await expect(drafts).to_have_count(1)
    await chooser.set_input_files([tmp_path / "plan.md"])
    await expect(drafts).to_have_count(2)
    await ana.say("@Parley what is this?")
    await expect(ana.messages.locator(".pictures a")).to_contain_text("plan.md")
    picture = ana.messages.locator(".pictures img")
    await expect(picture).to_have_count(1)
    await expect(drafts).to_have_count(0)
    assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 160
    assert "I see 1 picture" in await ana.answered()
    await picture.click()
    await expect(ana.page.locator("dialog.lightbox img")).to_be_visible()
    await ana.page.keyboard.press("Escape")
    await expect(ana.page.locator("dialog")).to_have_count(0)
    assert all("415" in complaint for complaint in ana.complaints)


async def test_a_pasted_and_a_dropped_picture_are_attached(rig: Rig, browser: Browser) -> None:
    ana = await Tab.open(browser, rig.url)
    give = """async ([kind, selector]) => {
      const canvas = new OffscreenCanvas(20, 20);
      canvas.getContext("2d").fillRect(0, 0, 10, 10);
      const data = new DataTransfer();
      data.items.add(new File([await canvas.convertToBlob()], kind + ".png", {type: "image/png"}));
      const node = document.querySelector(selector);
      const event = kind === "paste"
        ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true})
        : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
      node.dispatchEvent(event);
    }"""
    await ana.page.evaluate(give, ["paste", "main textarea"])
    await expect(ana.page.locator("main .draft:not(.loading)")).to_have_count(1)
    await ana.page.evaluate(give, ["drop", "main .scroller"])
    await expect(ana.page.locator("main .draft:not(.loading)")).to_have_count(2)
    assert ana.complaints == []


async def test_a_reload_in_the_middle_of_a_reply_keeps_everything(
    rig: Rig, browser: Browser
) -> None:
    ben = await Tab.open(browser, rig.url, "ben")
    await ben.go("random")
    await ben.say("@Parley tell me slowly about the sea")
    await expect(ben.answers.first.locator(".body")).to_contain_text("word3 ")
    await ben.page.reload()
    await expect(ben.page.locator("#as-ben")).to_be_checked()
    await expect(ben.page.locator("#channel-title")).to_contain_text("random")
    await expect(ben.answers.first).to_have_attribute("data-state", "running")
    before = await ben.length()
    await expect(ben.answers.first.locator(".body")).to_contain_text("word30 ")
    assert await ben.length() > before
    text = await ben.answers.first.locator(".body").inner_text()
    words = text.split()
    assert words == [f"word{number}" for number in range(len(words) - 1)] + words[-1:]
    assert ben.complaints == []


async def test_the_line_comes_back_after_the_server_was_away(
    tmp_path: Path, browser: Browser
) -> None:
    async with playground(tmp_path, PacedEngine(0.01)) as rig:
        port = rig.port
        ana = await Tab.open(browser, rig.url)
        await ana.say("@Parley one")
        await ana.answered()
    await expect(ana.page.locator("#offline")).to_be_visible()
    async with playground(tmp_path, PacedEngine(0.01), port=port):
        await expect(ana.page.locator("#offline")).to_be_hidden(timeout=20_000)
        await ana.reply("two")
        assert "two" in await ana.answered(1)
        await expect(ana.messages).to_have_count(1)


async def test_hostile_markdown_is_text(rig: Rig, browser: Browser) -> None:
    ana = await Tab.open(browser, rig.url)
    await ana.say("@Parley hostile")
    await ana.answered()
    body = ana.answers.first.locator(".body")
    await expect(body.locator("script, img, details, iframe")).to_have_count(0)
    links = await body.locator("a").evaluate_all("nodes => nodes.map(node => node.href)")
    assert links == ["https://example.org/", "https://example.org/x.png"]
    await expect(body).to_contain_text("<script>window.hacked = 1</script>")
    await expect(body.locator("td code")).to_have_text("1")
    await expect(body.locator("pre")).to_have_text("window.hacked = 1")
    await expect(body.locator("ol li")).to_have_count(2)
    assert await ana.page.evaluate("window.hacked") is None
    assert ana.complaints == []


async def test_edit_delete_regenerate_and_the_dm(rig: Rig, browser: Browser) -> None:
    ana = await Tab.open(browser, rig.url)
    await ana.say("@Parley tell me slowly about the sea")
    await expect(ana.answers.first.locator(".body")).to_contain_text("word3 ")
    await ana.page.locator("main textarea").press("ArrowUp")
    editor = ana.page.locator("main .editor textarea")
    await editor.fill("@Parley what is two and two")
    await editor.press("Enter")
    assert "two and two" in await ana.answered()
    await expect(ana.messages.first.locator(".edited")).to_be_visible()

    await ana.answers.first.locator("button.redo").click()
    await expect(ana.answers.first).to_have_attribute("data-state", "running")
    assert "two and two" in await ana.answered()
    await expect(ana.answers).to_have_count(1)

    await ana.page.keyboard.press("Escape")
    await expect(ana.page.locator("aside.thread")).to_be_hidden()
    await ana.page.locator(".place", has_text="Parley").click()
    await ana.say("good evening")
    answer = ana.page.locator('main .message[data-author="parley"][data-state="done"]')
    await expect(answer).to_contain_text("good evening")

    ben = await Tab.open(browser, rig.url, "ben")
    await ben.page.locator(".place", has_text="Parley").click()
    await expect(ben.page.locator(".empty h3")).to_contain_text("Hello Ben")
    await expect(ben.messages).to_have_count(0)

    await ana.go("general")
    await ana.messages.first.hover()
    await ana.messages.first.get_by_label("Delete message").click()
    await ana.page.locator("dialog .danger").click()
    # Its answer goes with it, so nothing is left of either.
    await expect(ana.messages).to_have_count(0)
    assert ana.complaints == []


async def test_channels_and_a_bystanders_view(rig: Rig, browser: Browser) -> None:
    ana = await Tab.open(browser, rig.url)
    ben = await Tab.open(browser, rig.url, "ben")
    await ana.page.get_by_label("Create a channel").click()
    await ana.page.get_by_role("textbox", name="Name", exact=True).fill("general")
    await ana.page.keyboard.press("Enter")
    await expect(ana.page.locator("dialog .problem")).to_contain_text("already")
    await ana.page.get_by_role("textbox", name="Name", exact=True).fill("Help Desk")
    await ana.page.keyboard.press("Enter")
    await expect(ana.page.locator("#channel-title")).to_have_text("# help-desk")
    await ana.page.locator(".samples button").first.click()
    await ana.answered()
    await expect(ben.page.locator(".place.unread")).to_have_text("#help-deskunread")
    await ben.go("help-desk")
    await expect(ben.page.locator(".summary")).to_contain_text("1 reply")
    await ben.page.locator(".summary").click()
    await expect(ben.thread).to_have_count(2)
    # Neither the asker nor an admin: no buttons under the reply.
    await expect(ben.answers.first.locator(".controls")).to_have_count(0)
    await ana.page.get_by_label("Rename this channel").click()
    await ana.page.get_by_role("textbox", name="Name", exact=True).fill("desk")
    await ana.page.keyboard.press("Enter")
    await expect(ben.page.locator("#channel-title")).to_have_text("# desk")


async def test_the_token_page_lets_a_browser_in(tmp_path: Path, browser: Browser) -> None:
    token = "a token of some length"
    async with playground(tmp_path, token=token) as rig:
        page = await (await browser.new_context()).new_page()
        await page.goto(rig.url)
        await page.get_by_label("Token").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.locator("[role=alert]")).to_be_visible()
        await page.get_by_label("Token").fill(token)
        await page.keyboard.press("Enter")
        await expect(page.locator("#channel-title")).to_have_text("# general")
        linked = await (await browser.new_context()).new_page()
        await linked.goto(f"{rig.url}/?token={token}")
        await expect(linked.locator("#channel-title")).to_have_text("# general")
        assert "token" not in linked.url


@pytest.mark.parametrize("width", [360, 820, 1280])
async def test_nothing_is_wider_than_the_window_and_the_keyboard_is_enough(
    rig: Rig, browser: Browser, width: int
) -> None:
    ana = await Tab.open(browser, rig.url, viewport={"width": width, "height": 700})
    wide = "document.documentElement.scrollWidth > innerWidth"
    await ana.page.locator("main textarea").focus()
    await ana.page.keyboard.type("@Par")
    await expect(ana.page.locator("main .completions li")).to_have_count(1)
    await ana.page.keyboard.press("Tab")
    await ana.page.keyboard.type("hostile")
    await ana.page.keyboard.press("Enter")
    await ana.answered()
    assert await ana.page.evaluate(wide) is False
    await ana.page.keyboard.press("Escape")
    await expect(ana.page.locator("aside.thread")).to_be_hidden()
    assert await ana.page.evaluate(wide) is False
    # The focus is back on the thread it came from.
    await expect(ana.page.locator(".summary")).to_be_focused()
    await expect(ana.page.locator("#announcer")).to_contain_text("Parley:")
