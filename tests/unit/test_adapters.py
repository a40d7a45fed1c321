"""Which adapters are built from the settings."""

from __future__ import annotations

from typing import Any

import pytest

from bot.adapters import PLATFORMS, AdapterParts, build_adapters
from bot.config import Settings


@pytest.mark.parametrize(
    ("tokens", "names"),
    [
        ({}, []),
        ({"DISCORD_TOKEN": "t"}, ["discord"]),
        ({"SLACK_BOT_TOKEN": "xoxb-t", "SLACK_APP_TOKEN": "xapp-t"}, ["slack"]),
        ({"DISCORD_TOKEN": "t", "SLACK_BOT_TOKEN": "xoxb-t"}, ["discord", "slack"]),
    ],
)
def test_the_configured_platforms_are_built(tokens: dict[str, Any], names: list[str]) -> None:
    nothing: Any = None
    settings = Settings(_env_file=None, **tokens)
    adapters = build_adapters(AdapterParts(settings, nothing, nothing, nothing), PLATFORMS)
    assert [adapter.platform for adapter in adapters] == names
    assert settings.has_platform is bool(names)


def test_each_platform_has_a_checker_and_a_name_of_its_own() -> None:
    assert len({platform.name for platform in PLATFORMS}) == len(PLATFORMS)
    modules = [platform.load_checker().__module__ for platform in PLATFORMS]
    assert modules == [f"bot.platforms.{platform.name}.checks" for platform in PLATFORMS]
