"""Every scenario runs on every platform: the fixture `chat` is one platform, started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core.service_settings import ServiceSettings
from tests.contract.discord_harness import DiscordHarness
from tests.contract.harness import Harness
from tests.contract.playground_harness import PlaygroundHarness
from tests.contract.slack_harness import SlackHarness
from tests.contract.terminal_harness import TerminalHarness
from tests.contract.toy_harness import ToyHarness

HARNESSES: tuple[type[Harness], ...] = (
    DiscordHarness,
    SlackHarness,
    PlaygroundHarness,
    TerminalHarness,
    ToyHarness,
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "service(**settings): the core's settings of a scenario")


@pytest.fixture(params=HARNESSES, ids=lambda harness: harness.name)
async def chat(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    marker = request.node.get_closest_marker("service")
    settings = ServiceSettings(**(marker.kwargs if marker else {}))
    harness: Harness = request.param(tmp_path, settings)
    await harness.start()
    try:
        yield harness
    finally:
        await harness.stop()
