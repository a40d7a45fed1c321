"""Takes the README's picture of the playground: three people, one batch.

Kept only where there is none yet, or with PARLEY_UPDATE_PICTURE=1.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.browser import Tab, chromium
from tests.support.playground_rig import PacedEngine, playground

pytestmark = pytest.mark.browser

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "playground.png"
QUBIT = (
    "A **qubit** is the quantum version of a bit. A bit is either `0` or `1`; a qubit can be in a "
    "*superposition* of both until it is measured:\n\n"
    "- measuring it gives `0` or `1`\n- two of them can be *entangled*\n\n"
    "```python\ndef bell(a, b):\n    h(a)        # superpose\n    cx(a, b)    # entangle\n```\n\n"
    "Only what you measure becomes definite, and that is why a quantum computer needs a good "
    "algorithm and not just many qubits: the wrong answers have to cancel out."
)
SEA = "Out past the harbour, where the gulls grow few, the water takes the colour of the sky. " * 9
SUNDAY = "One: bake bread. Two: build a fort of blankets. Three: read a long book aloud. " * 9


async def test_the_picture_of_the_readme(tmp_path: Path) -> None:
    engine = PacedEngine(0.05, {"qubit": QUBIT, "sea": SEA, "Sunday": SUNDAY})
    async with playground(tmp_path, engine) as rig, chromium() as browser:
        ana = await Tab.open(browser, rig.url, color_scheme="light", locale="en-GB")
        ben = await Tab.open(browser, rig.url, "ben")
        chloe = await Tab.open(browser, rig.url, "chloe")
        await chloe.go("random")
        await ana.say("Morning! Ben has a question about quantum computers.")
        await ana.page.locator("main .ephemeral").get_by_label("Dismiss").click()
        await ben.say("@Parley a short story about the sea, please")
        await chloe.say("@Parley ideas for a rainy Sunday?")
        await ana.say("@Parley explain what a qubit is, with a bit of code")
        await expect(ana.answers.first.locator(".body")).to_contain_text("until it is measured")
        await expect(ana.answers.first.locator("pre")).to_contain_text("entangle")
        await expect(ana.page.locator(".lane")).to_have_count(3)
        await ana.page.mouse.move(600, 600)
        await ana.shot(tmp_path / "playground.png")
        data = (tmp_path / "playground.png").read_bytes()
        assert 20_000 < len(data) < 300_000
        if os.environ.get("PARLEY_UPDATE_PICTURE") or not PICTURE.exists():
            PICTURE.parent.mkdir(parents=True, exist_ok=True)
            PICTURE.write_bytes(data)
