"""Lines of `parley doctor` by setup. What a platform checks itself runs on its local server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.config import Settings
from bot.ops.doctor import check_machine, examine
from bot.platforms.base import Finding

OAUTH = {"SLACK_CLIENT_ID": "1.2", "SLACK_CLIENT_SECRET": "a secret"}


@pytest.fixture(autouse=True)
def no_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DISCORD_TOKEN", "SLACK_BOT_TOKEN", *OAUTH):
        monkeypatch.delenv(name, raising=False)


async def platform_findings(**tokens: str) -> list[Finding]:
    settings = Settings(model="demo", http_port=0, **tokens)
    return [line async for line in check_machine(settings) if line.what == "platforms"]


async def test_no_platform_is_a_failure_with_its_fix() -> None:
    (finding,) = await platform_findings()
    assert not finding.ok
    assert "SLACK_CLIENT_ID" in finding.fix


@pytest.mark.parametrize("tokens", [{"DISCORD_TOKEN": "t"}, {"SLACK_BOT_TOKEN": "xoxb-1"}, OAUTH])
async def test_any_way_to_serve_a_platform_will_do(tokens: dict[str, str]) -> None:
    assert await platform_findings(**tokens) == []


async def test_a_check_that_raises_is_a_line_and_the_others_go_on() -> None:
    async def broken(_: Settings) -> AsyncIterator[Finding]:
        raise RuntimeError("no network")
        yield  # an async generator, like all checks

    async def fine(_: Settings) -> AsyncIterator[Finding]:
        yield Finding("port", True)

    lines = [line async for line in examine(Settings(), (broken, fine))]
    assert [line.ok for line in lines] == [False, True]
    assert "RuntimeError: no network" in lines[0].detail
